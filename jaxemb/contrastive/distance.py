"""How far apart rows are, with a finite gradient where they are equal."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.contrastive.softmax import products
from jaxemb.ops.rows import by_rows, everywhere
from jaxemb.ops.similarity import unit

DISTANCES = ("cosine", "euclidean", "manhattan")


def root(x: Float[Array, ...]) -> Float[Array, ...]:
    """The square root; at 0 its gradient is 0 and not infinite."""
    there = x > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, x, jnp.ones_like(x))), jnp.zeros_like(x))


def distance(kind: str, a: Float[Array, "*n d"], b: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Of each row of a and the same one of b: 1 - cos, |a - b| or sum |a - b|."""
    if kind == "cosine":
        return 1 - (unit(a) * unit(b)).sum(-1)
    apart = a - b
    return root(jnp.square(apart).sum(-1)) if kind == "euclidean" else jnp.abs(apart).sum(-1)


def distances(kind: str, a: Float[Array, "b d"], c: Float[Array, "m d"]) -> Float[Array, "b m"]:
    """Of each row of a with each row of c. From the differences: those of equal rows are 0, which squares of lengths lose."""
    if kind == "cosine":
        return 1 - products(unit(a), unit(c))
    return by_rows(distance(kind, *jnp.broadcast_arrays(by_rows(a)[:, None], everywhere(c)[None])))
