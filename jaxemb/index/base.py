"""The family of indexes: vectors are kept in some form, and those that are nearest to a query are found among them.

    built = Exact().build(x)                              x (m d); or an iterable of blocks of rows, such as do not fit in memory
    scores, ids = built.search(q, k=10, allow=None)       q (b d) -> (b k), (b k), the best first

A member is a frozen dataclass of settings with four functions; all that is the same for every index is done here and in
`built.py`: checks, blocks, filters, several devices, adding, removing, files.

    prepare(x)                      a block of rows or queries as the other three get it: checked, of length 1 for cosines
    learn(x)         -> learned     arrays that all rows share (a mean, a codebook), from at most `sample` rows; once
    encode(learned, x) -> rows      arrays with an entry a row, along their axis `axis`; block by block, each row by itself
    scores(learned, rows, q) -> s   (b m), larger is nearer: traced, with `rows` some or all of the rows, as they were joined

`learned` and `rows` are trees of arrays (dicts, in dicts where an index holds another one). Where a score for every row is not what
an index computes, it defines `find` instead of `scores`; where rows are not of one length, `blocks`, `prepare`, `stacked`, `take`.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int, Shaped

from jaxemb.config import ConfigError, choices
from jaxemb.index.threads import in_threads, threads
from jaxemb.ops.nearest import Best, Candidates, merged, over_shards, top_k
from jaxemb.preprocess.base import DataError
from jaxemb.tensor_file import aligned
from jaxemb.types import Paper

if TYPE_CHECKING:
    from jaxemb.index.built import Built

SIMILARITIES = ("cosine", "dot", "euclidean")
ROWS = 2**16
"""Rows of an array that are encoded at a time."""
SCORES = 2**26
"""Scores that are in memory at a time, on a CPU;"""
SCORES_ON_A_DEVICE = 2**29
"""and elsewhere, where the rows are read again for every so many queries: 2 GiB."""
MANY = 128
"""Queries of which each core gets its share."""
NUMBERS = 2**24
"""Numbers of candidates that are in memory at a time."""

Tree = Any
"""Arrays by name."""


class Kept(NamedTuple):
    """What an index holds."""

    learned: Tree
    """Of all rows together."""
    rows: Tree
    """Of each row."""
    count: int
    """Rows. On several devices the arrays are longer: each device has as many."""
    mesh: Mesh | None = None
    """Over whose devices the rows are cut."""


class Found(NamedTuple):
    """What a search gives: at most as many columns as there are rows."""

    scores: Float[np.ndarray, "b k"]
    """The best first: products, cosines, or distances less than nothing (-|q - x|); -inf where nothing is left."""
    ids: Int[np.ndarray, "b k"]
    """Of the rows, in the order in which they were given; of equal scores the lowest id first, but for
    the indexes of other libraries; -1 where nothing is left."""


@dataclasses.dataclass(frozen=True)
class Index(abc.ABC):
    """How vectors are kept and compared. Its fields are the description; `build` makes what can be searched."""

    paper: ClassVar[Paper | None] = None
    axis: ClassVar[int] = 0
    """Of the arrays of `encode`, the axis that has an entry a row."""
    texts: ClassVar[bool] = False
    """Whether a row is a matrix with a vector a token."""

    similarity: str = "cosine"
    """"cosine", "dot", or "euclidean", of which the score is -|q - x|."""

    def __post_init__(self) -> None:
        choices(self, similarity=SIMILARITIES)

    @property
    def sample(self) -> int:
        """The most rows that `learn` is given; 0: nothing is learned."""
        return 0

    @property
    def largest(self) -> float:
        """The largest entry of a row or query that can be kept and compared."""
        return math.inf

    def build(self, x: Any, tags: Any = None, *, mesh: Mesh | None = None, seed: int = 0) -> Built:
        """Rows (m d), or an iterable of blocks of them, are kept. `tags`: values of the rows by name, for filters (`tags.py`).
        `mesh`: over whose devices the rows are cut. `learn` gets rows that are drawn with `seed` from an array, and from blocks the
        first ones."""
        from jaxemb.index.built import build  # which needs this module

        return build(self, x, tags, mesh, seed)

    def check_mesh(self) -> None:  # noqa: B027 (most can be)
        """A `ConfigError` where rows cannot be cut over devices."""

    # ---- what members define -----------------------------------------------------------------------------------------------------

    def blocks(self, x: Any) -> Iterator[Any]:
        """What `build` was given in blocks of rows; of an array slices, so that one that is mapped is never read whole."""
        if not hasattr(x, "shape"):
            if isinstance(x, str | dict) or not isinstance(x, Iterable):
                raise DataError(f"vectors are an array of rows, or an iterable of such blocks, not a {type(x).__name__}")
            yield from x
            return
        if not x.shape:
            raise DataError("vectors are an array of rows, not a single number")
        for start in range(0, max(len(x), 1), ROWS):
            yield x[start : start + ROWS]

    def prepare(self, x: Any, first: int = 0, what: str = "row") -> Float[np.ndarray, "n d"]:
        """Rows or queries, checked; `first` is the number of the first one, for a person to read."""
        return vectors(x, self.similarity, first, what, self.largest)

    def stacked(self, blocks: list[Any]) -> Any:
        """Prepared blocks of rows as one, to learn from."""
        return np.concatenate(blocks)

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        """The arrays that all rows share."""
        return {}

    @abc.abstractmethod
    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        """What is kept of rows."""

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b d"]) -> Float[Array, "b m"]:
        """Of each query with each row, larger is nearer; for "euclidean" -|q - x|^2, of which `search` gives the root."""
        raise NotImplementedError

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, np.ndarray]:
        """(scores, places) (b k) of prepared queries among the rows that `mask` allows; k is at most the number of rows. Where
        fewer are allowed the scores of the last are -inf. By default all `scores`, as many queries at a time as memory allows."""
        length = self.length(kept.rows)
        if length > kept.count:
            allowed = np.ones((1, kept.count), bool) if mask is None else mask
            mask = np.pad(allowed, ((0, 0), (0, length - kept.count)))
        size = self.together(length, len(q))

        def piece(start: int) -> Best:
            some = q[start : start + size]
            seen = mask if mask is None or len(mask) == 1 else padded(mask[start : start + size], size)
            return _best(self, k, kept.mesh, kept.learned, kept.rows, padded(some, size), seen)

        pieces = range(0, len(q), size)
        found = [piece(start) for start in pieces] if kept.mesh else in_threads(piece, pieces)
        scores, places = zip(*jax.device_get(found), strict=True)
        return np.concatenate(scores)[: len(q)], np.concatenate(places)[: len(q)]

    def together(self, rows: int, queries: int) -> int:
        """How many queries are compared with the rows at a time, a power of two."""
        scores = SCORES if jax.default_backend() == "cpu" else SCORES_ON_A_DEVICE
        each = queries if queries < MANY else -(-queries // threads())
        return min(power_of_two(each), power_of_two(scores // rows + 1) // 2 or 1)

    def rescore(self, learned: Tree, rows: Tree, q: Float[Array, "b d"], places: Int[Array, "b c"]) -> Float[Array, "b c"]:
        """`scores` of candidates, which each query has of its own."""
        return jax.vmap(lambda q, p: self.scores(learned, self.take(rows, p), q[None])[0])(q, places)

    def nearest(self, learned: Tree, rows: Tree, q: Float[Array, "b ..."], mask: Bool[Array, "#b m"] | None, k: int) -> Best:
        """The k best of rows that `mask` allows, by `scores`; traced."""
        scores = self.scores(learned, rows, q)
        return self.select(scores if mask is None else jnp.where(mask, scores, -jnp.inf), k)

    def shortlist(self, learned: Tree, rows: Tree, q: Float[Array, "b ..."], mask: Any, k: int) -> tuple[Array, ...]:
        """What of the rows of one device is compared with what others have, (..., scores, columns), for `best_of`."""
        return self.nearest(learned, rows, q, mask, k)

    def best_of(self, k: int, *shortlist: Array) -> Best:
        """The k best of the shortlists of all devices, side by side."""
        scores, columns = shortlist
        return merged((scores, columns), k)

    def select(self, scores: Float[Array, "b m"], k: int) -> Best:
        """The k best of each row of scores."""
        return top_k(scores, k)

    def shown(self, scores: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b k"]:
        """Scores as `search` gives them."""
        return -np.sqrt(np.maximum(-scores, 0)) if self.similarity == "euclidean" else scores

    def compared(self, count: int) -> int:
        """With how many of `count` rows a query is compared, when no filter is given."""
        return count

    def subset(self, kept: Kept, places: Int[np.ndarray, " c"]) -> tuple[Index, Kept]:
        """Some rows, and the index that compares all of them."""
        return self, Kept(kept.learned, self.take(kept.rows, places), len(places))

    # ---- arrays of rows ----------------------------------------------------------------------------------------------------------

    def axes(self, rows: Tree) -> Tree:
        """Of each array of `rows`, the axis that has an entry a row."""
        return jax.tree.map(lambda _: self.axis, rows)

    def join(self, parts: list[Tree]) -> Tree:
        """Blocks of rows as one."""
        return joined(parts, self.axes(parts[0]))

    def take(self, rows: Tree, which: Any) -> Tree:
        """Some rows, by their places; NumPy's arrays or traced ones."""
        return jax.tree.map(lambda a, axis: a.take(which, axis, mode="clip"), rows, self.axes(rows))

    def place(self, rows: Tree) -> Tree:
        """Where they are searched: on the device."""
        return jax.device_put(rows)  # which takes over what `joined` has aligned

    def length(self, rows: Tree) -> int:
        """Rows, with those that fill up the last device."""
        return first_leaf(rows).shape[first_leaf(self.axes(rows))]


