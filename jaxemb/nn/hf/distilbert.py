"""DistilBERT (Sanh et al. 2019): BERT without types of tokens and without a pooler, under names of its own."""

from __future__ import annotations

from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, dense, from_heads, norm, pooled, to_heads
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.learned import Learned

MODEL_TYPES = ("distilbert",)
EPS = 1e-12
"""Of every norm; no field of the config changes it."""


def build(config: Config) -> Port:
    width, heads, rows = config.need("dim"), config.need("n_heads"), config.get("max_position_embeddings", 512)
    mlp = FeedForward(hidden=config.need("hidden_dim"), activation=config.activation("activation"))
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size")),
        pos=Learned(shape=(rows,)),  # in the file also where they began as sines and cosines
        width=width,
        depth=config.need("n_layers"),
        blocks=(Block(Attention(heads), mlp, LayerNorm(EPS), order="post"),),
        norm=None,
        stem_norm=LayerNorm(EPS),
    )
    names: dict[str, Source] = {
        "stem/embedding": Take("embeddings.word_embeddings.weight"),
        "pos/table": Take("embeddings.position_embeddings.weight"),
        **norm("stem_norm", "embeddings.LayerNorm"),
    }
    for i in range(encoder.depth):
        names |= layer(f"block_{i}", f"transformer.layer.{i}", heads, width)
    return Port(
        Part(encoder, names),
        pooled(Mean()),
        prefixes=("", "distilbert."),
        ignored=(r"^vocab_", r"^pre_classifier\.", r"^classifier\.", r"^qa_outputs\."),
        window=rows,
    )


def layer(ours: str, theirs: str, heads: int, width: int) -> dict[str, Source]:
    """A block's parameters."""
    names: dict[str, Source] = {}
    for name in "qkv":
        names |= to_heads(f"{ours}/attention/{name}", f"{theirs}.attention.{name}_lin", heads, width, width // heads)
    return {
        **names,
        **from_heads(f"{ours}/attention/out", f"{theirs}.attention.out_lin", heads, width, width // heads),
        **norm(f"{ours}/norm1", f"{theirs}.sa_layer_norm"),
        **dense(f"{ours}/mlp/up", f"{theirs}.ffn.lin1"),
        **dense(f"{ours}/mlp/down", f"{theirs}.ffn.lin2"),
        **norm(f"{ours}/norm2", f"{theirs}.output_layer_norm"),
    }
