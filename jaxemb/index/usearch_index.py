"""A graph of usearch."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxemb.config import ConfigError, choices, within
from jaxemb.index.base import Tree
from jaxemb.index.library import Near, _Library, _Live, nothing
from jaxemb.types import Paper

DTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "i8"}
METRICS = {"cosine": "cos", "dot": "ip", "euclidean": "l2sq"}


@dataclasses.dataclass(frozen=True)
class USearch(_Library):
    """A hierarchical navigable small world graph, by the library usearch, whose rows may be kept in fewer bytes.

    It has no filters: rows that do not pass are dropped from longer and longer lists of neighbours, and where these would be as
    long as the list of rows that pass, all of those are compared.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs",
        2016,
        "arxiv.org/abs/1603.09320",
    )
    package: ClassVar[str] = "usearch.index"
    trial: ClassVar[str] = (
        "import numpy; from usearch.index import Index; i = Index(ndim=64); x = numpy.ones((4, 64), numpy.float32); "
        "i.add(numpy.arange(4), x); i.search(x, 1)"
    )

    dtype: str = "float32"
    """Of the rows that are kept: "float32", "bfloat16", "float16", or for cosines "int8"."""
    neighbours: int = 16
    """Of a row in an upper layer; in the lowest one twice as many."""
    ef_build: int = 128
    """Candidates while a row's neighbours are looked for."""
    ef: int = 64
    """Candidates of a query; at least k."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, dtype=tuple(DTYPES))
        within(self, neighbours=(2, 1024), ef_build=(1, 2**16), ef=(1, 2**24))
        if self.dtype == "int8" and self.similarity != "cosine":
            raise ConfigError(
                f"USearch.dtype is int8, which keeps directions alone, and its similarity {self.similarity}: valid: cosine"
            )

    def empty(self, learned: Tree, width: int) -> Any:
        return self.library().Index(
            ndim=width,
            metric=METRICS[self.similarity],
            dtype=DTYPES[self.dtype],
            connectivity=self.neighbours,
            expansion_add=self.ef_build,
            expansion_search=self.ef,
        )

    def insert(self, it: Any, x: Float[np.ndarray, "n d"]) -> None:
        it.add(np.arange(len(it), len(it) + len(x)), x, threads=self.threads)

    def ask(self, live: _Live, q: Float[np.ndarray, "b d"], k: int, mask: Bool[np.ndarray, "#b m"] | None) -> Near:
        if mask is not None:
            return self.after(live, q, k, mask)
        live.it.expansion_search = max(self.ef, k)
        scores, places = nothing(len(q), k)
        found = live.it.search(q, k, threads=self.threads)
        keys, distances = (np.atleast_2d(a) for a in (found.keys, found.distances))  # of one query it gives a row
        there = np.arange(keys.shape[1])[None] < np.reshape(getattr(found, "counts", keys.shape[1]), (-1, 1))
        scores[:, : keys.shape[1]] = np.where(there, (-distances if self.similarity == "euclidean" else 1 - distances), -np.inf)
        places[:, : keys.shape[1]] = np.where(there, keys.astype(np.int64), -1)
        return scores, places

    def vectors(self, it: Any, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        return np.asarray(it.get(places, "f32"), np.float32) if len(places) else np.zeros((0, it.ndim), np.float32)

    def to_bytes(self, it: Any) -> UInt8[np.ndarray, " _"]:
        return np.frombuffer(it.save(), np.uint8)

    def opened(self, data: UInt8[np.ndarray, " _"]) -> Any:
        return self.library().Index.restore(data.tobytes())

    def size(self, it: Any) -> int:
        return it.serialized_length

    def length(self, rows: Tree) -> int:
        return len(self.place(rows)["structure"].it)

    def compared(self, count: int) -> int:
        return min(count, self.ef * self.neighbours)
