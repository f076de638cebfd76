"""NV-Embed's pooling: tokens read a trained dictionary before their mean is taken."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, within
from jaxemb.layers.cross import CrossBlock
from jaxemb.layers.feedforward import FeedForward
from jaxemb.ops.attention import attention
from jaxemb.ops.dtypes import wide
from jaxemb.ops.similarity import unit
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.types import Features, Paper

PAPER = Paper("NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models", 2025, "arxiv.org/abs/2405.17428")


class LatentAttention(Pooling):
    """The mean of tokens h_t that have read r trained latents Z through a block of cross-attention: NV-Embed, as its code has it.

        a_t = softmax(LN(x_t) W_q (LN(Z) W_k)^T / sqrt(e)) (LN(Z) W_v) W_o + x_t,   h_t = GeGLU(LN(a_t)) + a_t

    Tokens ask and latents answer: the other way round it is `TrainablePooling`. The paper's equation differs
    (`LatentAttentionPaper`). Parameters: latents (r, d), block (`CrossBlock`). The release has 512 latents, 8 heads and
    head_width=4096, the width of its tokens. Tokens that do not count are left out of the mean alone, and need no mask before.
    """

    paper: ClassVar[Paper | None] = PAPER

    latents: int = 512
    """r."""
    block: CrossBlock = field(default_factory=CrossBlock)
    normalize: bool = False
    """Of length 1, as the release encodes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, latents=(1, 2**20))

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b d"]:
        z = self.param("latents", nn.initializers.normal(1.0), (self.latents, f.tokens.shape[-1]), jnp.float32)
        h = self.block(f.tokens, z[None].astype(f.tokens.dtype))
        return _pooled(f._replace(tokens=h), self.normalize)


class LatentAttentionPaper(Pooling):
    """The mean of mlp(o_t), o_t = softmax(x_t Z^T) Z over r trained latents Z: NV-Embed, as its paper has it.

    Without the residual paths, norms and projections of its code (`LatentAttention`). With several heads, each has its share of
    the features. Parameters: latents (r, d), mlp (two layers; its width is a choice).
    """

    paper: ClassVar[Paper | None] = PAPER

    latents: int = 512
    """r."""
    heads: int = 8
    mlp: FeedForward = field(default_factory=lambda: FeedForward(kernel_init="lecun"))
    normalize: bool = False
    """Of length 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, latents=(1, 2**20), heads=(1, 4096))

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b d"]:
        b, n, d = f.tokens.shape
        if d % self.heads:
            raise ConfigError(f"LatentAttentionPaper.heads={self.heads} does not divide the width {d}")
        z = self.param("latents", nn.initializers.normal(1.0), (self.latents, d), jnp.float32).astype(f.tokens.dtype)
        keys = jnp.broadcast_to(z.reshape(1, self.latents, self.heads, -1), (b, self.latents, self.heads, d // self.heads))
        o = attention(f.tokens.reshape(b, n, self.heads, -1), keys, keys, scale=1.0).reshape(b, n, d)
        self.sow("intermediates", "attended", o)
        return _pooled(f._replace(tokens=self.mlp(o)), self.normalize)


def _pooled(f: Features, normalize: bool) -> Float[Array, "b d"]:
    z = Mean()(f._replace(tokens=jnp.where(f.mask[:, :, None], f.tokens, 0)))
    return unit(z.astype(wide(z))).astype(z.dtype) if normalize else z
