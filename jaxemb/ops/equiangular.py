"""Unit vectors that are nearly orthogonal to each other: how to make them, and how close to the possible they are."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.ops.similarity import unit

FACTORS = (1.3, 1.5, 1.7, 2.0, 2.5)
"""Of the Welch bound, tried in this order where no goal is given."""


class NotReached(ConfigError):
    """The vectors are still too close to each other."""


def coherence(basis: Float[Array, "n d"]) -> Float[Array, ""]:
    """The largest |cosine| between two different rows of length 1."""
    return _off_diagonal(basis).max()


def welch_bound(count: int, width: int) -> float:
    """No `count` unit vectors in `width` dimensions have a smaller coherence: sqrt((N - d) / (d (N - 1))), 0 for N <= d."""
    return ((count - width) / (width * (count - 1))) ** 0.5 if count > width else 0.0


def hinge(basis: Float[Array, "n d"], alpha: float, *, squared: bool = False) -> Float[Array, ""]:
    """sum over ordered pairs of max(|b_i . b_j| - alpha, 0): each pair counts twice. Squared, it pulls less near the goal."""
    over = jax.nn.relu(_off_diagonal(basis) - alpha)
    return (over**2).sum() if squared else over.sum()


def _off_diagonal(basis: Float[Array, "n d"]) -> Float[Array, "n n"]:
    return jnp.abs(basis @ basis.T) - jnp.eye(len(basis), dtype=basis.dtype)


def generate(
    count: int,
    width: int,
    alpha: float | None = None,
    *,
    lr: float | None = None,
    steps: int = 20_000,
    seed: int = 42,
    squared: bool | None = None,
    start: Float[Array, "n d"] | None = None,
) -> Float[Array, "n d"]:
    """`count` unit vectors of which no two have a |cosine| above alpha + 1e-4, by gradient descent on `hinge`.

    With count <= width any orthonormal set will do, and one is returned (QR). `alpha` None: the smallest of FACTORS times the Welch
    bound (or .01 if that is less) that is reached; how near one gets depends on count and width. The plain hinge is the
    reference's, at its rate 1e-3; larger rates diverge. Near the Welch bound (below 1.35 times it) the squared one reaches what the
    plain one does not: `squared` None chooses so, with rate .1.
    """
    if count < 2 or width < 1:
        raise ConfigError(f"equiangular vectors need count >= 2 and width >= 1, not {count} and {width}")
    bound = welch_bound(count, width)
    if alpha is None:
        for factor in FACTORS[:-1]:
            with contextlib.suppress(NotReached):
                return generate(
                    count, width, max(factor * bound, 0.01), lr=lr, steps=5_000, seed=seed, squared=squared, start=start
                )
        alpha = max(FACTORS[-1] * bound, 0.01)
    if not bound <= alpha < 1:
        raise ConfigError(
            f"alpha={alpha} must lie in [{bound:.4g}, 1): {count} vectors in {width} dimensions cannot be less coherent"
        )
    drawn = jnp.asarray(np.random.default_rng(seed).standard_normal((count, width)), jnp.result_type(float))
    if count <= width and start is None:
        return jnp.linalg.qr(drawn.T)[0].T
    squared = alpha < 1.35 * bound if squared is None else squared
    lr = (0.1 if squared else 1e-3) if lr is None else lr
    basis = unit(drawn if start is None else start)
    step = jax.jit(lambda b: (coherence(unit(b)), unit(b), unit(b) - lr * jax.grad(hinge)(unit(b), alpha, squared=squared)))
    for _ in range(steps):
        reached, now, basis = step(basis)
        if float(reached) <= alpha + 1e-4:
            return now
    raise NotReached(
        f"{count} vectors in {width} dimensions did not come below alpha={alpha} in {steps} steps: they are at {reached}"
    )
