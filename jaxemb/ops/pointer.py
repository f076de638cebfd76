"""Two pointers into a sequence: where the error is, and where what repairs it stands (Vasic et al. 2019; Kanade et al. 2020)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.ops.dtypes import wide

MASKINGS = ("exclude", "multiply")


def pointer_log_probs(
    logits: Float[Array, "b n 2"], candidates: Bool[Array, "b n"], masking: str = "exclude"
) -> Float[Array, "b 2 n"]:
    """log softmax over the positions, for each pointer. "exclude": over candidates alone, others have -inf; "multiply": the logits
    are multiplied by 0 or 1 first, as published code does, by which others keep exp(0) of the mass."""
    x = logits.astype(wide(logits)).swapaxes(1, 2)
    if masking == "multiply":
        return jax.nn.log_softmax(x * candidates[:, None].astype(x.dtype))
    return jax.nn.log_softmax(jnp.where(candidates[:, None], x, -jnp.inf))


def location_loss(log_probs: Float[Array, "b 2 n"], error: Int[Array, " b"]) -> Float[Array, " b"]:
    """-log P(location) at the error's position, which is 0 where there is none."""
    return -jnp.take_along_axis(log_probs[:, 0], error[:, None], axis=1)[:, 0]


def repair_loss(log_probs: Float[Array, "b 2 n"], repairs: Bool[Array, "b n"], *, each: bool = True) -> Float[Array, " b"]:
    """0 where there is nothing to repair. `each`: sum of -log P over all m right positions, at least m ln m, as published; else
    -log of the mass that they have together, at least 0."""
    own = log_probs[:, 1]
    if each:
        return -jnp.where(repairs, own, 0).sum(1)
    some = repairs.any(1)
    # A row without repairs would give -inf, and its gradient NaN though it is not taken: it sums over everything instead.
    return jnp.where(some, -jax.nn.logsumexp(jnp.where(repairs | ~some[:, None], own, -jnp.inf), axis=1), 0)
