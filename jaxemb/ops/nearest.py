"""The k best of each row of scores, and of rows that lie on several devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int

GROUP = 64
"""Columns of which the best alone is looked at first."""

Best = tuple[Float[Array, "b k"], Int[Array, "b k"]]
"""Scores, falling, and their columns; of equals the first column first."""
Candidates = tuple[Float[Array, "b m"], Int[Array, "b m"]]
"""Scores and columns of more than k."""


def top_k(scores: Float[Array, "b m"], k: int) -> Best:
    """The k largest of each row, as `jax.lax.top_k`, which sorts a whole row; k is at most m.

    The k best lie in the k groups of columns whose own best are largest. So most columns are read once, for a maximum; of equal
    groups the first come first, and with them the first of equal columns.
    """
    b, m = scores.shape
    groups = m // GROUP
    if groups < 2 * k:
        best, columns = jax.lax.top_k(scores, k)
        return best, columns
    # A window: a slice of whole groups, reshaped, would be a copy of all scores.
    least = jnp.asarray(-jnp.inf, scores.dtype)
    _, near = jax.lax.top_k(jax.lax.reduce_window(scores, least, jax.lax.max, (1, GROUP), (1, GROUP), "VALID"), k)
    near = jnp.sort(near, axis=1)
    columns = (near[:, :, None] * GROUP + jnp.arange(GROUP, dtype=near.dtype)[None, None]).reshape(b, k * GROUP)
    rest = jnp.broadcast_to(jnp.arange(groups * GROUP, m, dtype=near.dtype)[None], (b, m - groups * GROUP))
    columns = jnp.concatenate([columns, rest], axis=1)
    best, place = jax.lax.top_k(jnp.take_along_axis(scores, columns, axis=1), k)
    return best, jnp.take_along_axis(columns, place, axis=1)


def merged(best: Candidates, k: int) -> Best:
    """The k best of columns that were chosen before; of equals those that stand first."""
    scores, place = jax.lax.top_k(best[0], k)
    return scores, jnp.take_along_axis(best[1], place, axis=1)


def over_shards(
    local: Callable[..., tuple[Array, ...]],
    merge: Callable[..., Best],
    mesh: Mesh,
    axes: Any,
    whole: Any,
    rows: Any,
    q: Any,
    mask: Array,
) -> Best:
    """`local(whole, rows, q, mask)` of the rows that each device of a mesh has, arrays of which the last are columns, and the best
    of those of all devices: `merge` of the same arrays, side by side.

    `rows` are cut along `axes`, one for each array, over all axes of the mesh, mask (b m) along its columns; all else is whole.
    """
    names = mesh.axis_names

    def each(whole: Any, rows: Any, q: Any, mask: Array) -> Best:
        *scores, columns = local(whole, rows, q, mask)
        columns = columns + jax.lax.axis_index(names).astype(columns.dtype) * mask.shape[1]
        return merge(*(jax.lax.all_gather(x, names, axis=1, tiled=True) for x in (*scores, columns)))

    cut = jax.tree.map(lambda axis: P(*(None,) * axis, names), axes)
    specs = (P(), cut, P(), P(None, names))
    return jax.shard_map(each, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)(whole, rows, q, mask)
