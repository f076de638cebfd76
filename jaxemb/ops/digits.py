"""Positions as strings of decimal digits, and the random positions that SeqPE's regularisers compare."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from jaxemb.ops.grid import cell_ids, cells

EDITS = 3
"""Random edits of a digit string, at most."""
SPARE = 16
"""Draws beyond those wanted, of which duplicates are dropped: enough where positions are many."""


def digit_count(limit: int) -> int:
    """Digits of the largest of `limit` positions 0, 1, ..., limit - 1."""
    return len(str(limit - 1))


def digits(pos: Int[Array, "*b a"], count: int) -> Int[Array, "*b t"]:
    """The digits of each axis, padded with zeros on the left to `count`, one axis after the other."""
    power = 10 ** jnp.arange(count - 1, -1, -1, dtype=pos.dtype).reshape((1,) * pos.ndim + (-1,))
    return (pos[..., None] // power % 10).reshape(*pos.shape[:-1], -1)


def digits_mask(pos: Int[Array, "*b a"], count: int) -> Bool[Array, "*b t"]:
    """True at the digits proper, False at the zeros that pad. A zero itself is one digit."""
    power = 10 ** jnp.arange(count - 1, -1, -1, dtype=pos.dtype).reshape((1,) * pos.ndim + (-1,))
    return ((pos[..., None] >= power) | (power == 1)).reshape(*pos.shape[:-1], -1)


def nearest(pivots: Int[Array, "b a"], candidates: Int[Array, "b m a"]) -> Int[Array, " b"]:
    """The candidate at the smallest Euclidean distance, the first one on ties."""
    return ((candidates - pivots[:, None]) ** 2).sum(-1).argmin(-1)


def distinct(key: Key[Array, ""], rows: int, count: int, total: int) -> Int[Array, "r n"]:
    """In each row `count` different numbers below `total`, uniformly."""
    if total <= 2048:
        return jax.lax.top_k(jax.random.uniform(key, (rows, total)), count)[1]
    return first_distinct(jax.random.randint(key, (rows, count + SPARE), 0, total), count)


def first_distinct(ids: Int[Array, "r m"], count: int, drop: Bool[Array, "r m"] | None = None) -> Int[Array, "r n"]:
    """Of each row the first `count` numbers that did not come before and are not to be dropped; if there are too few, others."""
    earlier = jnp.tril(jnp.ones((ids.shape[1],) * 2, bool), -1)[None]
    out = ((ids[:, :, None] == ids[:, None, :]) & earlier).any(-1)
    out = out if drop is None else out | drop
    order = jnp.argsort(out, axis=1, stable=True)[:, :count]
    return jnp.take_along_axis(ids, order, axis=1)


def spread(flat: Int[Array, "*b"], limit: int, axes: int) -> Int[Array, "*b a"]:
    """The cell with this number, counting row by row, in `axes` dimensions of `limit` positions."""
    return jnp.stack([flat // limit ** (axes - 1 - i) % limit for i in range(axes)], axis=-1)


def flatten(pos: Int[Array, "*b a"], limit: int) -> Int[Array, "*b"]:
    """The inverse of `spread`."""
    return cell_ids(pos, (limit,) * pos.shape[-1])[0]


def pivots_and_candidates(
    key: Key[Array, ""], pivots: int, candidates: int, *, limit: int, axes: int, mixed: bool = False, window: int | None = None
) -> tuple[Int[Array, "b a"], Int[Array, "b m a"]]:
    """Pivots, and for each its candidates: different ones, never the pivot itself.

    All uniform; or `mixed`: in each step one kind out of uniform ones, hard ones (the pivot's digits edited; then uniform ones) and
    neighbours (all from one random window), with chances .5, .3, .2 in 2-D and 0, .4, .6 in 1-D.
    """
    total = limit**axes
    keys = jax.random.split(key, 5)
    pivot = distinct(keys[0], 1, pivots, total)[0]
    drawn = distinct(keys[1], pivots, candidates + 1, total)
    place = spread(pivot, limit, axes)
    if not mixed:
        return place, spread(first_distinct(drawn, candidates, drawn == pivot[:, None]), limit, axes)
    hard_count = candidates // 4 if axes == 1 else candidates // 5
    hard = edited(keys[2], place, hard_count, limit)
    rest = spread(first_distinct(drawn, candidates, drawn == pivot[:, None]), limit, axes)
    closest = ((rest - place[:, None]) ** 2).sum(-1).min(-1)[:, None]
    too_near = ((hard - place[:, None]) ** 2).sum(-1) <= closest  # one of these would change the label
    local = neighbours(keys[3], pivots, candidates, limit, axes, window)
    kind = jax.random.choice(keys[4], 3, p=jnp.asarray([0.0, 0.4, 0.6] if axes == 1 else [0.5, 0.3, 0.2]))
    flat = [flatten(hard, limit), flatten(local, limit)]
    special = jnp.concatenate(flat, axis=1)
    unwanted = jnp.concatenate([too_near | (kind != 1), jnp.broadcast_to(kind != 2, flat[1].shape)], axis=1)
    every = jnp.concatenate([special, drawn], axis=1)
    unwanted = jnp.concatenate([unwanted, jnp.zeros(drawn.shape, bool)], axis=1) | (every == pivot[:, None])
    # A number that is unwanted in one place must not make its wanted twin elsewhere a duplicate.
    every = jnp.where(unwanted, -1 - jnp.arange(every.shape[1], dtype=every.dtype)[None], every)
    return place, spread(first_distinct(every, candidates, unwanted), limit, axes)


def neighbours(key: Key[Array, ""], rows: int, count: int, limit: int, axes: int, window: int | None = None) -> Int[Array, "r n a"]:
    """In each row different positions from one random window, of side max(14, sqrt(5 n)) in 2-D and max(256, 5 n) in 1-D."""
    side = window or (max(256, 5 * count) if axes == 1 else max(14, int(np.ceil((5 * count) ** (1 / axes)))))
    side = min(side, limit)
    where, which = jax.random.split(key)
    corner = jax.random.randint(where, (rows, 1, axes), 0, limit - side + 1)
    return corner + spread(distinct(which, rows, min(count, side**axes), side**axes), side, axes)


def edited(key: Key[Array, ""], pos: Int[Array, "b a"], count: int, limit: int) -> Int[Array, "b m a"]:
    """Positions whose digit strings are one to three random edits away: insert, swap, change or delete a digit.

    With several axes the digits of all are one string, which is cut again at random places. Numbers beyond the limit are clipped
    to it; the released code lets them through.
    """
    axes, size = pos.shape[1], digit_count(limit)
    length = axes * size
    start = jnp.pad(digits(pos, size), ((0, 0), (0, EDITS)))

    def one(key: Array, text: Array) -> Array:
        keys = jax.random.split(key, EDITS + 2)
        edits = jax.random.randint(keys[-1], (), 1, EDITS + 1)
        n = jnp.asarray(length, text.dtype)
        for i in range(EDITS):
            new, m = _edit(keys[i], text, n)
            text, n = jnp.where(i < edits, new, text), jnp.where(i < edits, m, n)
        cuts = jnp.sort(jax.random.randint(keys[-2], (axes - 1,), 1, jnp.maximum(n, 2)))
        ends = jnp.concatenate([cuts, n[None]]).astype(text.dtype)
        return jnp.stack([_number(text, ends[i - 1] if i else 0, ends[i], limit) for i in range(axes)])

    keys = jax.random.split(key, (len(pos), count))
    return jax.vmap(lambda ks, text: jax.vmap(lambda k: one(k, text))(ks))(keys, start)


def _edit(key: Array, text: Array, n: Array) -> tuple[Array, Array]:
    """One random edit of the first n digits of a text with room to spare."""
    kind, i, j, digit = (jax.random.randint(k, (), 0, m) for k, m in zip(jax.random.split(key, 4), (4, n, n, 10), strict=True))
    place = jnp.arange(len(text), dtype=i.dtype)
    inserted = jnp.where(place < i, text, jnp.where(place == i, digit, jnp.roll(text, 1)))
    swapped = text.at[i].set(text[j]).at[j].set(text[i])
    changed = text.at[i].set(digit)
    deleted = jnp.where(place < i, text, jnp.roll(text, -1))
    grown = jnp.stack([n + 1, n, n, jnp.maximum(n - 1, 1)])
    return jnp.stack([inserted, swapped, changed, deleted])[kind], grown[kind]


def _number(text: Array, start: Array | int, end: Array, limit: int) -> Array:
    """The number that the digits from start to end spell, at most limit - 1."""
    value = jnp.zeros((), text.dtype)
    for i in range(len(text)):
        value = jnp.where((i >= start) & (i < end), jnp.minimum(value * 10 + text[i], limit - 1), value)
    return value


@functools.lru_cache(32)
def far_origins(grid: tuple[int, ...], limit: int) -> Int[np.ndarray, "m a"]:
    """Every origin at which a window of this grid fits below the limit and lies wholly or partly outside of the grid at 0.

    In 2-D: 0 <= a < limit - h, 0 <= b < limit - w, and a >= h or b >= w. In 1-D as in the text code, n/4 <= a < limit - n.
    """
    if len(grid) == 1:
        return np.arange(grid[0] // 4, limit - grid[0])[:, None]
    every = cells(tuple(max(limit - side, 0) for side in grid))
    return every[(every >= np.asarray(grid)[None]).any(1)]


def window_samples(
    key: Key[Array, ""], windows: int, samples: int, *, grid: tuple[int, ...], limit: int
) -> tuple[Int[Array, "w n"], Int[Array, "w n a"]]:
    """(cells of the grid, the same cells moved to a far origin), a row a window; cells count row by row."""
    where, which = jax.random.split(key)
    inside = cells(grid)
    origins = far_origins(grid, limit)
    chosen = jax.random.randint(where, (windows,), 0, len(origins))
    index = distinct(which, windows, min(samples, len(inside)), len(inside))
    return index, jnp.asarray(inside, jnp.int32)[index] + jnp.asarray(origins, jnp.int32)[chosen][:, None]


def contrastive(
    pivots: Float[Array, "b d"], candidates: Float[Array, "b m d"], labels: Int[Array, " b"], *, heads: int = 1, scale: float = 1.0
) -> Float[Array, ""]:
    """Cross-entropy of softmax_j(pivot . candidate_j * scale) with the nearest candidate; raw dot products, of each head's part."""
    p = pivots.reshape(len(pivots), heads, -1)
    c = candidates.reshape(*candidates.shape[:2], heads, -1)
    logits = jnp.einsum("bhe,bmhe->bhm", p, c) * scale
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None, None], axis=-1).mean()


def distillation(
    teacher: Float[Array, "w n d"], student: Float[Array, "w n d"], *, heads: int = 1, kind: str = "kl", beta: float = 1.0
) -> Float[Array, ""]:
    """How far the self-similarities of moved positions are from those of the positions they were moved from.

        P, Q = row softmax of G G^T of teacher and student, within a window and a head
        kl   mean(P (log P - log Q)) + mean(Q (log Q - log P)), over *all* entries      mse  mean((log P - log Q)^2)

    beta of it moves the student alone, 1 - beta the teacher alone.
    """

    def rows(x: Array) -> Array:
        g = x.reshape(*x.shape[:2], heads, -1)
        return jax.nn.log_softmax(jnp.einsum("wnhe,wmhe->whnm", g, g))

    def distance(p: Array, q: Array) -> Array:
        if kind == "mse":
            return ((p - q) ** 2).mean()
        return (jnp.exp(p) * (p - q)).mean() + (jnp.exp(q) * (q - p)).mean()

    log_p, log_q = rows(teacher), rows(student)
    value = beta * distance(jax.lax.stop_gradient(log_p), log_q)
    return value + (1 - beta) * distance(log_p, jax.lax.stop_gradient(log_q)) if beta != 1 else value
