"""A batch in pieces, one after the other in memory, that every device goes on sharing."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxemb.ops.over_devices import ROWS


def cut(x: Array, parts: int) -> Array:
    """Pieces along a new leading axis. Each takes its share from all over the batch, so that each device keeps working on its own
    rows: pieces of neighbouring rows would be gathered on all devices first."""
    return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)


def join(x: Array) -> Array:
    """The rows of `cut` in the order they had."""
    return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])


def shards() -> int:
    """Into how many parts the devices cut the rows of a batch, where a mesh is set."""
    mesh: Any = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[axis] for axis in ROWS if axis in mesh.shape)
