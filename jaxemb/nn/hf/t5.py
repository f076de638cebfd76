"""The encoder of T5 (Raffel et al. 2020), of its second release with gates (Shazeer 2020), and of mT5 (Xue et al. 2021).

Pre-norm blocks with RMSNorm and no bias; logits that are not scaled, plus one table of biases by distance for all layers.
"""

from __future__ import annotations

from jaxemb.config import ConfigError, suggest
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import RMSNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import ACTIVATIONS, Config, Part, Port, Source, Take, below, dense, from_heads, norm, pooled, to_heads
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.relative import RelativeBuckets

MODEL_TYPES = ("t5", "mt5")


def build(config: Config) -> Port:
    width, heads, inner = config.need("d_model"), config.need("num_heads"), config.need("d_kv")
    mlp, eps = feed_forward(config), config.get("layer_norm_epsilon", 1e-6)
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size")),
        pos=RelativeBuckets(
            buckets=config.get("relative_attention_num_buckets", 32),
            max_distance=config.get("relative_attention_max_distance", 128),
        ),
        width=width,
        depth=config.need("num_layers"),
        blocks=(Block(Attention(heads, head_width=inner, bias=False, scale=1.0), mlp, RMSNorm(eps)),),
        norm=RMSNorm(eps),
    )
    names: dict[str, Source] = {
        "stem/embedding": Take("shared.weight"),
        "pos/table": Take("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
        **norm("norm", "encoder.final_layer_norm", bias=False),
    }
    for i in range(encoder.depth):
        names |= below(f"block_{i}", layer(f"encoder.block.{i}.layer", heads, width, inner, mlp.gated))
    return Port(
        Part(encoder, names),
        pooled(Mean()),
        ignored=(r"^decoder\.", r"^lm_head\.", r"^classification_head\.", r"^encoder\.embed_tokens\."),
    )


def feed_forward(config: Config) -> FeedForward:
    """From "relu" or "gated-gelu"; the latter means the gelu by tanh."""
    given = config.get("feed_forward_proj", "gated-gelu" if config.type == "mt5" else "relu")
    name = given.removeprefix("gated-")
    activation = "gelu_new" if given == "gated-gelu" else name
    if activation not in ACTIVATIONS:
        raise ConfigError(
            f"{config.where}: feed_forward_proj={given!r} is no activation that is known here, with or without 'gated-' before it"
            + suggest(name, ACTIVATIONS)
        )
    return FeedForward(hidden=config.need("d_ff"), activation=ACTIVATIONS[activation], gated=name != given, bias=False)


def layer(theirs: str, heads: int, width: int, inner: int, gated: bool) -> dict[str, Source]:
    """A block's parameters."""
    names: dict[str, Source] = {}
    for name in "qkv":
        names |= to_heads(f"attention/{name}", f"{theirs}.0.SelfAttention.{name}", heads, width, inner, bias=False)
    for ours, name in (("gate", "wi_0"), ("up", "wi_1")) if gated else (("up", "wi"),):
        names |= dense(f"mlp/{ours}", f"{theirs}.1.DenseReluDense.{name}", bias=False)
    return {
        **names,
        **from_heads("attention/out", f"{theirs}.0.SelfAttention.o", heads, width, inner, bias=False),
        **norm("norm1", f"{theirs}.0.layer_norm", bias=False),
        **norm("norm2", f"{theirs}.1.layer_norm", bias=False),
        **dense("mlp/down", f"{theirs}.1.DenseReluDense.wo", bias=False),
    }
