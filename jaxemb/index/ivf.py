"""The rows in lists around centroids, of which a query looks into the nearest alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, within
from jaxemb.index.base import Index, Kept, Tree, drawn_from, power_of_two
from jaxemb.index.exact import Exact
from jaxemb.index.parts import check_part
from jaxemb.ops.k_means import k_means
from jaxemb.ops.k_means import nearest as nearest_centroid
from jaxemb.types import Paper

TOGETHER = 32
"""Queries that look into one list at the same time."""
MASKED = 2**22
"""Entries of masks, one for each query, that are looked at together."""


class Plan(NamedTuple):
    """Which queries look where: a task is a piece of a list and the queries that look into it."""

    start: Int[np.ndarray, " t"]
    """The first row of the piece, in the order of lists."""
    length: Int[np.ndarray, " t"]
    """Its rows."""
    queries: Int[np.ndarray, "t g"]
    """-1 where there are fewer."""
    places: Int[np.ndarray, "b e"]
    """Of each query its entries in `queries`, flat; -1 where there are fewer."""


@dataclasses.dataclass(frozen=True)
class IVF(Index):
    """An inverted file: k-means cuts the rows into `lists`; a query is compared with the rows of its `probes` nearest centroids.

    Where these hold fewer than k rows that may be found, further lists are looked into, until there are k or all are seen: so k
    above the number of rows gives all of them, and a filter never loses rows because it is narrow.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Video Google: a text retrieval approach to object matching in videos", 2003, "doi.org/10.1109/ICCV.2003.1238663"
    )

    lists: int = 256
    """At most as many as there are rows to learn from; about the root of the number of rows is usual."""
    probes: int = 8
    """Lists that a query looks into at least."""
    index: Index = dataclasses.field(default_factory=Exact)
    """How rows are kept and compared."""
    rounds: int = 10
    """Of k-means."""
    sample: int = 2**16
    """Rows that the centroids are learned from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, lists=(1, 2**16), probes=(1, 2**16), rounds=(0, 1000), sample=(1, 2**31))
        check_part("IVF.index", self.index, True)
        if self.index.similarity != self.similarity:
            raise ConfigError(f"IVF.similarity is {self.similarity}, and that of its index {self.index.similarity}")

    @property
    def largest(self) -> float:
        return self.index.largest

    def check_mesh(self) -> None:
        raise ConfigError("IVF keeps its lists on one device: build and load it without a mesh")

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        centroids = np.asarray(k_means(x, min(self.lists, len(x)), rounds=self.rounds))
        return {"centroids": centroids, "index": self.index.learn(drawn_from(x, self.index.sample)) if self.index.sample else {}}

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        lists = np.asarray(_nearest(x, learned["centroids"])).astype(np.uint16)
        return {"list": lists, "place": np.arange(len(x), dtype=np.int32), "index": self.index.encode(learned["index"], x)}

    def axes(self, rows: Tree) -> Tree:
        return {"list": 0, "place": 0, "index": self.index.axes(rows["index"])}

    def join(self, parts: list[Tree]) -> Tree:
        """Rows by list, those of a list in their order; `place` is where they stood."""
        before = np.cumsum([0, *(len(part["place"]) for part in parts)])
        for part, n in zip(parts, before[:-1], strict=True):
            part["place"] = part["place"] + np.int32(n)
        return self._sorted(super().join(parts))

    def take(self, rows: Tree, which: Any) -> Tree:
        inverse = np.argsort(rows["place"])
        taken = super().take(rows, inverse[which])
        return self._sorted({**taken, "place": np.arange(len(which), dtype=np.int32)})

    def _sorted(self, rows: Tree) -> Tree:
        order = np.lexsort((rows["place"], rows["list"]))
        return super().take(rows, order)

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, np.ndarray]:
        if mask is not None and len(mask) > (size := max(MASKED // kept.count, 1)):  # masks take 17 bytes a row meanwhile
            each = [self.find(kept, q[i : i + size], k, mask[i : i + size]) for i in range(0, len(q), size)]
            return np.concatenate([s for s, _ in each]), np.concatenate([p for _, p in each])
        if mask is not None:
            mask = mask[:, np.asarray(kept.rows["place"])]
        near, probed, starts = self._lists(kept, q, k, mask)
        piece = power_of_two(max(kept.count // len(starts), 16))
        plan = planned(near, probed, starts, piece)
        found = _look(self.index, k, piece, kept.learned["index"], kept.rows["index"], kept.rows["place"], q, mask, plan)
        scores, places = jax.device_get(found)
        return scores, places

    def compared(self, count: int) -> int:
        return min(count, -(-count * self.probes // self.lists))

    def looked_at(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> Int[np.ndarray, " b"]:
        """With how many rows a search compares each query: all of the lists that it looks into, also those that do not pass."""
        near, probed, starts = self._lists(kept, q, k, None if mask is None else mask[:, np.asarray(kept.rows["place"])])
        looked = np.arange(near.shape[1])[None] < probed[:, None]
        return (np.diff(starts)[near] * looked).sum(1)

    def _lists(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, ...]:
        """(the lists of each query (b l), the nearest first; how many of them it looks into (b); where each list starts (l+1));
        `mask` in the order of lists."""
        starts = np.searchsorted(np.asarray(kept.rows["list"]), np.arange(len(kept.learned["centroids"]) + 1))
        near = np.asarray(_by_centroid(self.similarity, q, kept.learned["centroids"]))
        return near, self._probed(near, starts, k, mask), starts

    def subset(self, kept: Kept, places: Int[np.ndarray, " c"]) -> tuple[Index, Kept]:
        inverse = np.argsort(np.asarray(kept.rows["place"]))
        return self.index.subset(Kept(kept.learned["index"], kept.rows["index"], kept.count), inverse[places])

    def _probed(self, near: np.ndarray, starts: np.ndarray, k: int, mask: np.ndarray | None) -> Int[np.ndarray, " b"]:
        """How many of its nearest lists each query looks into."""
        if mask is None:
            counts = np.diff(starts)[None]
        else:
            sums = np.concatenate([np.zeros((len(mask), 1), np.int64), np.cumsum(mask, axis=1)], axis=1)
            counts = np.diff(sums[:, starts], axis=1)
        seen = np.cumsum(np.take_along_axis(np.broadcast_to(counts, near.shape), near, 1), axis=1)
        enough = np.minimum(k, seen[:, -1:])
        return np.maximum((seen < enough).sum(1) + 1, min(self.probes, near.shape[1]))


@jax.jit
def _nearest(x: Any, centroids: Any) -> Array:
    return nearest_centroid(x, centroids)[0]


@functools.partial(jax.jit, static_argnums=0)
def _by_centroid(similarity: str, q: Any, centroids: Any) -> Int[Array, "b l"]:
    """The lists of each query, the nearest centroid first."""
    if similarity == "dot":
        return jnp.argsort(-(q @ centroids.T), axis=1)
    mean = centroids.mean(0, keepdims=True)
    q, centroids = q - mean, centroids - mean
    return jnp.argsort(0.5 * (centroids * centroids).sum(1)[None] - q @ centroids.T, axis=1)


def planned(near: Int[np.ndarray, "b l"], probed: Int[np.ndarray, " b"], starts: Int[np.ndarray, " l+1"], piece: int) -> Plan:
    """Tasks for the queries that look into each list, a list cut into pieces and its queries into groups; sizes are powers of two,
    so that few are compiled."""
    query, rank = np.nonzero(np.arange(near.shape[1])[None] < probed[:, None])
    lists = near[query, rank]
    order = np.argsort(lists, kind="stable")
    query, lists = query[order], lists[order]
    first = np.searchsorted(lists, lists)
    column = np.arange(len(lists)) - first  # of a query among those of its list
    group = min(TOGETHER, power_of_two(int(column.max()) + 1))
    pieces, groups = -(-np.diff(starts) // piece), -(-np.bincount(lists, minlength=len(starts) - 1) // group)
    tasks = pieces * groups  # of each list: all groups of its first piece, then of its second one
    base = np.concatenate([[0], np.cumsum(tasks)])
    total = power_of_two(int(base[-1]))
    of = np.repeat(np.arange(len(tasks)), tasks)
    inside = np.arange(base[-1]) - base[of]
    start, length = np.zeros(total, np.int32), np.zeros(total, np.int32)
    start[: base[-1]] = starts[of] + inside // groups[of] * piece
    length[: base[-1]] = np.minimum(piece, starts[of + 1] - start[: base[-1]])
    queries = np.full((total, group), -1, np.int32)
    # Each (query, list) is an entry of as many tasks as the list has pieces.
    each = np.repeat(np.arange(len(lists)), pieces[lists])
    which = np.arange(len(each)) - np.repeat(np.cumsum(pieces[lists]) - pieces[lists], pieces[lists])
    task = base[lists[each]] + which * groups[lists[each]] + column[each] // group
    queries[task, column[each] % group] = query[each]
    by = np.argsort(query[each], kind="stable")
    mine, flat = query[each][by], (task * group + column[each] % group)[by]
    slot = np.arange(len(mine)) - np.searchsorted(mine, mine)
    places = np.full((len(near), power_of_two(int(slot.max(initial=0)) + 1)), -1, np.int32)
    places[mine, slot] = flat
    return Plan(start, length, queries, places)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _look(index: Index, k: int, piece: int, learned: Tree, rows: Tree, place: Any, q: Any, mask: Any, plan: Plan) -> Any:
    """The k best of the tasks of each query."""
    m, few = len(place), min(k, piece, len(place))
    piece = min(piece, m)

    def look(_: None, task: Any) -> tuple[None, Any]:
        start, length, queries = task
        begin = jnp.minimum(start, m - piece)  # the last piece may end beyond the rows
        cut = lambda a, axis: jax.lax.dynamic_slice_in_dim(a, begin, piece, axis)  # noqa: E731
        row = begin + jnp.arange(piece, dtype=begin.dtype)
        inside = ((row >= start) & (row < start + length))[None]
        if mask is not None:
            some = jax.lax.dynamic_slice_in_dim(mask, begin, piece, 1)
            inside = inside & (some if len(mask) == 1 else some[queries])
        near, column = index.nearest(learned, jax.tree.map(cut, rows, index.axes(rows)), q[queries], inside, few)
        return None, (near, cut(place, 0)[column])

    _, (scores, places) = jax.lax.scan(look, None, plan[:3])
    entries = plan.places
    mine = jnp.where((entries < 0)[..., None], -jnp.inf, scores.reshape(-1, few)[entries]).reshape(len(entries), -1)
    theirs = places.reshape(-1, few)[entries].reshape(len(entries), -1)
    mine, theirs = (
        jnp.pad(a, ((0, 0), (0, max(k - a.shape[1], 0))), constant_values=c) for a, c in ((mine, -jnp.inf), (theirs, 0))
    )
    near, places = jax.lax.sort((-mine, theirs), num_keys=2)
    return -near[:, :k], places[:, :k]
