"""Generalised mean: between the mean and the maximum of the tokens, as trained."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.ops.dtypes import wide
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features, Paper


class GeM(Pooling):
    """(mean_i max(x_i, eps)^p)^(1/p) over the tokens: the mean at p = 1, the maximum as p grows. One trained p for all features.

    Parameters: `above` (), log(p - 1): p stays above 1 (a choice, the paper's is free). Negative features count as eps: the paper
    pools what comes out of a ReLU, and of signed features, such as those after a LayerNorm, the negative half is not seen.
    Class and register tokens do not take part. All padding: zeros. (The first p and eps are from memory: unverified.)
    """

    paper: ClassVar[Paper | None] = Paper(
        "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018, "arxiv.org/abs/1711.02512"
    )

    p: float = 3.0
    """The exponent at the start of training."""
    eps: float = 1e-6
    """What a feature counts as at least."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p <= 1 or self.eps <= 0:
            raise ConfigError(f"GeM needs p > 1 and eps > 0, not {self.p} and {self.eps}")

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b d"]:
        above = self.param("above", nn.initializers.constant(math.log(self.p - 1)), (), jnp.float32)
        x = f.tokens.astype(wide(f.tokens))
        p = 1 + jnp.exp(above).astype(x.dtype)
        some = f.mask.any(1)[:, None]
        mask = (f.mask | ~some)[:, :, None]
        # In logarithms, where no power overflows.
        total = jax.nn.logsumexp(p * jnp.log(jnp.maximum(x, self.eps)), axis=1, where=mask)
        z = jnp.exp((total - jnp.log(mask.sum(1).astype(x.dtype))) / p)
        return jnp.where(some, z, 0).astype(f.tokens.dtype)
