"""Arrays for tests, made by NumPy: JAX compiles a draw anew for every shape."""

import jax
import jax.numpy as jnp
import numpy as np


def full(value: float, *shape: int) -> jax.Array:
    """One number everywhere, in float32."""
    return jnp.asarray(np.full(shape, value, np.float32))


def normal(seed: int, *shape: int) -> jax.Array:
    """Standard normal numbers in float32."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def uniform(seed: int, *shape: int) -> jax.Array:
    """Numbers in [0, 1) in float32."""
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape).astype(np.float32))


def token_ids(seed: int, vocabulary: int, *shape: int) -> jax.Array:
    """Ids below `vocabulary` in int32."""
    return jnp.asarray(np.random.default_rng(seed).integers(0, vocabulary, shape).astype(np.int32))
