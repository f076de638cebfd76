"""Layers of an encoder fused for a decoder: the embedding layer straight into the softmax, or all layers with learned weights."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jaxtyping import Float

from jaxemb.config import ConfigError, choices, within
from jaxemb.layers.dense import Dense, FromHeads, ToHeads
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.types import Paper

MODES = ("hard", "soft", "post_norm")


class SourcePath(nn.Module):
    """r = Attn(query = stop(q), key = stop(x_N), value = x_0), with biases. Parameters: q, k, v (d, h, e), out (h, e, d)."""

    heads: int = 1
    kernel_init: str = "lecun"

    @nn.compact
    def __call__(
        self, query: Float[Array, "b t d"], top: Float[Array, "b n d"], surface: Float[Array, "b n d"], allow: Allow = Allow()
    ) -> Float[Array, "b t d"]:
        d = query.shape[-1]
        if d % self.heads:
            raise ConfigError(f"SourcePath.heads={self.heads} does not divide the width {d}")
        q, k, v = (
            ToHeads(self.heads, kernel_init=self.kernel_init, name=name)(x)
            for name, x in (("q", lax.stop_gradient(query)), ("k", lax.stop_gradient(top)), ("v", surface))
        )
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "weights", weights(q, k, allow))
        return FromHeads(d, kernel_init=self.kernel_init, name="out")(attention(q, k, v, allow=allow))


class SurfaceFusion(nn.Module):
    """log p of a decoder whose source path reads the encoder's embedding layer x_0 (Liu et al. 2021).

    r = Attn(query = stop(q), key = stop(x_N), value = x_0);   z_t = h E^T,  z_s = r E^T,  E the one table of both languages
    hard:       log p = g log_softmax(z_t) + (1 - g) log_softmax(z_s)          not normalised: the sum of p is at most 1
    soft:       log p = log_softmax(z_t + log_softmax(t z_s))
    post_norm:  log p = log_softmax(log_softmax(t z_s) + log_softmax(z_t))     the same as soft, written otherwise

    Gradients reach the encoder by the values alone. A perplexity of "hard" needs logsumexp(log p) subtracted. Parameters:
    source, and gate (2 d, 1) where g is learned.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Understanding and Improving Encoder Layer Fusion in Sequence-to-Sequence Learning", 2021, "arxiv.org/abs/2012.14768"
    )

    mode: str = "hard"
    gate: float | None = 0.8
    """g of "hard"; None: sigmoid of a linear map of [h ; r]."""
    temperature: float = 1.0
    """t, which multiplies: above 1 the source path is sharper."""
    heads: int = 1
    kernel_init: str = "lecun"

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, mode=MODES)
        within(self, heads=(1, 4096), temperature=(1e-6, 1e6))
        if self.gate is not None:
            within(self, gate=(0.0, 1.0))

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "b t d"],
        top: Float[Array, "b n d"],
        surface: Float[Array, "b n d"],
        table: Float[Array, "v d"],
        allow: Allow = Allow(),
        query: Float[Array, "b t d"] | None = None,
    ) -> Float[Array, "b t v"]:
        """`h`: the decoder's features, `query` its state after the last layer where that is another; `top`, `surface`: the last and
        the embedding layer of the encoder, whose padding `allow.valid` marks; `table`: E."""
        r = SourcePath(self.heads, self.kernel_init, name="source")(h if query is None else query, top, surface, allow)
        if self.mode != "hard":
            return fused(h @ table.T, r @ table.T, self.mode, temperature=self.temperature)
        gate = self.gate
        if gate is None:
            gate = nn.sigmoid(Dense(1, kernel_init=self.kernel_init, name="gate")(jnp.concatenate([h, r], axis=-1)))
        return fused(h @ table.T, r @ table.T, "hard", gate=gate)


def weights(q: Float[Array, "b n h e"], k: Float[Array, "b m h e"], allow: Allow) -> Float[Array, "b h n m"]:
    """What values are multiplied by, to look at."""
    logits = jnp.einsum("bnhe,bmhe->bhnm", q, k) * q.shape[-1] ** -0.5
    allowed = allow.mask(q.shape[1], k.shape[1])
    return jax.nn.softmax(logits if allowed is None else jnp.where(allowed, logits, -jnp.inf), axis=-1)


def fused(
    target: Float[Array, "b t v"], source: Float[Array, "b t v"], mode: str, *, gate: Array | float = 0.8, temperature: float = 1.0
) -> Float[Array, "b t v"]:
    """log p of logits over the same vocabulary."""
    if mode == "hard":
        return gate * nn.log_softmax(target) + (1 - gate) * nn.log_softmax(source)
    sharp = nn.log_softmax(temperature * source)
    return nn.log_softmax(sharp + (target if mode == "soft" else nn.log_softmax(target)))


class LayerAttention(nn.Module):
    """y_m = sum_n softmax(w_m)_n x_n: what each of m decoder layers draws from the embedding layer and all layers of an encoder.

    Parameter: weights (m, l), zeros at first, the plain mean. With `rate` each entry of the softmax is dropped in training and the
    rest rescaled.
    """

    decoder_layers: int = 6
    rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, decoder_layers=(1, 4096))
        if not 0 <= self.rate < 1:
            raise ConfigError(f"LayerAttention.rate must be in [0, 1), is {self.rate}")

    @nn.compact
    def __call__(self, layers: Float[Array, "l b n d"], train: bool = False) -> Float[Array, "m b n d"]:
        """`layers`: x_0, the embedding layer, to x_N."""
        w = self.param("weights", nn.initializers.zeros, (self.decoder_layers, len(layers)), jnp.float32).astype(layers.dtype)
        shares = nn.softmax(w)
        if self.rate and train:
            shares = nn.Dropout(self.rate, deterministic=False)(shares)
        return jnp.einsum("ml,lbnd->mbnd", shares, layers)
