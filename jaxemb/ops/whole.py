"""A gradient that XLA on CPU computes once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_vjp
def whole_gradient(x: Array) -> Array:
    """x itself; its gradient is finished before anything uses it.

    XLA:CPU computes a sum anew for each of its users. The gradient of a residual path has three users a branch, one of them the
    next sum: of l layers the last would add up 4 l arrays, twice, and all of them are held until then. A step of ViT-Ti takes 10 %
    less CPU time with this.
    """
    return x


def _forward(x: Array) -> tuple[Array, None]:
    return x, None


def _backward(_: None, gradient: Array) -> tuple[Array]:
    mesh = jax.sharding.get_abstract_mesh()
    if not (mesh.empty or mesh.size == 1):  # the branch below would ask one device for the decision
        return (gradient,)
    return (jax.lax.platform_dependent(gradient, cpu=_finished, default=lambda g: g),)


def _finished(gradient: Array) -> Array:
    # No fusion reaches across a branch; `optimization_barrier` is gone before XLA:CPU fuses. (NaN may change its sign.)
    return jax.lax.cond(jnp.isnan(gradient.ravel()[0]), jnp.negative, lambda g: g, gradient)


whole_gradient.defvjp(_forward, _backward)
