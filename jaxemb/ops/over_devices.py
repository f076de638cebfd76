"""Attention kernels on a mesh of several devices."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
from jax import Array
from jax.sharding import PartitionSpec as P

from jaxemb.ops.allow import Allow

ROWS, HEADS = ("data", "fsdp"), "model"
"""The axes of a mesh that cut the rows of a batch, and the heads."""


def one_device() -> bool:
    """Whether there is no mesh here, or one of a single device."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.empty or mesh.size == 1


def over_devices(kernel: Callable[..., Array], q: Array, k: Array, v: Array, bias: Array | None, allow: Allow) -> Array:
    """kernel(q, k, v, bias, allow), which XLA cannot cut, run by each device on its own rows and heads.

    The mesh is the one that the step or the encoding set inside its jitted function (`jax.sharding.use_abstract_mesh`). Rows or
    heads that do not divide are the same on all devices of their axis.
    """
    if one_device():
        return kernel(q, k, v, bias, allow)
    mesh = jax.sharding.get_abstract_mesh()
    names = tuple(a for a in ROWS if a in mesh.shape)
    rows = names if names and q.shape[0] % math.prod(mesh.shape[a] for a in names) == 0 else None
    heads = HEADS if HEADS in mesh.shape and q.shape[2] % mesh.shape[HEADS] == 0 else None
    whole = P(rows, None, heads, None)
    of_bias = None if bias is None else P(rows if bias.shape[0] > 1 else None, heads if bias.shape[1] > 1 else None)
    of_allow = jax.tree.map(lambda x: P(rows if x.shape[0] > 1 else None), allow)
    specs = (whole, whole, whole, of_bias, of_allow)
    return jax.shard_map(kernel, in_specs=specs, out_specs=whole, check_vma=False)(q, k, v, bias, allow)
