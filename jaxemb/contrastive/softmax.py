"""What softmax losses share: who is whose, and the denominator as a sum over blocks that are never put side by side."""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.contrastive.base import matched
from jaxemb.ops.maxsim import padded_maxsim
from jaxemb.ops.rows import by_rows, everywhere
from jaxemb.ops.similarity import unit

SIMILARITIES = ("cosine", "dot")


def alike(similarity: str, *rows: Float[Array, "... d"]) -> tuple[Array, ...]:
    """The rows, of which products are the similarity."""
    return tuple(map(unit, rows)) if similarity == "cosine" else rows


def products(rows: Float[Array, "b *t d"], others: Float[Array, "k *n d"]) -> Float[Array, "b k"]:
    """rows @ others.T, whose rows stay on the devices of theirs, also in the gradient: all have the others, none has the matrix.
    Of rows with a vector a token, MaxSim.

    Left alone, XLA gathers the matrix where features of the rows were cut, as by parameters over the axis fsdp.
    """
    rows, others = by_rows(rows), everywhere(others)
    return by_rows(rows @ others.T if rows.ndim == 2 else padded_maxsim(rows, others))


def places_of(positives: Int[Array, " b"] | None, b: int) -> Int[Array, " b"]:
    """The place of each query's positive."""
    return jnp.arange(b) if positives is None else positives


def hot(places: Int[Array, " b"], m: int) -> Bool[Array, "b m"]:
    """True at the place of each row; nowhere where that is below 0."""
    return by_rows(places[:, None] == jnp.arange(m, dtype=places.dtype)[None])


def own_negatives(own: Int[Array, "b k"], m: int) -> Bool[Array, "b m"]:
    """True where candidate j is one of query i's own hard negatives."""
    return functools.reduce(operator.or_, (hot(own[:, j], m) for j in range(own.shape[1])), jnp.zeros((len(own), m), bool))


def other_pairs(positives: Int[Array, " b"] | None, weights: Float[Array, " b"], keep: Bool[Array, "b m"]) -> Bool[Array, "b b"]:
    """Whether query j, with its positive, is a negative for pair i: another pair that counts, not of the same positive."""
    places = places_of(positives, len(keep))
    return by_rows(matched(keep, positives, len(keep), axis=1) & (places[:, None] != places[None]) & (weights != 0)[None])


def picked(x: Float[Array, "b m"], there: Bool[Array, "b m"]) -> Float[Array, " b"]:
    """The one number of each row that is there; a sum and no look-up, for which rows would move between devices."""
    return jnp.where(there, x, jnp.zeros_like(x)).sum(1)


def log_sum(*blocks: tuple[Float[Array, "b _"], Bool[Array, "b _"]]) -> Float[Array, " b"]:
    """log sum exp of what is allowed in all blocks (logits, allowed) of a row, of which there must be something.

    A logit that is not allowed is -inf before its exponential is taken: neither its value nor its gradient is seen.
    """
    masked = [jnp.where(allowed, logits, -jnp.inf) for logits, allowed in blocks]
    most = functools.reduce(jnp.maximum, (x.max(1) for x in masked))
    most = jax.lax.stop_gradient(jnp.where(jnp.isfinite(most), most, jnp.zeros_like(most)))
    total = functools.reduce(operator.add, (jnp.exp(x - most[:, None]).sum(1) for x in masked))
    return most + jnp.log(total)


def nearest(positive: Float[Array, " b"], *blocks: tuple[Float[Array, "b _"], Bool[Array, "b _"]]) -> Float[Array, " b"]:
    """1 where the positive's logit is above all allowed ones of the blocks, which must leave it out; a tie is none."""
    most = functools.reduce(jnp.maximum, (jnp.where(allowed, x, -jnp.inf).max(1) for x, allowed in blocks))
    return (positive > most).astype(positive.dtype)
