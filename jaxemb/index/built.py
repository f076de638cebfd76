"""An index with rows in it: what `Index.build` gives."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool

from jaxemb.config import ConfigError
from jaxemb.index.base import ROWS, Found, Index, Kept, Tree, check_k
from jaxemb.preprocess.base import DataError


@dataclasses.dataclass(frozen=True)
class Built:
    """Rows that can be searched. Nothing changes in place: `add` and `remove` give another one."""

    index: Index
    kept: Any
    """`Kept`."""
    width: int
    """Numbers of a vector."""
    ids: Any = None
    """Of the rows, rising; None: they are 0, 1, 2, ..."""
    next_id: int = 0

    def __len__(self) -> int:
        """Rows."""
        return self.kept.count

    def search(self, q: Any, k: int = 10, allow: Any = None) -> Found:
        """The k best rows of each query: all rows where k is above their number. `allow`: which may be found, a mask over ids, (m)
        or (b m). Fewer than k may be allowed: all of them are found, then come ids of -1 with scores of -inf."""
        check_k(k)
        queries = self.index.prepare(q, what="query")
        if queries.shape[-1] != self.width:
            raise DataError(f"queries of {queries.shape[-1]} numbers, and the rows of this index have {self.width}")
        mask, k = self._mask(allow, len(queries)), min(k, len(self))
        if not len(queries):
            return Found(np.zeros((0, k), np.float32), np.zeros((0, k), np.int64))
        scores, places = self.index.find(self.kept, queries, k, mask)
        ids = places.astype(np.int64) if self.ids is None else self.ids[places]
        if self.index.similarity == "euclidean":
            scores = np.where(np.isfinite(scores), -np.sqrt(np.maximum(-scores, 0)), scores)
        return Found(scores, np.where(np.isneginf(scores), -1, ids))

    def add(self, x: Any) -> Built:
        """With further rows, whose ids follow on. What was learned stays: rows unlike those that it was learned from are kept less
        well."""
        parts = list(encoded(self.index, self.kept.learned, x, self.next_id, self.width))
        added = sum(count for _, count in parts)
        mine = self._rows(np.arange(len(self)))
        rows = self.index.join([mine, *(part for part, _ in parts)])
        ids = None if self.ids is None else np.concatenate([self.ids, np.arange(self.next_id, self.next_id + added)])
        kept = placed(self.index, self.kept.learned, rows, len(self) + added, self.kept.mesh)
        return dataclasses.replace(self, kept=kept, ids=ids, next_id=self.next_id + added)

    def remove(self, ids: Any) -> Built:
        """Without these rows. The others keep their ids, and no new row gets an id that was there."""
        given = np.unique(np.asarray(ids, np.int64))
        own = np.arange(len(self)) if self.ids is None else self.ids
        if len(unknown := np.setdiff1d(given, own)):
            raise ConfigError(f"there are no rows with the ids {', '.join(map(str, unknown[:10]))}: none is removed")
        stay = np.flatnonzero(~np.isin(own, given))
        if not len(stay):
            raise DataError(f"all {len(self)} rows would be removed, and an index has at least one")
        rows = self._rows(stay)
        kept = placed(self.index, self.kept.learned, rows, len(stay), self.kept.mesh)
        return dataclasses.replace(self, kept=kept, ids=own[stay])

    def nbytes(self) -> int:
        """Of all that is kept: what was learned, the rows, and their ids where these are not 0, 1, 2, ..."""
        arrays = (*jax.tree.leaves((self.kept.learned, self.kept.rows)), *(() if self.ids is None else (self.ids,)))
        return sum(a.nbytes for a in arrays)

    def _rows(self, which: np.ndarray) -> Tree:
        """Some rows, on the host."""
        return self.index.take(jax.tree.map(np.asarray, self.kept.rows), which)

    def _mask(self, allow: Any, queries: int) -> Bool[np.ndarray, "#b m"] | None:
        """By the places of rows."""
        if allow is None:
            return None
        mask = np.asarray(allow)
        valid = (self.next_id,), (queries, self.next_id)
        if mask.dtype != bool or mask.shape not in valid:
            raise ConfigError(
                f"allow is a mask over ids, True where a row may be found, of shape {valid[0]} or {valid[1]}; "
                f"it has the shape {mask.shape} and the type {mask.dtype}"
            )
        mask = mask.reshape(-1, self.next_id)
        return mask if self.ids is None else mask[:, self.ids]


# ---- making one ------------------------------------------------------------------------------------------------------------------


def build(index: Index, x: Any, mesh: Mesh | None, seed: int) -> Built:
    """See `Index.build`."""
    first, rest = first_rows(index, x, seed)
    learned = jax.tree.map(jnp.asarray, index.learn(first)) if index.sample else {}
    parts = list(encoded(index, learned, rest))
    count = sum(n for _, n in parts)
    if not count:
        raise DataError("an index of no rows: there is nothing to find")
    rows = index.join([part for part, _ in parts])
    return Built(index, placed(index, learned, rows, count, mesh), first.shape[-1], None, count)


def first_rows(index: Index, x: Any, seed: int) -> tuple[Any, Iterable[Any]]:
    """Prepared rows to learn from, one at least, and all that is to be encoded."""
    if hasattr(x, "shape") and len(x):
        few = min(max(index.sample, 1), len(x))
        chosen = np.arange(len(x)) if few == len(x) else np.sort(np.random.default_rng(seed).choice(len(x), few, replace=False))
        return index.prepare(np.asarray(x)[chosen] if few < len(x) else x), x
    blocks = iter(index.blocks(x))
    seen, count = [], 0
    for block in blocks:
        seen.append(block)
        count += len(block)
        if count >= max(index.sample, 1):
            break
    if not count:
        raise DataError("an index of no rows: there is nothing to find")
    prepared, at = [], 0
    for block in seen:
        prepared.append(index.prepare(block, at))
        at += len(block)
    same_width(prepared[0].shape[-1], prepared)
    return np.concatenate(prepared)[: max(index.sample, 1)], itertools.chain(seen, blocks)


def encoded(index: Index, learned: Tree, x: Any, first: int = 0, width: int | None = None) -> Iterator[tuple[Tree, int]]:
    """What is kept of each block of rows, and how many these are. The first row has the number `first`."""
    for block in index.blocks(x):
        for start in range(0, len(block), ROWS):
            rows = index.prepare(block[start : start + ROWS], first)
            width = rows.shape[-1] if width is None else width
            same_width(width, [rows], first)
            first += len(rows)
            yield index.encode(learned, rows), len(rows)


def same_width(width: int, blocks: list[Any], first: int = 0) -> None:
    for rows in blocks:
        if rows.shape[-1] != width:
            raise DataError(f"rows from {first} on have {rows.shape[-1]} numbers, those before {width}")
        first += len(rows)


def placed(index: Index, learned: Tree, rows: Tree, count: int, mesh: Mesh | None) -> Kept:
    """On the device; or over those of a mesh, each with as many rows."""
    if mesh is None:
        return Kept(learned, jax.tree.map(jnp.asarray, rows), count)
    mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)
    more, axis = -count % mesh.size, index.axis
    cut, whole = NamedSharding(mesh, P(*(None,) * axis, mesh.axis_names)), NamedSharding(mesh, P())

    def put(a: Any) -> Any:
        return jax.device_put(np.pad(a, [(0, more if i == axis else 0) for i in range(np.ndim(a))]), cut)

    return Kept(jax.device_put(learned, whole), jax.tree.map(put, rows), count, mesh)
