"""Multi-head attention as a part: what an encoder's blocks, a predictor's and a decoder's have in the field `attention`."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.layers.dense import INITS, FromHeads, ToHeads
from jaxemb.layers.feedforward import dropped
from jaxemb.layers.norms import Norm
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import PosEmb
from jaxemb.posemb.disentangled import Distances
from jaxemb.posemb.none import NoPos


class Attention(nn.Module):
    """y = concat_h(softmax(scale q_h k_h^T + ...) v_h) W: self-attention of tokens that know where they are.

    Parameters: q (d, h, e), k and v (d, g, e), out (h, e, d); q_norm and k_norm with `qk_norm`; a positional embedding with
    parameters for each layer has them under `pos`. Where "intermediates" may change, `weights` (b n h m) is left there.
    """

    heads: int = 4
    kv_heads: int | None = None
    """Heads of keys and values (g), each shared by heads / kv_heads heads of queries (Ainslie et al. 2023); None: as many."""
    head_width: int | None = None
    """Features of a head (e); None: width / heads."""
    bias: bool = True
    """Of the queries, keys and values."""
    key_bias: bool | None = None
    """Of the keys alone; None: as `bias`."""
    out_bias: bool | None = None
    """Of the output; None: as `bias`."""
    qk_norm: Norm | None = None
    """Of queries and keys, a head at a time."""
    window: int | None = None
    """The largest distance that is seen (local attention); class and register tokens see all, and all see them, see `Allow`."""
    scale: float | None = None
    """Of the logits; None: 1 / sqrt(e)."""
    softcap: float | None = None
    """c of c tanh(logits / c), as in Gemma 2."""
    dropout: float = 0.0
    """Of the result."""
    kernel_init: str = "normal"
    pos: PosEmb | None = None
    """This block's own positional embedding; None: the encoder's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, kernel_init=INITS)
        for name in ("heads", "kv_heads", "head_width"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"Attention.{name} must be at least 1, is {value}")
        if self.heads % (self.kv_heads or self.heads):
            raise ConfigError(f"Attention.heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.window is not None and self.window < 0:
            raise ConfigError(f"Attention.window must not be negative, is {self.window}")
        for name in ("scale", "softcap"):
            if (value := getattr(self, name)) is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"Attention.{name} must be finite and above 0, is {value}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"Attention.dropout must be in [0, 1), is {self.dropout}")

    def width_of_head(self, width: int) -> int:
        """e, in a model of this width."""
        if self.head_width is None and width % self.heads:
            raise ConfigError(f"width {width} is not divisible by heads {self.heads}; choose others, or set head_width")
        return self.head_width or width // self.heads

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], shared: Any, allow: Allow, train: bool = False) -> Float[Array, "b n d"]:
        """`shared` is what the positional embedding prepared for all layers (see `PosEmb.prepare`)."""
        h, g, e = self.heads, self.kv_heads or self.heads, self.width_of_head(x.shape[-1])
        together = (h + 2 * g) * e
        to_q, to_k, to_v = (self._heads(name, count, e, together) for name, count in (("q", h), ("k", g), ("v", g)))
        q, k, v = to_q(x), to_k(x), to_v(x)
        shared = self._of_layer(shared, to_q, to_k)
        if self.qk_norm is not None:
            q, k = self.qk_norm.copy(name="q_norm")(q), self.qk_norm.copy(name="k_norm")(k)
        if g < h:
            k, v = jnp.repeat(k, h // g, axis=2), jnp.repeat(v, h // g, axis=2)
        allow = allow.within(self.window)
        posemb = NoPos() if self.pos is None else self.pos
        how: dict[str, Any] = {"scale": self.scale, "softcap": self.softcap}
        y = posemb.attend(q, k, v, shared, allow, **how)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "weights", _weights(posemb, q, k, shared, allow, how))
        out = self.bias if self.out_bias is None else self.out_bias
        return dropped(FromHeads(x.shape[-1], out, self.kernel_init, name="out")(y), self.dropout, train)

    def _of_layer(self, shared: Any, to_q: ToHeads, to_k: ToHeads) -> Any:
        """What this layer makes of what all share, by its projections."""
        return shared

    def _heads(self, name: str, heads: int, width: int, together: int) -> ToHeads:
        # MAE's code and timm's draw q, k and v as one matrix, which "xavier" then takes for wider than each.
        others = together - heads * width
        bias = self.key_bias if name == "k" and self.key_bias is not None else self.bias
        return ToHeads(heads, width, bias, self.kernel_init, drawn_with=others, name=name)


class DisentangledAttention(Attention):
    """Attention that makes keys and queries of distances by the projections that make those of its tokens: for the positional
    embedding `Disentangled`, as in DeBERTa with `share_att_key`. Parameters: as `Attention`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kv_heads", "qk_norm"):
            if getattr(self, name) is not None:
                raise ConfigError(f"DisentangledAttention.{name} must be None, as distances have keys and queries of every head")

    def _of_layer(self, shared: Any, to_q: ToHeads, to_k: ToHeads) -> Any:
        if not isinstance(shared, Distances):
            raise ConfigError("DisentangledAttention is for the positional embedding Disentangled, of the encoder or in `pos`")
        return shared._replace(keys=to_k(shared.table), queries=to_q(shared.table))


def _weights(posemb: PosEmb, q: Array, k: Array, shared: Any, allow: Allow, how: dict[str, Any]) -> Float[Array, "b n h m"]:
    """What `attend` multiplies values by, in every scheme: it is given values that name their keys, e keys at a time."""
    b, m, h, e = k.shape
    names = jnp.pad(jnp.eye(m, dtype=q.dtype), ((0, 0), (0, -m % e))).reshape(m, -1, e)
    pieces = [jnp.broadcast_to(names[None, :, i, None], (b, m, h, e)) for i in range(names.shape[1])]
    return jnp.concatenate([posemb.attend(q, k, v, shared, allow, **how) for v in pieces], axis=-1)[..., :m]
