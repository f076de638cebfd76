"""Losses of a regression, element by element."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def smooth_l1(prediction: Float[Array, "*s"], target: Float[Array, "*s"], beta: float = 1.0) -> Float[Array, "*s"]:
    """e^2 / (2 beta) for |e| < beta, |e| - beta / 2 beyond, with e = prediction - target."""
    e = jnp.abs(prediction - target)
    return jnp.where(e < beta, 0.5 * e * e / beta, e - 0.5 * beta)


def squared(prediction: Float[Array, "*s"], target: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """e^2 with e = prediction - target."""
    return jnp.square(prediction - target)
