"""Indexes of other libraries, as baselines: what they keep is theirs, all else is as in every index of the family."""

from __future__ import annotations

import abc
import dataclasses
import functools
import importlib
import importlib.util
import logging
import math
import os
import signal
import subprocess
import sys
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial.distance import cdist

from jaxemb.config import ConfigError, within
from jaxemb.index.base import SCORES, Index, Kept, Tree
from jaxemb.index.exact import Exact
from jaxemb.index.filtered import distinct, dropped
from jaxemb.ops.topk import largest
from jaxemb.preprocess.base import DataError

log = logging.getLogger("jaxemb")

Near = tuple[np.ndarray, np.ndarray]
"""(scores, places) (b k); -inf and -1 where nothing was found."""


class LibraryError(ConfigError):
    """A library that is not installed, or that does not run on this machine."""


class TooFewRows(DataError):
    """More rows are needed to learn from."""


class _Live:
    """The structure of a library, in memory; to what asks for an array it is that of its bytes."""

    def __init__(self, index: _Library, it: Any) -> None:
        self.index, self.it, self.exact = index, it, 0
        """`exact`: queries that were compared with all rows that pass, as the library found too few."""

    @functools.cached_property
    def nbytes(self) -> int:
        """As it is saved."""
        return self.index.size(self.it)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.index.to_bytes(self.it)


@dataclasses.dataclass(frozen=True)
class _Waiting:
    """Vectors that no structure has yet."""

    learned: Any
    x: Any


