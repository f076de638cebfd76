"""Llama (Touvron et al. 2023), Mistral (Jiang et al. 2023), Qwen2 (2024) and Qwen3 (2025): decoders that embed.

Pre-norm blocks with RMSNorm, rotary positions, shared keys and values, SwiGLU. Qwen2 has biases on queries, keys and values; Qwen3
a norm of queries and keys; Mistral, and some Qwen2, local layers.
"""

from __future__ import annotations

from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import RMSNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, dense, from_heads, norm, period, pooled, to_heads
from jaxemb.nn.hf.rope import rotary
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
DECODERS = True


def build(config: Config, causal: bool | None = None) -> Port:
    kind, width, heads = config.type, config.need("hidden_size"), config.need("num_attention_heads")
    shared, depth = config.get("num_key_value_heads", heads), config.need("num_hidden_layers")
    inner, eps = config.get("head_dim", width // heads), config.get("rms_norm_eps", 1e-6)
    bias = kind == "qwen2" or (kind != "mistral" and config.get("attention_bias", False))
    out_bias = False if kind == "qwen2" else bias
    mlp_bias = config.get("mlp_bias", False) if kind == "llama" else False
    mlp = FeedForward(
        hidden=config.need("intermediate_size"),
        activation=config.activation("hidden_act", default="silu"),
        gated=True,
        bias=mlp_bias,
    )
    sees_ahead = causal is False

    def block(local: bool) -> Block:
        attention = Attention(
            heads,
            kv_heads=None if shared == heads else shared,
            head_width=inner,
            bias=bias,
            out_bias=out_bias,
            qk_norm=RMSNorm(eps) if kind == "qwen3" else None,
            window=config.need("sliding_window") - 1 if local and not sees_ahead else None,
        )
        return Block(attention, mlp, RMSNorm(eps))

    encoder = Transformer(
        stem=Tokens(config.need("vocab_size")),
        pos=rotary(config),
        width=width,
        depth=depth,
        blocks=tuple(block(local) for local in period(local_layers(config, depth))),
        norm=RMSNorm(eps),
        causal=not sees_ahead,
    )
    names: dict[str, Source] = {"stem/embedding": Take("embed_tokens.weight"), **norm("norm", "norm", bias=False)}
    for i in range(depth):
        names |= layer(i, heads, shared, width, inner, bias=bias, out_bias=out_bias, mlp_bias=mlp_bias)
        names |= norm(f"block_{i}/norm2", f"layers.{i}.post_attention_layernorm", bias=False)
        if kind == "qwen3":
            names |= qk_norms(i)
    return decoder(config, encoder, names)


def decoder(config: Config, encoder: Transformer, names: dict[str, Source]) -> Port:
    """The port of an encoder that was trained to say the next token, alone in its file or below a head."""
    return Port(
        Part(encoder, names),
        pooled(Mean()),
        prefixes=("", "model."),
        ignored=IGNORED,
        window=config.get("max_position_embeddings", None),
    )


IGNORED = (r"^lm_head\.", r"^score\.", r"rotary_emb\.inv_freq$")


def local_layers(config: Config, depth: int) -> tuple[bool, ...]:
    """Which layers see a window alone."""
    if (told := local_by_type(config)) is not None:
        return told
    if config.type == "mistral":
        return (config.get("sliding_window", None) is not None,) * depth
    if config.type == "llama" or not config.get("use_sliding_window", False) or config.get("sliding_window", None) is None:
        return (False,) * depth
    return tuple(i >= config.get("max_window_layers", 28) for i in range(depth))


def local_by_type(config: Config) -> tuple[bool, ...] | None:
    """The same, where a config says it of each layer."""
    types = config.get("layer_types", None)
    return None if types is None else tuple(t == "sliding_attention" for t in types)


def layer(
    i: int, heads: int, shared: int, width: int, inner: int, *, bias: bool, out_bias: bool, mlp_bias: bool = False
) -> dict[str, Source]:
    """A block's parameters but for the norms that families differ in."""
    ours, theirs = f"block_{i}", f"layers.{i}"
    names: dict[str, Source] = {}
    for name, count in (("q", heads), ("k", shared), ("v", shared)):
        names |= to_heads(f"{ours}/attention/{name}", f"{theirs}.self_attn.{name}_proj", count, width, inner, bias=bias)
    names |= from_heads(f"{ours}/attention/out", f"{theirs}.self_attn.o_proj", heads, width, inner, bias=out_bias)
    for name in ("gate", "up", "down"):
        names |= dense(f"{ours}/mlp/{name}", f"{theirs}.mlp.{name}_proj", bias=mlp_bias)
    return names | norm(f"{ours}/norm1", f"{theirs}.input_layernorm", bias=False)


def qk_norms(i: int) -> dict[str, Source]:
    """Of queries and keys, a head at a time."""
    names: dict[str, Source] = {}
    for name in ("q_norm", "k_norm"):
        names |= norm(f"block_{i}/attention/{name}", f"layers.{i}.self_attn.{name}", bias=False)
    return names