def reranked(best: Candidates, rescore: Callable[[Any, Array], Array], q: Any, k: int) -> Best:
    """The k best of candidates by `rescore(q, places)`; of equals the first row comes first."""
    order = jnp.argsort(best[1], axis=1)
    near, places = (jnp.take_along_axis(a, order, 1) for a in best)
    return merged((jnp.where(jnp.isneginf(near), -jnp.inf, rescored(places, rescore, q)), places), k)


def rescored(places: Int[Array, "b c"], rescore: Callable[[Any, Array], Array], q: Any) -> Float[Array, "b c"]:
    """`rescore(q, places)`, a few queries at a time."""
    rows = max(NUMBERS // (places.shape[1] * math.prod(q.shape[1:])), 1)
    one = lambda some: rescore(some[0][None], some[1][None])[0]  # noqa: E731
    if len(q) <= rows:
        return rescore(q, places)
    # Else the compiler moves what finds the candidates into the loop, which then finds them all in each turn.
    return jax.lax.map(one, jax.lax.optimization_barrier((q, places)), batch_size=rows)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _best(index: Index, k: int, mesh: Mesh | None, learned: Tree, rows: Tree, q: Any, mask: Any) -> Best:
    if mesh is None:
        return index.nearest(learned, rows, q, mask, k)

    def local(learned: Tree, rows: Tree, q: Any, mask: Any) -> tuple[Array, ...]:
        return index.shortlist(learned, rows, q, mask, min(k, index.length(rows)))

    mask = jnp.ones((1, index.length(rows)), bool) if mask is None else mask
    return over_shards(local, functools.partial(index.best_of, k), mesh, index.axes(rows), learned, rows, q, mask)


# ---- what they share -------------------------------------------------------------------------------------------------------------


def vectors(x: Any, similarity: str, first: int = 0, what: str = "row", largest: float = math.inf) -> Float[np.ndarray, "n d"]:
    """Rows in 32 bits (in 64 where JAX has them), finite; for cosines of length 1. Zeros have no direction, hence no cosine and no
    meaningful product. Entries beyond `largest` cannot be kept."""
    found = np.asarray(x)
    if found.ndim != 2 or found.dtype.kind not in "iuf" and found.dtype.name != "bfloat16":
        raise DataError(f"{what}s are vectors (n d), not an array of shape {found.shape} and type {found.dtype}")
    wide = jax.dtypes.canonicalize_dtype(found.dtype) == np.float64
    with np.errstate(over="ignore"):  # what 32 bits do not hold is refused below
        found = found.astype(np.float64 if wide else np.float32, copy=False)
    square, limits = np.einsum("nd,nd->n", found, found), np.finfo(found.dtype)
    if not np.isfinite(square).all():
        if len(bad := np.flatnonzero(~np.isfinite(found).all(1))):
            were = np.isfinite(np.asarray(x)[bad].astype(np.float64)).all()
            why = f"beyond {limits.bits} bits" if were else "that are not finite"
            raise DataError(f"{what}s with entries {why}: {numbered(bad, first)}")
    if similarity != "euclidean" and not square.all() and len(zero := np.flatnonzero(~found.any(1))):
        raise DataError(f"{what}s of zeros, which are near to nothing: {numbered(zero, first)}; leave them out")
    if similarity == "cosine":
        return directions(found, square)
    # Less the mean of the rows squares are up to four times as large, and a distance has four such terms.
    if len(long := np.flatnonzero(square > limits.max / 16)):
        raise DataError(f"{what}s so long that products of them are beyond {limits.bits} bits: {numbered(long, first)}; scale them")
    long = np.flatnonzero(np.sqrt(square) > largest)
    if len(long) and len(large := long[np.abs(found[long]).max(1) > largest]):
        raise DataError(f"{what}s with entries beyond {largest:g}, the most that is kept in so few bits: {numbered(large, first)}")
    return found


def directions(x: Float[np.ndarray, "n d"], square: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    """x / |x| of rows that are not zeros, |x|^2 being known; where that overflowed, or lost entries whose squares are 0, of rows
    that are divided by their largest entry first."""
    limits = np.finfo(x.dtype)
    odd = np.flatnonzero((square < x.shape[1] * limits.tiny / limits.eps) | (square > limits.max))
    if not len(odd):
        return x / np.sqrt(square)[:, None]
    square = square.copy()
    square[odd] = 1
    found = x / np.sqrt(square)[:, None]
    some = x[odd] / np.abs(x[odd]).max(1, keepdims=True)
    found[odd] = some / np.sqrt((some * some).sum(1, keepdims=True))
    return found


def drawn_from(x: Shaped[np.ndarray, "s ..."], n: int) -> Shaped[np.ndarray, "r ..."]:
    """At most n of the rows that several indexes learn from: the first n of these would be the first of all rows."""
    return x if len(x) <= n else x[np.sort(np.random.default_rng(0).choice(len(x), n, replace=False))]


def numbered(which: Int[np.ndarray, " n"], first: int) -> str:
    """The numbers of rows, of the first ten of them."""
    more = f" and {len(which) - 10} more" if len(which) > 10 else ""
    return ", ".join(str(first + i) for i in which[:10]) + more


def power_of_two(n: int) -> int:
    """The next one: so few sizes are compiled."""
    return 1 << max(n - 1, 0).bit_length()


def size_of(n: int) -> int:
    """The next of four sizes between two powers of two: where an array of it is copied, its own length counts."""
    step = max(power_of_two(n) // 8, 1)
    return -(-n // step) * step


def padded(x: Shaped[np.ndarray, "n ..."], size: int) -> Shaped[np.ndarray, "s ..."]:
    """Rows of zeros at the end."""
    return x if len(x) == size else np.pad(x, ((0, size - len(x)), *((0, 0),) * (x.ndim - 1)))


def first_leaf(tree: Tree) -> Any:
    return jax.tree.leaves(tree)[0]


def joined(parts: list[Tree], axes: Tree) -> Tree:
    """Blocks of rows as one that is nobody else's, placed where JAX takes it over without a copy. They are taken off the list one
    by one: what is in memory is the result and little more."""
    along = jax.tree.leaves(axes)
    lengths = [sum(a.shape[x] for a in found) for x, *found in zip(along, *map(jax.tree.leaves, parts), strict=True)]
    first, tree = jax.tree.flatten(parts[0])
    whole = [aligned((*a.shape[:x], n, *a.shape[x + 1 :]), a.dtype) for a, x, n in zip(first, along, lengths, strict=True)]
    parts.reverse()
    at = [0] * len(whole)
    del first
    while parts:
        for i, (out, a, x) in enumerate(zip(whole, jax.tree.leaves(parts.pop()), along, strict=True)):
            out[(*(slice(None),) * x, slice(at[i], at[i] + a.shape[x]))] = a
            at[i] += a.shape[x]
    return jax.tree.unflatten(tree, whole)


def check_k(k: Any) -> None:
    if isinstance(k, bool | np.bool) or not isinstance(k, int | np.integer):
        raise ConfigError(f"k={k!r}: a whole number of rows is looked for")
    if k < 1:
        raise ConfigError(f"k={k}: at least 1 row is looked for")
