"""A vector a token: texts are compared token by token."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.index.base import NUMBERS, SCORES, Index, Kept, Tree, directions, numbered, padded, power_of_two, reranked
from jaxemb.index.exact import DTYPES
from jaxemb.index.threads import in_threads, threads
from jaxemb.ops.maxsim import Matrices, padded_maxsim, ragged
from jaxemb.ops.nearest import Best
from jaxemb.preprocess.base import DataError
from jaxemb.types import Paper

GROUP = 4
"""Tokens of a text whose largest product is taken before texts are told apart. A text is kept as fours of tokens, and the up to
three that are left one by one: no mask is read, no token is kept twice, and one compiled function searches texts of any length."""
BLOCK = 2**15
"""Products that are made at a time: they and their tokens stay in the cache of a core (2^19 take twice the time)."""


@dataclasses.dataclass(frozen=True)
class LateInteraction(Index):
    """MaxSim of all texts: s(Q, D) = sum_i max_j q_i . d_j over the tokens i of a query and j of a document.

    Texts are (m n d), rows of zeros being padding, or matrices of any length (a list, `Matrices`), or an iterable of such blocks.
    """

    paper: ClassVar[Paper | None] = Paper(
        "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT",
        2020,
        "arxiv.org/abs/2004.12832",
    )
    texts: ClassVar[bool] = True

    dtype: str = "float32"
    """Of the tokens that are kept; products are summed in 32 bits."""

    def __post_init__(self) -> None:
        choices(self, similarity=("cosine", "dot"), dtype=DTYPES)

    def check_mesh(self) -> None:
        raise ConfigError("LateInteraction keeps its texts on one device: build and load it without a mesh")

    def blocks(self, x: Any) -> Iterator[Any]:
        return blocks_of_texts(x)

    def prepare(self, x: Any, first: int = 0, what: str = "row") -> Float[np.ndarray, "n t d"]:
        return texts(x, self.similarity, first, what, self.largest)

    @property
    def largest(self) -> float:
        return float(jnp.finfo(self.dtype).max)

    def encode(self, learned: Tree, x: Float[np.ndarray, "n t d"]) -> Tree:
        real = x.any(2)
        counts = real.sum(1)
        tokens = x[real].astype(jnp.dtype(self.dtype), copy=False)
        left = np.arange(len(tokens)) >= np.repeat(np.cumsum(counts) - counts % GROUP, counts)
        fours, ones = tokens[~left].reshape(-1, GROUP, x.shape[2]), tokens[left][:, None]
        return {"counts": counts.astype(np.int32), "fours": fours, "ones": ones}

    def stacked(self, blocks: list[Any]) -> Float[np.ndarray, "n t d"]:
        return padded_texts([text for block in blocks for text in block], max(block.shape[1] for block in blocks))

    def take(self, rows: Tree, which: Any) -> Tree:
        counts, which = np.asarray(rows["counts"]), np.asarray(which)
        found = {"counts": counts[which]}
        for name, each in groups(counts).items():
            starts, some = np.cumsum(each) - each, each[which]
            within = np.arange(some.sum()) - np.repeat(np.cumsum(some) - some, some)
            found[name] = np.asarray(rows[name])[np.repeat(starts[which], some) + within]
        return found

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, np.ndarray]:
        q, parts = even(q), threads()
        size = min(power_of_two(len(q)), max(SCORES // (kept.count * q.shape[1]), 1))
        found = []
        for i in range(0, len(q), size):
            some = padded(q[i : i + size], size)
            seen = mask if mask is None or len(mask) == 1 else padded(mask[i : i + size], size)
            best = in_threads(lambda part: _best_products(parts, part, kept.rows, some), range(parts))  # noqa: B023 (called here)
            found.append(jax.device_get(_chosen(self, k, size, best, seen)))
        scores, places = zip(*found, strict=True)
        return np.concatenate(scores)[: len(q)], np.concatenate(places)[: len(q)]

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b t d"]) -> Float[Array, "b m"]:
        return _summed([_best_products(1, 0, rows, q)], len(q))

    def among(self, rows: Tree, q: Any, near: tuple[np.ndarray, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of candidates that each query has of its own, (scores, places) (b c); -inf where there is none."""
        size = power_of_two(len(q))
        longest = tuple((name, int(each.max())) for name, each in groups(np.asarray(rows["counts"])).items())
        queries, scores, places = (padded(np.asarray(a), size) for a in (even(q), *near))
        best, found = jax.device_get(_among(k, longest, rows, queries, (scores, places)))
        return best[: len(q)], found[: len(q)]


