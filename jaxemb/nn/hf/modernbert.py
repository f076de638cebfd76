"""ModernBERT (Warner et al. 2024): pre-norm blocks with GeGLU; layers with local attention, and rotary waves of another base,
between global ones. The first layer has no norm before its attention, as one comes right before it."""

from __future__ import annotations

from collections.abc import Mapping

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm, NoNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, below, dense, from_heads, norm, pooled, to_heads
from jaxemb.nn.hf.rope import rotary
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean

MODEL_TYPES = ("modernbert",)
GLOBAL, LOCAL = KINDS = ("full_attention", "sliding_attention")


def build(config: Config) -> Port:
    width, heads, depth = config.need("hidden_size"), config.need("num_attention_heads"), config.need("num_hidden_layers")
    hidden, eps = config.need("intermediate_size"), config.get("norm_eps", 1e-5)
    biases = {name: config.get(f"{name}_bias", False) for name in ("norm", "attention", "mlp")}
    usual = LayerNorm(eps, bias=biases["norm"])
    mlp = FeedForward(hidden=hidden, activation=config.activation("hidden_activation"), gated=True, bias=biases["mlp"])
    window, kinds = config.get("local_attention", 128) // 2, layer_kinds(config, depth)
    # In version 4 a base that is null is that of the others.
    shared = "local_rope_theta" in config.values and config.values["local_rope_theta"] is None
    everywhere = rotary(config, GLOBAL, theta="global_rope_theta", base=160_000.0)
    local = everywhere if shared else rotary(config, LOCAL, theta="local_rope_theta")
    attentions = {
        GLOBAL: Attention(heads, bias=biases["attention"]),
        LOCAL: Attention(heads, bias=biases["attention"], window=window, pos=local),
    }
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size")),
        pos=everywhere,
        width=width,
        depth=depth,
        blocks=tuple(Block(attentions[kind], mlp, usual, first=None if i else NoNorm()) for i, kind in enumerate(kinds)),
        norm=usual,
        stem_norm=usual,
    )
    names: dict[str, Source] = {
        "stem/embedding": Take("embeddings.tok_embeddings.weight"),
        **norm("stem_norm", "embeddings.norm", bias=biases["norm"]),
        **norm("norm", "final_norm", bias=biases["norm"]),
    }
    for i in range(depth):
        names |= below(f"block_{i}", layer(f"layers.{i}", heads, width, hidden, biases))
        if i:
            names |= norm(f"block_{i}/norm1", f"layers.{i}.attn_norm", bias=biases["norm"])
    return Port(
        Part(encoder, names), pooled(Mean()), prefixes=("", "model."), ignored=(r"^head\.", r"^decoder\.", r"^classifier\.")
    )


def layer_kinds(config: Config, depth: int) -> list[str]:
    """Global or local, by layer."""
    kinds = config.get("layer_types", None)
    if kinds is None:
        every = config.get("global_attn_every_n_layers", 3)
        kinds = [LOCAL if i % every else GLOBAL for i in range(depth)]
    if len(kinds) != depth or not set(kinds) <= set(KINDS):
        raise ConfigError(f"{config.where}: layer_types={kinds} must name, for each of {depth} layers, {' or '.join(KINDS)}")
    return kinds


def layer(theirs: str, heads: int, width: int, hidden: int, biases: Mapping[str, bool]) -> dict[str, Source]:
    """A block's parameters, without the norm of its attention."""
    names: dict[str, Source] = {}
    for i, name in enumerate("qkv"):
        rows = (i * width, (i + 1) * width)
        names |= to_heads(
            f"attention/{name}", f"{theirs}.attn.Wqkv", heads, width, width // heads, bias=biases["attention"], rows=rows
        )
    for i, name in enumerate(("gate", "up")):
        names |= dense(f"mlp/{name}", f"{theirs}.mlp.Wi", bias=biases["mlp"], rows=(i * hidden, (i + 1) * hidden))
    return {
        **names,
        **from_heads("attention/out", f"{theirs}.attn.Wo", heads, width, width // heads, bias=biases["attention"]),
        **norm("norm2", f"{theirs}.mlp_norm", bias=biases["norm"]),
        **dense("mlp/down", f"{theirs}.mlp.Wo", bias=biases["mlp"]),
    }