@dataclasses.dataclass(frozen=True)
class _Library(Index):
    """Rows in a structure of a library: `save` keeps the library's own bytes, and `nbytes` counts them.

    A filter is never violated, and all rows that pass are found where these are fewer than k: queries for which the library finds
    too few are compared with every row that passes, which is logged with their number. Removing rows builds the structure anew
    from its vectors, adding copies it. Cosines are products of rows of length 1.
    """

    package: ClassVar[str]
    """As it is imported."""
    trial: ClassVar[str]
    """Python that uses it once; it runs in a process of its own before this one imports the library, as a wheel for another
    processor kills whatever uses it."""

    threads: int = 0
    """0: as many as the library takes by itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, threads=(0, 1024))

    # ---- what members define -----------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def empty(self, learned: Tree, width: int) -> Any:
        """A structure without rows."""

    def bare(self, it: Any, width: int) -> Any:
        """Another one, with what this one has learned."""
        return self.empty({}, width)

    @abc.abstractmethod
    def insert(self, it: Any, x: Float[np.ndarray, "n d"]) -> None:
        """Adds rows; their places follow on."""

    @abc.abstractmethod
    def ask(self, live: _Live, q: Float[np.ndarray, "b d"], k: int, mask: Bool[np.ndarray, "#b m"] | None) -> Near:
        """What the library finds; of a filter at most what passes."""

    @abc.abstractmethod
    def vectors(self, it: Any, places: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        """Rows as they are kept."""

    @abc.abstractmethod
    def to_bytes(self, it: Any) -> UInt8[np.ndarray, " _"]:
        """The structure as it is saved."""

    @abc.abstractmethod
    def opened(self, data: UInt8[np.ndarray, " _"]) -> Any:
        """A structure of its bytes."""

    @abc.abstractmethod
    def size(self, it: Any) -> int:
        """Bytes of the structure as it is saved."""

    @abc.abstractmethod
    def length(self, rows: Tree) -> int:
        """Rows."""

    # ---- what they share ---------------------------------------------------------------------------------------------------------

    def library(self) -> Any:
        """The module; a `LibraryError` where it is not there, or kills the process that uses it."""
        return loaded(self.package, self.trial)

    def check_mesh(self) -> None:
        raise ConfigError(f"{type(self).__name__} keeps its rows in one structure: build and load it without a mesh")

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        return {"structure": _Waiting(learned, x)}

    def join(self, parts: list[Tree]) -> Tree:
        first = parts[0]["structure"]
        if isinstance(first, _Waiting):
            it = self.empty(first.learned, first.x.shape[1])
        else:
            it = self.opened(np.asarray(first))
            del parts[0]
        parts.reverse()
        while parts:
            self.insert(it, parts.pop()["structure"].x.astype(np.float32, copy=False))
        return {"structure": _Live(self, it)}

    def take(self, rows: Tree, which: Any) -> Tree:
        x = self.vectors(self.place(rows)["structure"].it, np.asarray(which))
        it = self.bare(self.place(rows)["structure"].it, x.shape[1])
        self.insert(it, x)
        return {"structure": _Live(self, it)}

    def place(self, rows: Tree) -> Tree:
        live = rows["structure"]
        return rows if isinstance(live, _Live) else {"structure": _Live(self, self.opened(np.asarray(live)))}

    def subset(self, kept: Kept, places: Int[np.ndarray, " c"]) -> tuple[Index, Kept]:
        exact, x = Exact(self.similarity), self.vectors(kept.rows["structure"].it, places)
        learned = exact.learn(x)
        return exact, Kept(learned, exact.encode(learned, x), len(places))

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> Near:
        live, q = kept.rows["structure"], np.ascontiguousarray(q, np.float32)
        scores, places = self.ask(live, q, k, mask)
        room = np.broadcast_to(k if mask is None else np.minimum(k, mask.sum(1)), len(q))
        short = np.flatnonzero((places >= 0).sum(1) < room)
        if len(short):
            some = np.ones((1, kept.count), bool) if mask is None else mask if len(mask) == 1 else mask[short]
            scores[short], places[short] = self._compared(live, q[short], k, some)
            live.exact += len(short)
            log.info(
                "%s found too few rows for %d of %d queries: they were compared with all rows that pass",
                *(self.package, len(short), len(q)),
            )
        order = np.lexsort((places, -scores))
        return np.take_along_axis(scores, order, 1), np.maximum(np.take_along_axis(places, order, 1), 0)

    def _compared(self, live: _Live, q: Float[np.ndarray, "b d"], k: int, mask: Bool[np.ndarray, "#b m"]) -> Near:
        """Every row that passes is compared."""
        scores, places = nothing(len(q), k)
        filters, of = distinct(mask, len(q))
        for f, passes in enumerate(filters):
            rows, mine = np.flatnonzero(passes), np.flatnonzero(of == f)
            x, n = self.vectors(live.it, rows), min(k, len(rows))
            size = max(SCORES // max(len(rows), 1), 1)
            for some in (mine[i : i + size] for i in range(0, len(mine) if n else 0, size)):
                s = -(cdist(q[some], x, "sqeuclidean").astype(x.dtype)) if self.similarity == "euclidean" else q[some] @ x.T
                best = largest(s, n)
                scores[some, :n], places[some, :n] = np.take_along_axis(s, best, 1), rows[best]
        return scores, places

    def after(self, live: _Live, q: Float[np.ndarray, "b d"], k: int, mask: Bool[np.ndarray, "#b m"]) -> Near:
        """Of a library that cannot filter: the n best of all rows, less what does not pass, n doubling while there are fewer than
        k. No more than pass are looked for: comparing these costs less."""
        scores, places = nothing(len(q), k)
        mask = np.broadcast_to(mask, (len(q), mask.shape[1]))
        passing = mask.sum(1)
        open_ = np.flatnonzero(passing)
        n = math.ceil(2 * k * mask.shape[1] / passing.max(initial=1))
        while len(open_ := open_[passing[open_] > n]):
            near = self.ask(live, q[open_], n, None)
            best, found, got = dropped(*near, mask[open_], k)
            done = got >= k
            scores[open_[done]], places[open_[done]] = best[done], found[done]
            open_, n = open_[~done], 2 * n
        return scores, places


def nothing(b: int, k: int) -> Near:
    """What is found before anything is looked for."""
    return np.full((b, k), -np.inf, np.float32), np.full((b, k), -1, np.int64)


def loaded(package: str, trial: str) -> Any:
    """A library that ran its trial in a process of its own."""
    if package in sys.modules:
        return sys.modules[package]
    install = "pip install 'jaxemb[graphs]'"
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        raise LibraryError(f"this index needs {package.partition('.')[0]}: {install}")
    path = os.pathsep.join(p for p in sys.path if p)
    run = subprocess.run(
        [sys.executable, "-P", "-c", trial], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if run.returncode < 0:
        raise LibraryError(
            f"{package} ends the process that uses it ({signal.Signals(-run.returncode).name}): what is installed was "
            "most likely made for another processor; have pip build it on this machine (--no-binary)"
        )
    if run.returncode:
        said = (run.stderr.strip() or "it says nothing").splitlines()[-1]
        raise LibraryError(f"{package} is installed and does not run: {said}; install it again: {install}")
    return importlib.import_module(package)
