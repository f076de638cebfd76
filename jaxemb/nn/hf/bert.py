"""BERT (Devlin et al. 2018), RoBERTa (Liu et al. 2019), XLM-R (Conneau et al. 2019), ELECTRA (Clark et al. 2020).

Post-norm blocks after a norm of word, type and position rows. RoBERTa and XLM-R count positions from the ids; ELECTRA's tables may
be narrower than the model.
"""

from __future__ import annotations

from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, dense, from_heads, norm, pooled, to_heads
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.pooler import Pooler
from jaxemb.posemb.learned import Learned

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "electra")
COUNTED = ("roberta", "xlm-roberta")
"""Families whose positions count the ids that are not padding, from the one after the row of padding on."""


def build(config: Config) -> Port:
    config.allow("position_embedding_type", "absolute")
    config.allow("is_decoder", False)
    width, heads = config.need("hidden_size"), config.need("num_attention_heads")
    eps, rows = config.get("layer_norm_eps", 1e-12), config.need("max_position_embeddings")
    pad = config.get("pad_token_id", 1) if config.type in COUNTED else None
    first = 0 if pad is None else pad + 1
    narrow = config.get("embedding_size", width) if config.type == "electra" else width
    mlp = FeedForward(hidden=config.need("intermediate_size"), activation=config.activation("hidden_act"))
    types = config.get("type_vocab_size", 2)
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size"), types=types, pad=pad),
        pos=Learned(shape=(rows,), first=first),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(Block(Attention(heads), mlp, LayerNorm(eps), order="post"),),
        norm=None,
        stem_norm=LayerNorm(eps),
        stem_width=None if narrow == width else narrow,
    )
    names: dict[str, Source] = {
        "stem/embedding": Take("embeddings.word_embeddings.weight"),
        "pos/table": Take("embeddings.position_embeddings.weight"),
        **norm("stem_norm", "embeddings.LayerNorm"),
    }
    if types:
        names["stem/type_embedding"] = Take("embeddings.token_type_embeddings.weight")
    if narrow != width:
        names |= dense("stem_proj", "embeddings_project")
    for i in range(encoder.depth):
        names |= layer(f"block_{i}", f"encoder.layer.{i}", heads, width)
    return Port(
        Part(encoder, names),
        pooled(Mean()),
        None if config.type == "electra" else Part(Pooler(), dense("dense", "pooler.dense")),
        prefixes=("", "bert.", "roberta.", "electra."),
        ignored=(r"^cls\.", r"^lm_head\.", r"^discriminator_predictions\.", r"^generator_", r"^classifier\.", r"^qa_outputs\."),
        window=rows - first,
    )


def layer(ours: str, theirs: str, heads: int, width: int) -> dict[str, Source]:
    """A block's parameters."""
    inner, own = width // heads, f"{theirs}.attention.self"
    names: dict[str, Source] = {}
    for name, long in (("q", "query"), ("k", "key"), ("v", "value")):
        names |= to_heads(f"{ours}/attention/{name}", f"{own}.{long}", heads, width, inner)
    return {
        **names,
        **from_heads(f"{ours}/attention/out", f"{theirs}.attention.output.dense", heads, width, inner),
        **norm(f"{ours}/norm1", f"{theirs}.attention.output.LayerNorm"),
        **dense(f"{ours}/mlp/up", f"{theirs}.intermediate.dense"),
        **dense(f"{ours}/mlp/down", f"{theirs}.output.dense"),
        **norm(f"{ours}/norm2", f"{theirs}.output.LayerNorm"),
    }
