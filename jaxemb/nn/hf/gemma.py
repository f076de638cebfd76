"""Gemma 2 (2024), Gemma 3 (2025) and EmbeddingGemma (2025).

Sandwich norms whose factor is 1 + w, token rows times sqrt(width), logits scaled by `query_pre_attn_scalar`, local and global
layers: Gemma 2 alternates and caps its logits, Gemma 3 has norms of queries and keys and a base of its own for the local layers,
and EmbeddingGemma sees ahead, also in them.
"""

from __future__ import annotations

import math

from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import RMSNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Port, Source, Take, norm, period
from jaxemb.nn.hf.llama import decoder, layer, local_by_type, qk_norms
from jaxemb.nn.hf.rope import rotary
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer

MODEL_TYPES = ("gemma2", "gemma3_text")
DECODERS = True


def build(config: Config, causal: bool | None = None) -> Port:
    third, width, heads = config.type == "gemma3_text", config.need("hidden_size"), config.need("num_attention_heads")
    shared, depth, inner = config.get("num_key_value_heads", heads), config.need("num_hidden_layers"), config.get("head_dim", 256)
    rms, bias = RMSNorm(config.get("rms_norm_eps", 1e-6), plus_one=True), config.get("attention_bias", False)
    activation = config.activation("hidden_activation", "hidden_act", default="gelu_pytorch_tanh")
    mlp = FeedForward(hidden=config.need("intermediate_size"), activation=activation, gated=True, bias=False)
    trained_to_see_ahead = bool(config.get("use_bidirectional_attention", False))
    size = config.get("sliding_window", 4096)
    reach = size // 2 if trained_to_see_ahead else size - 1
    local_pos = rotary(config, "sliding_attention", theta="rope_local_base_freq", scaled=False) if third else None
    softcap = config.get("attn_logit_softcapping", None)

    def block(local: bool) -> Block:
        attention = Attention(
            heads,
            kv_heads=None if shared == heads else shared,
            head_width=inner,
            bias=bias,
            qk_norm=rms if third else None,
            window=reach if local and causal is not False else None,
            scale=config.get("query_pre_attn_scalar", 256) ** -0.5,
            softcap=None if softcap is None else float(softcap),
            pos=local_pos if local else None,
        )
        return Block(attention, mlp, rms, order="sandwich")

    encoder = Transformer(
        stem=Tokens(config.need("vocab_size"), scale=math.sqrt(width)),
        pos=rotary(config, "full_attention", base=1_000_000.0 if third else 10_000.0),
        width=width,
        depth=depth,
        blocks=tuple(block(local) for local in period(local_layers(config, depth))),
        norm=rms,
        causal=not trained_to_see_ahead if causal is None else causal,
    )
    names: dict[str, Source] = {"stem/embedding": Take("embed_tokens.weight"), **norm("norm", "norm", bias=False)}
    for i in range(depth):
        names |= layer(i, heads, shared, width, inner, bias=bias, out_bias=bias)
        for ours, theirs in (("norm1_after", "post_attention"), ("norm2", "pre_feedforward"), ("norm2_after", "post_feedforward")):
            names |= norm(f"block_{i}/{ours}", f"layers.{i}.{theirs}_layernorm", bias=False)
        if third:
            names |= qk_norms(i)
    return decoder(config, encoder, names)


def local_layers(config: Config, depth: int) -> tuple[bool, ...]:
    """Which layers see a window alone: in Gemma 2 every other one from the first on, in Gemma 3 all but every sixth."""
    if (told := local_by_type(config)) is not None:
        return told
    if config.type == "gemma2":
        return tuple(i % 2 == 0 for i in range(depth))
    every = config.get("sliding_window_pattern", config.get("_sliding_window_pattern", 6))
    return tuple((i + 1) % every != 0 for i in range(depth))