def groups(counts: Any) -> dict[str, Any]:
    """Of each text, how many entries it has in the arrays of this name."""
    return {"fours": counts // GROUP, "ones": counts % GROUP}


@functools.partial(jax.jit, static_argnums=0)
def _best_products(parts: int, part: Any, rows: Tree, q: Float[Any, "b t d"]) -> Float[Array, "m n"]:
    """Of each text and each token of the queries, of one of several parts of all tokens."""
    counts, q = jnp.asarray(rows["counts"]), jnp.asarray(q)
    queries = q.reshape(-1, q.shape[2]).T
    best = jnp.full((len(counts), queries.shape[1]), -jnp.inf, q.dtype)
    for name, each in groups(counts).items():
        if len(rows[name]):
            best = _raised(best, rows[name], each, queries.astype(rows[name].dtype), parts, part)
    return best


def _summed(best: list[Float[Array, "m n"]], queries: int) -> Float[Array, "b m"]:
    """MaxSim of the best products of all parts."""
    every = functools.reduce(jnp.maximum, best)
    return every.reshape(len(every), queries, -1).sum(2).T


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _chosen(index: LateInteraction, k: int, queries: int, best: list[Array], mask: Any) -> Best:
    scores = _summed(best, queries)
    return index.select(scores if mask is None else jnp.where(mask, scores, -jnp.inf), k)


def _raised(
    best: Float[Array, "m b"], tokens: Float[Array, "g s d"], each: Int[Array, " m"], q: Float[Array, "d b"], parts: int, part: Any
) -> Array:
    """The best products of texts and the tokens of queries, or those with `tokens` in groups, of which each text has so many;
    `part` of several parts of these."""
    count, together = tokens.shape[:2]
    owner = jnp.repeat(jnp.arange(len(best), dtype=jnp.int32), each, total_repeat_length=count)
    size = min(max(BLOCK // (together * q.shape[1]), 1), count)

    def add(i: Any, best: Array) -> Array:
        # The last block starts earlier than its place, as it must be whole: a group that is seen twice changes nothing.
        at = jnp.minimum(i * size, count - size)
        some = jax.lax.dynamic_slice_in_dim(tokens, at, size).reshape(size * together, -1)
        s = jnp.matmul(some, q, preferred_element_type=best.dtype).reshape(size, together, -1).max(1)
        return best.at[jax.lax.dynamic_slice_in_dim(owner, at, size)].max(s, indices_are_sorted=True)

    blocks = -(-count // size)
    start, stop = (jnp.asarray(p, jnp.int32) * blocks // parts for p in (part, part + 1))
    return jax.lax.fori_loop(start, stop, add, best)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _among(k: int, longest: tuple[tuple[str, int], ...], rows: Tree, q: Float[Any, "b t d"], near: Any) -> Best:
    each = groups(jnp.asarray(rows["counts"]))
    starts = {name: jnp.cumsum(n, dtype=jnp.int32) - n for name, n in each.items()}

    def one(query: Array, places: Int[Array, " c"]) -> Float[Array, " c"]:
        some, real = [], []
        for name, most in longest:
            if most:
                within = jnp.arange(most, dtype=jnp.int32)[None]
                there = within < each[name][places][:, None]
                tokens = rows[name][jnp.where(there, starts[name][places][:, None] + within, 0)]
                some.append(tokens.reshape(len(places), -1, query.shape[1]).astype(query.dtype))
                real.append(jnp.repeat(there, tokens.shape[2], axis=1))
        return padded_maxsim(query[None], jnp.concatenate(some, 1), d_real=jnp.concatenate(real, 1))[0]

    # One query after the other: each has all tokens of its candidates in memory.
    return reranked(near, lambda some, places: jax.lax.map(lambda a: one(*a), (some, places)), jnp.asarray(q), k)


def blocks_of_texts(x: Any) -> Iterator[Any]:
    """Texts in blocks of `NUMBERS` numbers; those of one list or array have as many tokens, padding with them."""
    each: Any = x.each if isinstance(x, Matrices) else x
    if isinstance(x, Matrices) or (isinstance(x, list | tuple) and ragged(x)):
        longest = max(map(len, each), default=0)
        size = max(NUMBERS // max(longest * np.shape(each[0])[-1], 1), 1) if len(each) else 1
        yield from (padded_texts(each[i : i + size], longest) for i in range(0, len(each), size))
    elif hasattr(each, "shape"):
        size = max(NUMBERS // max(math.prod(each.shape[1:]), 1), 1)
        yield from (each[i : i + size] for i in range(0, max(len(each), 1), size))
    else:
        for block in each:
            yield from blocks_of_texts(block)


def padded_texts(each: Any, longest: int) -> Float[np.ndarray, "n t d"]:
    """Matrices of one width as one array, with rows of zeros."""
    widths = {np.shape(text)[1] for text in each}
    if len(widths) > 1:
        raise DataError(f"texts with tokens of {min(widths)} and of {max(widths)} numbers: they are of different models")
    found = np.zeros((len(each), longest, widths.pop()), np.result_type(*{np.asarray(text).dtype for text in each}))
    for row, text in zip(found, each, strict=True):
        row[: len(text)] = text
    return found


def texts(x: Any, similarity: str, first: int = 0, what: str = "row", largest: float = math.inf) -> Float[np.ndarray, "n t d"]:
    """Texts, checked as vectors are; tokens of length 1 for cosines. Tokens of zeros are padding, and each text has another one."""
    if isinstance(x, Matrices | list | tuple):
        each = x.each if isinstance(x, Matrices) else x
        x = padded_texts(each, max(map(len, each), default=0)) if len(each) else np.zeros((0, 1, 1), np.float32)
    found = np.asarray(x)
    if found.ndim != 3 or found.dtype.kind not in "iuf" and found.dtype.name != "bfloat16":
        raise DataError(
            f"{what}s are texts with a vector a token (n t d), not an array of shape {found.shape} and type {found.dtype}"
        )
    wide = found.dtype == np.float64 and jax.config.read("jax_enable_x64")
    with np.errstate(over="ignore"):  # what 32 bits do not hold is refused below
        found = found.astype(np.float64 if wide else np.float32, copy=False)
    if len(bad := np.flatnonzero(~np.isfinite(found).all((1, 2)))):
        raise DataError(f"{what}s with entries that are not finite: {numbered(bad, first)}")
    if len(zero := np.flatnonzero(~found.any((1, 2)))):
        raise DataError(f"{what}s of zeros, texts without any token: {numbered(zero, first)}; leave them out")
    limits, tokens = np.finfo(found.dtype), found.reshape(-1, found.shape[2])
    square = np.einsum("nd,nd->n", tokens, tokens)
    if similarity == "cosine":
        real = tokens.any(1)
        turned = np.zeros_like(tokens)
        turned[real] = directions(tokens[real], square[real])
        return turned.reshape(found.shape)
    per_text = square.reshape(found.shape[:2]).max(1, initial=0)
    if len(long := np.flatnonzero(per_text > limits.max / 16)):
        raise DataError(f"{what}s so long that products of them are beyond {limits.bits} bits: {numbered(long, first)}; scale them")
    if len(large := np.flatnonzero(np.abs(found).max((1, 2), initial=0) > largest)):
        raise DataError(f"{what}s with entries beyond {largest:g}, the most that is kept in so few bits: {numbered(large, first)}")
    return found


def even(q: Float[np.ndarray, "b t d"]) -> Float[np.ndarray, "b s d"]:
    """Queries with a multiple of eight tokens, so that few lengths are compiled: zeros, whose largest product is 0."""
    return np.pad(q, ((0, 0), (0, -q.shape[1] % 8), (0, 0)))
