"""Activations whose rows lie on the devices that hold the rows of the batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
from jax import Array
from jax.sharding import PartitionSpec as P
from jaxtyping import Float

from jaxemb.ops.over_devices import ROWS

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)
"""Whether what is traced is a single example of `each_row`, whatever number of rows it has (hard negatives, views)."""


def by_rows(x: Array) -> Array:
    """x (b ...), told to be cut like the batch; its other axes are left to XLA.

    Where parameters are cut over the devices that cut the batch too, XLA has a choice: to gather the parameters, or to gather the
    rows and cut features instead, by which each device holds all rows of an activation and sums them with the others. Left alone it
    takes the second for layers under a scan. Nothing is said where no mesh is set, nor of rows that do not divide. Within
    `each_row` the rows of x all belong to one example, and the axis of the examples is named where anything is said.
    """
    names = _shared(x)
    if names or (_ALONE.get() and _mesh().size > 1):
        return jax.lax.with_sharding_constraint(x, P(names or P.UNCONSTRAINED, *(P.UNCONSTRAINED,) * (x.ndim - 1)))
    return x


def everywhere(x: Array) -> Array:
    """x, told to be whole on every device; nothing is said where no mesh is set."""
    return x if _mesh().size <= 1 else jax.lax.with_sharding_constraint(x, P(*(None,) * x.ndim))


def each_row(f: Callable, *xs: Any) -> Any:
    """f of each row alone, (1 ...) of every array; what it gives keeps that axis. The rows stay where they are."""
    names = tuple(axis for axis in ROWS if _mesh().shape.get(axis, 1) > 1) or None

    def alone(*row: Any) -> Any:
        within = _ALONE.set(True)
        try:
            return f(*jax.tree.map(lambda x: x[None], row))
        finally:
            _ALONE.reset(within)

    return jax.vmap(alone, spmd_axis_name=names)(*xs)


def looked_up(x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """Rows of a table that is cut along its features over fsdp: each device has its features of the rows of all devices of this
    axis, and they change places (all-to-all). Said in two steps, without which XLA gathers on a mesh of several axes."""
    names, mesh = _shared(x), _mesh()
    if "fsdp" in names and x.shape[-1] % mesh.shape["fsdp"] == 0:
        rows = tuple(axis for axis in names if axis != "fsdp")
        x = jax.lax.with_sharding_constraint(x, P(rows or None, None, "fsdp"))
    return by_rows(x)


def _shared(x: Array) -> tuple[str, ...]:
    """The axes of more than one device that cut the rows; none where they do not divide, or are those of one example."""
    mesh = _mesh()
    if _ALONE.get():
        return ()
    names = tuple(axis for axis in ROWS if not mesh.empty and mesh.shape.get(axis, 1) > 1)
    return () if x.shape[0] % math.prod(mesh.shape[axis] for axis in names) else names


def _mesh() -> Any:
    return jax.sharding.get_abstract_mesh()
