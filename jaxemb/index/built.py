"""An index with rows in it: what `Index.build` gives."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool

from jaxemb.config import ConfigError
from jaxemb.index.base import ROWS, Found, Index, Kept, Tree, check_k
from jaxemb.index.filters import Filter
from jaxemb.index.tags import appended, columns
from jaxemb.index.threads import FULL_PRECISION
from jaxemb.preprocess.base import DataError
from jaxemb.tensor_file import apart

NO_ROWS = "an index of no rows: there is nothing to find"


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
    tags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """`Column`s of the rows, by name."""

    def __len__(self) -> int:
        """Rows."""
        return self.kept.count

    def search(self, q: Any, k: int = 10, allow: Any = None) -> Found:
        """The k best rows of each query: all rows where k is above their number. `allow`: which may be found, a `Filter` of
        their tags, one for each query, or a mask over ids, (m) or (b m). Where fewer than k are allowed all of them are found, and
        after them come ids of -1 with scores of -inf."""
        check_k(k)
        queries = self.index.prepare(q, what="query row")
        if queries.shape[-1] != self.width:
            raise DataError(f"queries of {queries.shape[-1]} numbers, and the rows of this index have {self.width}")
        queries = queries.astype(self.precision, copy=False)
        mask, k = self.allowed(allow, len(queries)), min(k, len(self))
        if not len(queries):
            return Found(np.zeros((0, k), np.float32), np.zeros((0, k), np.int64))
        with FULL_PRECISION():
            scores, places = self.index.find(self.kept, queries, k, mask)
        ids = places.astype(np.int64) if self.ids is None else self.ids[places]
        nothing = np.isneginf(scores)
        return Found(np.where(nothing, scores, self.index.shown(scores)), np.where(nothing, -1, ids))

    @property
    def precision(self) -> type[np.floating]:
        """Of queries: 64 bits where rows were given in 64."""
        wide = any(getattr(a, "dtype", None) == np.float64 for a in jax.tree.leaves((self.kept.learned, self.kept.rows)))
        return np.float64 if wide else np.float32

    def add(self, x: Any, tags: Any = None) -> Built:
        """With further rows and their tags; their ids follow on. What was learned stays: rows unlike those that it was learned from
        are kept less well."""
        parts = list(encoded(self.index, self.kept.learned, x, self.next_id, self.width))
        added = sum(count for _, count, _ in parts)
        more = appended(self.tags, columns(tags, added)) if tags or self.tags else {}
        rows = self.index.join([self.host_rows(), *(part for part, _, _ in parts)])
        ids = None if self.ids is None else np.concatenate([self.ids, np.arange(self.next_id, self.next_id + added)])
        kept = placed(self.index, self.kept.learned, rows, len(self) + added, self.kept.mesh)
        return dataclasses.replace(self, kept=kept, ids=ids, next_id=self.next_id + added, tags=more)

    def remove(self, ids: Any) -> Built:
        """Without these rows. The others keep their ids, and no new row gets an id that was there."""
        given = np.asarray(ids)
        if given.size and given.dtype.kind not in "iu":  # a mask, or numbers that would be cut off
            raise ConfigError(f"the ids of rows that go are whole numbers, not an array of the type {given.dtype}")
        given = np.unique(given.astype(np.int64))
        own = np.arange(len(self)) if self.ids is None else self.ids
        if len(unknown := np.setdiff1d(given, own)):
            raise ConfigError(f"there are no rows with the ids {', '.join(map(str, unknown[:10]))}: none is removed")
        stay = np.flatnonzero(~np.isin(own, given))
        if not len(stay):
            raise DataError(f"all {len(self)} rows would be removed, and an index has at least one")
        rows, tags = self.index.take(self.host_rows(), stay), {name: c.take(stay) for name, c in self.tags.items()}
        kept = placed(self.index, self.kept.learned, rows, len(stay), self.kept.mesh)
        return dataclasses.replace(self, kept=kept, ids=own[stay], tags=tags)

    def nbytes(self) -> int:
        """Of all that is kept: what was learned, the rows, their ids where these are not 0, 1, 2, ..., and their tags."""
        tags = (a for c in self.tags.values() for a in (c.values, c.starts))
        arrays = (*jax.tree.leaves((self.kept.learned, self.kept.rows)), self.ids, *tags)
        names = sum(len(name.encode()) for c in self.tags.values() for name in c.names or ())
        return sum(a.nbytes for a in arrays if a is not None) + names

    def save(self, folder: Any) -> None:
        """Into a folder, which `load_index` reads."""
        from jaxemb.index.files import save  # which needs this module

        save(self, folder)

    def host_rows(self) -> Tree:
        """What is kept of the rows, on the host, without what fills up the last device."""
        rows = jax.tree.map(np.asarray, self.kept.rows)
        return rows if self.kept.mesh is None else self.index.take(rows, np.arange(len(self)))

    def allowed(self, allow: Any, queries: int) -> Bool[np.ndarray, "#b m"] | None:
        """`allow` of a search as a mask by the places of rows."""
        if allow is None:
            return None
        if isinstance(allow, Filter):
            return allow.passes(self.tags)[None]
        if isinstance(allow, list | tuple) and allow and all(isinstance(f, Filter) for f in allow):
            if len(allow) != queries:
                raise ConfigError(f"{len(allow)} filters for {queries} queries: give one for each, or one for all")
            return np.stack([f.passes(self.tags) for f in allow])
        mask, valid = np.asarray(allow), ((self.next_id,), (queries, self.next_id))
        if mask.dtype != bool or mask.shape not in valid:
            raise ConfigError(
                f"allow is a filter, one for each query, or a mask over ids, True where a row may be found, of shape {valid[0]} or "
                f"{valid[1]}; it has the shape {mask.shape} and the type {mask.dtype}"
            )
        mask = mask.reshape(-1, self.next_id)
        return mask if self.ids is None else mask[:, self.ids]


# ---- making one ------------------------------------------------------------------------------------------------------------------


def build(index: Index, x: Any, tags: Any, mesh: Mesh | None, seed: int) -> Built:
    """See `Index.build`."""
    if mesh is not None:
        index.check_mesh()
    learned = {}
    if index.sample:
        first, x = first_rows(index, x, seed)
        with FULL_PRECISION():
            learned = jax.tree.map(jnp.asarray, index.learn(first))
    parts, counts, width = [], [], 0
    for part, count, width in encoded(index, learned, x):  # noqa: B007 (the width of all is that of the last)
        parts.append(part)
        counts.append(count)
    if not sum(counts):
        raise DataError(NO_ROWS)
    rows, count = index.join(parts), sum(counts)
    return Built(index, placed(index, learned, rows, count, mesh), width, None, count, columns(tags, count))


def first_rows(index: Index, x: Any, seed: int) -> tuple[Any, Any]:
    """Prepared rows to learn from, and all that is to be encoded."""
    if hasattr(x, "shape"):
        return drawn(index, x, seed), x
    blocks = iter(index.blocks(x))
    seen, prepared, count = [], [], 0
    for block in blocks:
        seen.append(block)
        if len(block):
            prepared.append(index.prepare(block, count))
            same_width(prepared[0].shape[-1], prepared[-1], count)
        count += len(block)
        if count >= index.sample:
            break
    if not count:
        raise DataError(NO_ROWS)
    return index.stacked(prepared)[: index.sample], itertools.chain(seen, blocks)


def drawn(index: Index, x: Any, seed: int) -> Any:
    """Prepared rows of an array to learn from."""
    if not x.shape or not len(x):
        raise DataError(NO_ROWS)
    if len(x) <= index.sample:
        return index.prepare(x)
    some = np.sort(np.random.default_rng(seed).choice(len(x), index.sample, replace=False))
    try:
        return index.prepare(x[some])
    except DataError:  # which numbers the rows that were drawn: in blocks they have their own numbers
        at = 0
        for block in index.blocks(x):
            at += len(index.prepare(block, at))
        raise


def encoded(index: Index, learned: Tree, x: Any, first: int = 0, width: int | None = None) -> Iterator[tuple[Tree, int, int]]:
    """What is kept of each block of rows, how many these are, and their width. The first row has the number `first`."""
    for block in index.blocks(x):
        for start in range(0, len(block), ROWS):
            rows = index.prepare(block[start : start + ROWS], first)
            width = int(width or rows.shape[-1])
            same_width(width, rows, first)
            first += len(rows)
            with FULL_PRECISION():
                part = index.encode(learned, rows)
            yield jax.tree.map(apart, part), len(rows), width


def same_width(width: int, rows: Any, first: int) -> None:
    if rows.shape[-1] != width:
        raise DataError(f"rows from {first} on have {rows.shape[-1]} numbers, those before {width}")


def placed(index: Index, learned: Tree, rows: Tree, count: int, mesh: Mesh | None) -> Kept:
    """On the device; or over those of a mesh, each with as many rows."""
    if mesh is None:
        return Kept(learned, index.place(rows), count)
    mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)
    names, more = mesh.axis_names, -count % mesh.size

    def put(a: Any, axis: int) -> Any:
        whole = np.pad(a, [(0, more if i == axis else 0) for i in range(np.ndim(a))])
        return jax.device_put(whole, NamedSharding(mesh, P(*(None,) * axis, names)))

    learned = jax.device_put(learned, NamedSharding(mesh, P()))
    return Kept(learned, jax.tree.map(put, rows, index.axes(rows)), count, mesh)
