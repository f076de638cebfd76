"""A learned factor of similarities, as CLIP and SigLIP have it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError


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


def check_scale(owner: Any, temperature: float, most: float) -> None:
    """Raises ConfigError where a learned factor, from 1 / temperature on, would start above the most that it can be."""
    if not most > 0:
        raise ConfigError(f"{type(owner).__name__}: most_scale must be above 0, is {most}")
    if 1 / temperature > most * (1 + 1e-6):
        raise ConfigError(
            f"{type(owner).__name__}: temperature={temperature} is a factor of {1 / temperature:g} to start with, and "
            f"most_scale={most:g} is the most that it can be"
        )
