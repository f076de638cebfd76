"""What XLA on CPU is to compute once and keep, though it would rather compute it anew for each user."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_jvp
def whole_gradient(x: Array) -> Array:
    """x itself; its gradient is finished before anything uses it.

    XLA:CPU computes a sum anew for each of its users. The gradient of a residual path has three users a branch, one of them the
    next sum: of l layers the last would add up 4 l arrays, twice, and all of them are held until then. A step of ViT-Ti takes 10 %
    less CPU time with this.
    """
    return x


@whole_gradient.defjvp
def _whole_gradient_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return primals[0], whole(tangents[0])  # a rule for both modes: it is linear in the tangent, under `vmap` too


def whole(y: Array) -> Array:
    """y, finished before anything uses it."""
    return on_cpu(_finished, y)


def _finished(y: Array) -> Array:
    # No fusion reaches across a branch; `optimization_barrier` alone is gone before XLA:CPU fuses, but only after it simplifies
    # decisions: this one stays. The branches give the same, which XLA must not see: of equal ones it would keep one.
    feigned = jax.lax.optimization_barrier(jnp.array(False))
    return jax.lax.cond(feigned, lambda y: jnp.negative(-y), lambda y: y, y)


def on_cpu(f: Callable[[Array], Array], y: Array) -> Array:
    """f(y), which equals y, on a single CPU device; elsewhere y."""
    mesh = jax.sharding.get_abstract_mesh()
    if not (mesh.empty or mesh.size == 1):  # a decision would be asked of one device
        return y
    return jax.lax.platform_dependent(y, cpu=f, default=lambda y: y)
