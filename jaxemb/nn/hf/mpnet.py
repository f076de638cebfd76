"""MPNet (Song et al. 2020): BERT's blocks with learned biases by distance, and positions that count the ids as RoBERTa's do."""

from __future__ import annotations

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, below, dense, from_heads, norm, pooled, to_heads
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.pooler import Pooler
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.relative import RelativeBuckets

MODEL_TYPES = ("mpnet",)
BUCKETS = 32
"""That its code counts, whatever the config says; `relative_attention_num_buckets` sizes the table alone."""
PAD = 1
"""The id that positions leave out, whatever the config says."""


def build(config: Config) -> Port:
    width, heads = config.need("hidden_size"), config.need("num_attention_heads")
    eps, rows = config.get("layer_norm_eps", 1e-12), config.get("max_position_embeddings", 512)
    if (given := config.get("relative_attention_num_buckets", BUCKETS)) < BUCKETS:
        raise ConfigError(f"{config.where}: relative_attention_num_buckets={given} must be at least {BUCKETS}, which MPNet reads")
    # A block's own, as the encoder's are the learned positions: one in the period, and so one table for all layers.
    attention = Attention(heads, pos=RelativeBuckets(buckets=BUCKETS, max_distance=128))
    mlp = FeedForward(hidden=config.need("intermediate_size"), activation=config.activation("hidden_act"))
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size"), pad=PAD),
        pos=Learned(shape=(rows,), first=PAD + 1),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(Block(attention, mlp, LayerNorm(eps), order="post"),),
        norm=None,
        stem_norm=LayerNorm(eps),
    )
    names: dict[str, Source] = {
        "stem/embedding": Take("embeddings.word_embeddings.weight"),
        "pos/table": Take("embeddings.position_embeddings.weight"),
        "pos_0/table": Take("encoder.relative_attention_bias.weight", None if given == BUCKETS else (0, BUCKETS)),
        **norm("stem_norm", "embeddings.LayerNorm"),
    }
    for i in range(encoder.depth):
        names |= below(f"block_{i}", layer(f"encoder.layer.{i}", heads, width))
    return Port(
        Part(encoder, names),
        pooled(Mean()),
        Part(Pooler(), dense("dense", "pooler.dense")),
        prefixes=("", "mpnet."),
        ignored=(r"^lm_head\.", r"^classifier\.", r"^qa_outputs\.", r"^embeddings\.position_ids$"),
        window=rows - PAD - 1,
    )


def layer(theirs: str, heads: int, width: int) -> dict[str, Source]:
    """A block's parameters."""
    names: dict[str, Source] = {}
    for name in "qkv":
        names |= to_heads(f"attention/{name}", f"{theirs}.attention.attn.{name}", heads, width, width // heads)
    return {
        **names,
        **from_heads("attention/out", f"{theirs}.attention.attn.o", heads, width, width // heads),
        **norm("norm1", f"{theirs}.attention.LayerNorm"),
        **dense("mlp/up", f"{theirs}.intermediate.dense"),
        **dense("mlp/down", f"{theirs}.output.dense"),
        **norm("norm2", f"{theirs}.output.LayerNorm"),
    }
