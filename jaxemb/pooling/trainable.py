"""Trained queries that read the tokens of the last layer, or summaries of all layers."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices, within
from jaxemb.layers.cross import CrossBlock
from jaxemb.ops.allow import Allow
from jaxemb.ops.dtypes import wide
from jaxemb.ops.similarity import unit
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.token import last
from jaxemb.types import Features, Paper

PAPER = Paper("Pooling And Attention: What Are Effective Designs For LLM-Based Embedding Models?", 2024, "arxiv.org/abs/2409.02727")


class Resampler(nn.Module):
    """Abstract: mean over r trained latents Z of what they read in a memory S (the resampler of Perceiver).

        Y = softmax(LN(Z) W_q (LN(S) W_k)^T / sqrt(e)) (LN(S) W_v) W_o + Z,   z = mean_r of GeGLU(LN(Y)) + Y, of length 1

    Parameters: latents (r, d), block (`CrossBlock`). The repository has 768 latents, 32 heads and head_width=2048.
    """

    latents: int = 768
    """r."""
    block: CrossBlock = field(default_factory=CrossBlock)
    normalize: bool = True
    """Of length 1, as published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, latents=(1, 2**20))

    def read(self, memory: Float[Array, "b m d"], allow: Allow = Allow()) -> Float[Array, "b d"]:
        """To be called inside `nn.compact`."""
        z = self.param("latents", nn.initializers.normal(1.0), (self.latents, memory.shape[-1]), jnp.float32)
        y = self.block(z[None].astype(memory.dtype), memory, allow)
        y = y.astype(wide(y)).mean(1)
        return (unit(y) if self.normalize else y).astype(memory.dtype)


class TrainablePooling(Resampler, Pooling):
    """Trained queries read the tokens of the last layer, or its last token alone: "last-layer trainable pooling".

    Parameters and formula: `Resampler`. With a single token to read, the block is an MLP of it.
    """

    paper: ClassVar[Paper | None] = PAPER

    reads: str = "tokens"
    """"tokens": all that count; "last": the last of them, as published for causal encoders."""
    masked: bool = True
    """False reads tokens that do not count as well, padding too, as the repository does: a vector then depends on its batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, reads=("tokens", "last"))

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b d"]:
        if self.reads == "last":
            return self.read(last(f.tokens, f.mask)[:, None])
        if not self.masked:
            return self.read(f.tokens)
        return self.read(jnp.where(f.mask[:, :, None], f.tokens, 0), Allow(f.mask))


class MultiLayer(Resampler, Pooling):
    """Trained queries read one summary a layer, of all layers: "multi-layer trainable pooling".

        S_l = summary of layer l + p_l, l = 1 ... L, the output of the embedding left out; the last is the encoder's own output

    Parameters: those of `Resampler`, layers (L, d), the p_l. Their draw at a spread of 1 is the repository's.
    """

    paper: ClassVar[Paper | None] = PAPER

    reads: str = "mean"
    """"mean": of the tokens that count; "last": the last of them, as published for causal encoders."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, reads=("mean", "last"))

    def wants(self, depth: int) -> tuple[int, ...]:
        return tuple(range(depth - 1))

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b d"]:
        if not f.layers:
            raise ConfigError(
                "MultiLayer reads the outputs of all layers, and was given those of the last alone (see Pooling.wants)"
            )
        memory = jnp.stack([self._summary(x, f) for x in (*f.layers, f.tokens)], axis=1)
        self.sow("intermediates", "summary", memory)
        p = self.param("layers", nn.initializers.normal(1.0), memory.shape[1:], jnp.float32)
        return self.read(memory + p[None].astype(memory.dtype))

    def _summary(self, x: Float[Array, "b n d"], f: Features) -> Float[Array, "b d"]:
        return last(x, f.mask) if self.reads == "last" else Mean()(f._replace(tokens=jnp.where(f.mask[:, :, None], x, 0)))
