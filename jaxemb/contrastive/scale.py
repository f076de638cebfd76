"""A learned factor of similarities, as CLIP and SigLIP have it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float


@jax.custom_vjp
def below(x: Float[Array, ""], most: Float[Array, ""]) -> Float[Array, ""]:
    """min(x, most), with a gradient that can lead back: above `most`, what would lift x is 0, and what lowers it is kept."""
    return jnp.minimum(x, most)


def _forward(x: Array, most: Array) -> tuple[Array, Array]:
    return below(x, most), x >= most


def _backward(above: Array, g: Array) -> tuple[Array, Array]:
    return jnp.where(above, jnp.maximum(g, jnp.zeros_like(g)), g), jnp.zeros_like(g)


below.defvjp(_forward, _backward)


def factor(log_scale: Array, most: float, dtype: np.dtype) -> Float[Array, ""]:
    """exp(log_scale), at most `most`."""
    log_scale = jnp.asarray(log_scale, dtype)
    return jnp.exp(below(log_scale, jnp.asarray(np.log(most), dtype)))
