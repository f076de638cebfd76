"""What losses of scored pairs share: scores in their range, and the pairs made of positives and own hard negatives."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known
from jaxemb.contrastive.softmax import hot, places_of
from jaxemb.ops.rows import by_rows, everywhere


def scores_of(
    owner: ContrastiveLoss, known: Known, weights: Float[Array, " b"], low: float = -float("inf"), high: float = float("inf")
) -> Float[Array, " b"]:
    """The scores of the pairs, low to high. One that counts and lies outside is refused, or NaN where numbers are not known."""
    scores = jnp.asarray(known.scores).astype(weights.dtype)
    outside = ~((scores >= low) & (scores <= high)) & (weights != 0)
    if not isinstance(outside, Tracer) and outside.any():
        wrong = float(scores[outside.argmax()])
        raise ConfigError(
            f"{type(owner).__name__}: known.scores must lie in {low:g} to {high:g}, and one is {wrong:g}; let the data bring them "
            "there (`scores`, the range they have in the file)"
        )
    return jnp.where(outside, jnp.nan, jnp.where(weights != 0, scores, jnp.full_like(scores, max(low, 0.0))))


def own_rows(
    candidates: Float[Array, "m d"], own: Int[Array, "b k"], positives: Int[Array, " b"] | None, keep: Bool[Array, "b m"]
) -> tuple[Float[Array, "b k d"], Bool[Array, "b k"]]:
    """(query i's own hard negatives, whether there is one): of those that `keep` leaves, and that are not the positive."""
    b, m = keep.shape
    others = keep & ~hot(places_of(positives, b), m)
    # Whether one is there is a sum over the row and no look-up in it: rows stay on their devices.
    each = [(hot(own[:, j], m) & others).any(1) for j in range(own.shape[1])]
    there = jnp.stack(each, axis=1) if each else jnp.zeros((b, 0), bool)
    n = jnp.take(candidates, jnp.clip(own, 0, m - 1), axis=0)
    return jnp.where(there[..., None], n, jnp.zeros_like(n)), there


def counted(there: Bool[Array, "b k"], weights: Float[Array, " b"]) -> Float[Array, ""]:
    """How much is there, by the weights of the rows: the denominator of `mean_where`."""
    return (there.astype(weights.dtype) * weights[:, None]).sum()


def mean_where(x: Float[Array, "b k"], there: Bool[Array, "b k"], weights: Float[Array, " b"]) -> Float[Array, ""]:
    """The mean over what is there, by the weights of the rows; 0 where nothing is."""
    w = jnp.where(there, weights[:, None], jnp.zeros_like(x))
    total = w.sum()
    return (jnp.where(there, x, jnp.zeros_like(x)) * w).sum() / jnp.where(total > 0, total, jnp.ones_like(total))


def pair_weights(weights: Float[Array, " b"]) -> Float[Array, "b b"]:
    """How often row i stands beside another row j: w_i w_j, and 0 beside itself."""
    others = 1 - jnp.eye(len(weights), dtype=weights.dtype)
    return by_rows(weights[:, None] * everywhere(weights)[None] * others)


def check_margin(owner: ContrastiveLoss, *names: str) -> None:
    """Raises ConfigError for a margin below 0 or without end."""
    not_negative(owner, *names)
    for name in names:
        if getattr(owner, name) == math.inf:
            raise ConfigError(f"{type(owner).__name__}: {name} must be finite, is {getattr(owner, name)}")
