"""Any index of faiss, by its factory string."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxemb.config import ConfigError, within
from jaxemb.index.base import Tree
from jaxemb.index.library import Near, TooFewRows, _Library, _Live, nothing
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class FaissIndex(_Library):
    """An index of faiss: "HNSW32", "Flat", "IVF256,Flat", "OPQ32,IVF256,PQ32x4fs" or what its `index_factory` reads otherwise.

    A filter is an `IDSelector` within the search of graphs, lists and flat indexes; elsewhere rows that do not pass are dropped
    from longer and longer lists.
    """

    paper: ClassVar[Paper | None] = Paper("The Faiss library", 2024, "arxiv.org/abs/2401.08281")
    package: ClassVar[str] = "faiss"
    trial: ClassVar[str] = (
        "import faiss, numpy; x = numpy.ones((4, 64), 'f4'); i = faiss.index_factory(64, 'HNSW8'); i.add(x); i.search(x, 1)"
    )

    factory: str = "HNSW32"
    ef_build: int = 40
    """Of a graph, candidates while a row's neighbours are looked for."""
    ef: int = 64
    """Of a graph, candidates of a query; at least k."""
    probes: int = 16
    """Of lists, those that a query looks into."""
    sample: int = 2**16
    """The most rows that centroids and codebooks are learned from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, ef_build=(1, 2**16), ef=(1, 2**24), probes=(1, 2**24), sample=(1, 2**31))

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        faiss = self.library()
        metric = faiss.METRIC_L2 if self.similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
        try:
            it = faiss.index_factory(x.shape[1], self.factory, metric)
        except RuntimeError as e:
            raise ConfigError(f"FaissIndex.factory={self.factory!r}: faiss says: {_said(e)}") from e
        if isinstance(inner := self._inner(it), faiss.IndexHNSW):
            inner.hnsw.efConstruction = self.ef_build
        self._threads()
        try:
            it.train(x.astype(np.float32, copy=False))
        except RuntimeError as e:
            raise TooFewRows(f"{self.factory} cannot be learned from {len(x)} rows: faiss says: {_said(e)}") from e
        if isinstance(inner, faiss.IndexIVF):
            inner.make_direct_map()  # without it no row can be read again
        return {"trained": faiss.serialize_index(it)}

    def empty(self, learned: Tree, width: int) -> Any:
        return self.opened(np.array(learned["trained"]))

    def bare(self, it: Any, width: int) -> Any:
        found = self.library().clone_index(it)
        found.reset()
        return found

    def insert(self, it: Any, x: Float[np.ndarray, "n d"]) -> None:
        self._threads()
        it.add(x)

    def ask(self, live: _Live, q: Float[np.ndarray, "b d"], k: int, mask: Bool[np.ndarray, "#b m"] | None) -> Near:
        self._threads()
        if mask is None:
            return self._found(live, q, k, self._options(live.it, k))
        faiss, (scores, places) = self.library(), nothing(len(q), k)
        for i, bits in enumerate(np.packbits(mask, axis=1, bitorder="little")):
            selector = faiss.IDSelectorBitmap(bits)  # lives as long as the search, which has its address alone
            options = self._options(live.it, k, sel=selector)
            if "params" not in options:
                return self.after(live, q, k, mask)
            rows = slice(None) if len(mask) == 1 else slice(i, i + 1)
            scores[rows], places[rows] = self._found(live, q[rows], k, options)
        return scores, places

    def _found(self, live: _Live, q: np.ndarray, k: int, options: dict[str, Any]) -> Near:
        scores, places = live.it.search(q, k, **options)
        scores = -scores if self.similarity == "euclidean" else scores
        return np.where(places < 0, -np.inf, scores).astype(np.float32), places.astype(np.int64)

    def _options(self, it: Any, k: int, **selector: Any) -> dict[str, Any]:
        """Of a search; none for what takes none."""
        faiss, inner = self.library(), self._inner(it)
        if isinstance(inner, faiss.IndexHNSW):
            params = faiss.SearchParametersHNSW(efSearch=max(self.ef, k), **selector)
        elif isinstance(inner, faiss.IndexIVF):
            params = faiss.SearchParametersIVF(nprobe=self.probes, **selector)
        elif selector and isinstance(inner, faiss.IndexFlat):
            params = faiss.SearchParameters(**selector)
        else:
            return {}
        return {"params": params if inner is it else faiss.SearchParametersPreTransform(index_params=params)}

    def _inner(self, it: Any) -> Any:
        """Behind what vectors go through first."""
        faiss = self.library()
        return faiss.downcast_index(it.index) if isinstance(it, faiss.IndexPreTransform) else it

    def _threads(self) -> None:
        if self.threads:
            self.library().omp_set_num_threads(self.threads)

    def vectors(self, it: Any, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        try:
            return it.reconstruct_batch(places) if len(places) else np.zeros((0, it.d), np.float32)
        except RuntimeError as e:
            raise ConfigError(
                f"{self.factory} cannot give its rows again, as removing some and filters that few rows pass need: faiss says: "
                f"{_said(e)}"
            ) from e

    def to_bytes(self, it: Any) -> UInt8[np.ndarray, " _"]:
        return self.library().serialize_index(it)

    def opened(self, data: UInt8[np.ndarray, " _"]) -> Any:
        return self.library().deserialize_index(data)

    def size(self, it: Any) -> int:
        return len(self.to_bytes(it))

    def length(self, rows: Tree) -> int:
        return self.place(rows)["structure"].it.ntotal

    def compared(self, count: int) -> int:
        if lists := re.search(r"IVF(\d+)", self.factory):
            return min(count, -(-count * self.probes // int(lists[1])))
        graph = re.search(r"HNSW(\d+)", self.factory)
        return min(count, self.ef * int(graph[1]) // 2) if graph else count


def _said(e: Exception) -> str:
    """The message of an exception of faiss, without the place in its source."""
    return str(e).rpartition(": ")[2] if "cpp:" in str(e) else str(e)
