"""SIGReg: how far embeddings are from an isotropic Gaussian, as a loss (Balestriero & LeCun 2025, arXiv 2511.08544)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.ops.dtypes import wide
from jaxemb.ops.similarity import unit


def sigreg(
    z: Float[Array, "n d"],
    directions: Float[Array, "d s"],
    *,
    weight: Float[Array, " n"] | None = None,
    t_max: float = 3.0,
    points: int = 17,
) -> Float[Array, ""]:
    """The mean over slices of `epps_pulley(z a)`, a the columns of `directions`, which have unit length.

    1.052 in expectation for samples of N(0, I), whatever n; .402 n where all embeddings are zero: a collapse costs the more the
    larger the batch. Across devices n counts the rows of the global batch.
    """
    z = z.astype(wide(z))
    return epps_pulley(z @ directions.astype(z.dtype), weight=weight, t_max=t_max, points=points).mean()


def epps_pulley(
    x: Float[Array, "n s"], *, weight: Float[Array, " n"] | None = None, t_max: float = 3.0, points: int = 17
) -> Float[Array, " s"]:
    """The Epps-Pulley statistic of normality N(0, 1), a number for each column.

        EP = n sum_j w_j [(c_j - phi_j)^2 + s_j^2],   t_j = j t_max / (points - 1),   phi_j = exp(-t_j^2 / 2)
        c_j = mean_i cos(t_j x_i),   s_j = mean_i sin(t_j x_i),   w_j = 2 dt phi_j, half of that at both ends

    `weight` (0 or 1 a row) leaves rows out: means and n are over the others.
    """
    check_points(t_max, points)
    x = x.astype(wide(x))  # in bfloat16 the cosines of t x lose the test
    t = np.linspace(0.0, t_max, points)
    phi = np.exp(-(t**2) / 2)
    w = 2 * (t[1] - t[0]) * phi * np.where((t == t[0]) | (t == t[-1]), 0.5, 1.0)
    each = jnp.ones(x.shape[:1], x.dtype) if weight is None else weight.astype(x.dtype)
    n = each.sum()
    share = each / jnp.maximum(n, 1)

    @jax.checkpoint  # the gradient recomputes the cosines: n x s numbers in memory, not points times as many
    def moments(t: Array) -> tuple[Array, Array]:
        return share @ jnp.cos(t * x), share @ jnp.sin(t * x)

    c, s = jax.lax.map(moments, jnp.asarray(t, x.dtype))
    distance = jnp.square(c - jnp.asarray(phi, x.dtype)[:, None]) + jnp.square(s)
    return n * (jnp.asarray(w, x.dtype) @ distance)


def random_directions(key: Array, width: int, slices: int, dtype: str = "float32") -> Float[Array, "d s"]:
    """Unit columns, uniform on the sphere; to be drawn anew at each step, the same on all devices."""
    return unit(jax.random.normal(key, (width, slices), jnp.dtype(dtype)), axis=0)


def check_points(t_max: float, points: int) -> None:
    if t_max <= 0:
        raise ConfigError(f"t_max must be above 0, is {t_max}")
    if points < 2:
        raise ConfigError(f"points must be at least 2, is {points}")
