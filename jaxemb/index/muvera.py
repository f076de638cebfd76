"""MUVERA: texts with a vector a token are found by one vector each, and then compared token by token."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices, within
from jaxemb.index.base import Index, Kept, Tree, padded, power_of_two
from jaxemb.index.exact import Exact
from jaxemb.index.late_interaction import LateInteraction, even
from jaxemb.index.parts import _OfParts, check_part
from jaxemb.ops.fde import carve, count_sketch, draw_dense, draw_planes, draw_sparse, encode_document, encode_query
from jaxemb.types import Paper

ENCODED = 16
"""Texts that are encoded at a time."""


@dataclasses.dataclass(frozen=True)
class MUVERA(_OfParts):
    """The k best by MaxSim of the `times` k best by products of fixed dimensional encodings, which are about MaxSim themselves.

    Random planes cut the space into 2^planes cells. Of a query an encoding has the sum of the tokens of each cell, of a document
    their mean; a cell without a token of the document gets the one whose signs differ from the cell's in the fewest places. Each
    token is multiplied with a random matrix to `projected` numbers. All this `repetitions` times, side by side:

        <q, d> / repetitions ~ sum_i max_j q_i . d_j,      never above it but for the matrix

    for tokens that are near lie in the same cell.
    """

    paper: ClassVar[Paper | None] = Paper(
        "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings", 2024, "https://arxiv.org/abs/2405.19504"
    )
    texts: ClassVar[bool] = True

    repetitions: int = 20
    planes: int = 5
    projected: int | None = 16
    """Numbers of a token in a cell; None: the token as it is."""
    projection: str = "dense"
    """"dense", all entries +-1 / sqrt(projected), or "sparse", one entry +-1 a row."""
    sketched: int | None = None
    """Numbers of an encoding after a count sketch of the whole; None: it stays as it is."""
    fill: bool = True
    """Of cells without a token of a document; else they are zeros."""
    carved: float | None = None
    """Tokens of a query with a product of this much become one, their sum; None: none do."""
    times: int = 10
    """Candidates for each text that is asked for."""
    index: Index = dataclasses.field(default_factory=lambda: Exact(similarity="dot"))
    """How encodings are kept, by their products."""
    seed: int = 0

    def __post_init__(self) -> None:
        choices(self, similarity=("cosine", "dot"), projection=("dense", "sparse"))
        within(self, repetitions=(1, 2**16), planes=(0, 16), times=(1, 10**6))
        for name in ("projected", "sketched"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise ConfigError(f"MUVERA.{name}={given}: at least 1, or null")
        check_part("MUVERA.index", self.index, False)
        if self.index.similarity != "dot":
            raise ConfigError(f"MUVERA.index compares encodings by products: its similarity is dot, not {self.index.similarity}")

    @property
    def late(self) -> LateInteraction:
        """The tokens."""
        return LateInteraction(self.similarity)

    @property
    def sample(self) -> int:
        return max(self.index.sample, 1)

    def check_mesh(self) -> None:
        raise ConfigError("MUVERA keeps its texts on one device: build and load it without a mesh")

    def blocks(self, x: Any) -> Iterator[Any]:
        return self.late.blocks(x)

    def prepare(self, x: Any, first: int = 0, what: str = "row") -> Float[np.ndarray, "n t d"]:
        return self.late.prepare(x, first, what)

    def stacked(self, blocks: list[Any]) -> Float[np.ndarray, "n t d"]:
        return self.late.stacked(blocks)

    def learn(self, x: Float[np.ndarray, "s t d"]) -> Tree:
        draws = self.draws(x.shape[2], x.dtype)
        first = {}
        if self.index.sample:
            first = self.index.learn(np.asarray(_documents(self.fill, self.sketched, draws, x)))
        return {"draws": draws, "first": first}

    def draws(self, width: int, dtype: Any) -> Tree:
        """What is random: the same for queries and documents."""
        rng = np.random.default_rng(self.seed)
        found = {"planes": draw_planes(rng, self.repetitions, width, self.planes)}
        if self.projected:
            draw = draw_dense if self.projection == "dense" else draw_sparse
            found["inner"] = draw(rng, self.repetitions, width, self.projected)
        found = {name: a.astype(dtype) for name, a in found.items()}
        if self.sketched:
            length = self.repetitions * 2**self.planes * (self.projected or width)
            found["into"] = rng.integers(0, self.sketched, length).astype(np.int32)
            found["sign"] = rng.choice([-1.0, 1.0], length).astype(dtype)
        return found

    def encode(self, learned: Tree, x: Float[np.ndarray, "n t d"]) -> Tree:
        encodings = np.asarray(_documents(self.fill, self.sketched, learned["draws"], x))
        return {"first": self.index.encode(learned["first"], encodings), "second": self.late.encode({}, x)}

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, np.ndarray]:
        same = padded(even(q), power_of_two(len(q)))  # so that few sizes are compiled
        encodings = np.asarray(_queries(self.carved, self.sketched, kept.learned["draws"], same))[: len(q)]
        candidates = Kept(kept.learned["first"], kept.rows["first"], kept.count)
        near = self.index.find(candidates, encodings, min(self.times * k, kept.count), mask)
        return self.late.among(kept.rows["second"], q, near, k)

    def subset(self, kept: Kept, places: Int[np.ndarray, " c"]) -> tuple[Index, Kept]:
        """Of some rows all are compared token by token."""
        return self.late.subset(Kept({}, kept.rows["second"], kept.count), places)

    def compared(self, count: int) -> int:
        return self.index.compared(count)

    def length(self, rows: Tree) -> int:
        return self.late.length(rows["second"])

    @property
    def parts(self) -> dict[str, Index]:
        return {"first": self.index, "second": self.late}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _documents(fill: bool, sketched: int | None, draws: Tree, x: Any) -> Float[Array, "n f"]:
    one = lambda x: encode_document(x, x.any(1), draws["planes"], draws.get("inner"), fill)  # noqa: E731
    return _sketch(sketched, draws, jax.lax.map(one, jnp.asarray(x), batch_size=ENCODED))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _queries(carved: float | None, sketched: int | None, draws: Tree, q: Any) -> Float[Array, "b f"]:
    def one(x: Array) -> Array:
        x, real = (x, x.any(1)) if carved is None else carve(x, x.any(1), carved)
        return encode_query(x, real, draws["planes"], draws.get("inner"))

    return _sketch(sketched, draws, jax.lax.map(one, jnp.asarray(q), batch_size=ENCODED))


def _sketch(length: int | None, draws: Tree, x: Float[Array, "n f"]) -> Float[Array, "n l"]:
    return x if length is None else count_sketch(x, draws["into"], draws["sign"], length)
