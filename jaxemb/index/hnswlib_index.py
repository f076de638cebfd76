"""A graph of hnswlib."""

from __future__ import annotations

import dataclasses
import tempfile
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxemb.config import within
from jaxemb.index.base import Tree
from jaxemb.index.library import Near, _Library, _Live, nothing
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class HNSWLib(_Library):
    """A hierarchical navigable small world graph, by the library hnswlib: a query walks to ever nearer neighbours.

    A filter is asked within the walk (of Python, on one thread): rows that do not pass lead on and are not found.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs",
        2016,
        "arxiv.org/abs/1603.09320",
    )
    package: ClassVar[str] = "hnswlib"
    trial: ClassVar[str] = (
        "import hnswlib, numpy; i = hnswlib.Index('ip', 64); i.init_index(4); i.add_items(numpy.ones((4, 64), numpy.float32)); "
        "i.knn_query(numpy.ones((1, 64), numpy.float32), k=1)"
    )

    neighbours: int = 16
    """M: of a row in an upper layer; in the lowest one twice as many."""
    ef_build: int = 200
    """Candidates while a row's neighbours are looked for."""
    ef: int = 64
    """Candidates of a query; at least k."""
    seed: int = 100
    """Of the layers. Rows that several threads add are linked in no fixed order: one thread builds the same graph again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, neighbours=(2, 1024), ef_build=(1, 2**16), ef=(1, 2**24), seed=(0, 2**31))

    def empty(self, learned: Tree, width: int) -> Any:
        it = self._new(width)
        it.init_index(1, M=self.neighbours, ef_construction=self.ef_build, random_seed=self.seed)
        return it

    def _new(self, width: int) -> Any:
        return self.library().Index("l2" if self.similarity == "euclidean" else "ip", width)

    def insert(self, it: Any, x: Float[np.ndarray, "n d"]) -> None:
        first = it.get_current_count()
        it.resize_index(first + len(x))
        it.add_items(x, np.arange(first, first + len(x)), num_threads=self.threads or -1)

    def ask(self, live: _Live, q: Float[np.ndarray, "b d"], k: int, mask: Bool[np.ndarray, "#b m"] | None) -> Near:
        live.it.set_ef(max(self.ef, k))
        scores, places = nothing(len(q), k)

        def walk(rows: Int[np.ndarray, " r"], n: int, threads: int, **passes: Any) -> None:
            try:
                ids, distances = live.it.knn_query(q[rows], k=n, num_threads=threads, **passes)
            except RuntimeError as e:
                if "contiguous 2D array" not in str(e):
                    raise
                # A query of them came by fewer than n rows.
                for row in rows if len(rows) > 1 else ():
                    walk(np.array([row]), n, threads, **passes)
                return
            places[rows, :n] = ids
            scores[rows, :n] = -distances if self.similarity == "euclidean" else 1 - distances

        if mask is None:
            walk(np.arange(len(q)), k, self.threads or -1)
            return scores, places
        for i, passes in enumerate(mask):
            if n := min(k, int(passes.sum())):
                walk(np.arange(len(q)) if len(mask) == 1 else np.array([i]), n, 1, filter=passes.tolist().__getitem__)
        return scores, places

    def vectors(self, it: Any, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        return it.get_items(places, return_type="numpy") if len(places) else np.zeros((0, it.dim), np.float32)

    def to_bytes(self, it: Any) -> UInt8[np.ndarray, " _"]:
        with tempfile.TemporaryDirectory() as folder:  # it writes files alone, and not how wide a row is
            it.save_index(f"{folder}/index")
            return np.concatenate([np.array([it.dim], np.int64).view(np.uint8), np.fromfile(f"{folder}/index", np.uint8)])

    def opened(self, data: UInt8[np.ndarray, " _"]) -> Any:
        it = self._new(int.from_bytes(data[:8].tobytes(), "little"))
        with tempfile.TemporaryDirectory() as folder:
            data[8:].tofile(f"{folder}/index")
            it.load_index(f"{folder}/index")
        return it

    def size(self, it: Any) -> int:
        return it.index_file_size() + 8

    def length(self, rows: Tree) -> int:
        return self.place(rows)["structure"].it.get_current_count()

    def compared(self, count: int) -> int:
        return min(count, self.ef * self.neighbours)
