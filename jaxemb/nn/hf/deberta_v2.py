"""DeBERTa-v2 and v3 (He et al. 2021): BERT's blocks with disentangled attention."""

from __future__ import annotations

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention, DisentangledAttention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, below, dense, from_heads, norm, pooled, to_heads
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.disentangled import TERMS, Disentangled
from jaxemb.posemb.learned import Learned

MODEL_TYPES = ("deberta-v2",)


def build(config: Config) -> Port:
    width, heads = config.need("hidden_size"), config.need("num_attention_heads")
    rows, types = config.get("max_position_embeddings", 512), config.get("type_vocab_size", 0)
    config.allow("relative_attention", True)
    config.allow("conv_kernel_size", 0)
    config.allow("embedding_size", width)
    config.allow("attention_head_size", width // heads)
    placed, shared = config.get("position_biased_input", True), config.get("share_att_key", False)
    distances, normed = disentangled(config)
    mlp = FeedForward(hidden=config.need("intermediate_size"), activation=config.activation("hidden_act"))
    usual = LayerNorm(config.get("layer_norm_eps", 1e-7))
    # Where tokens have positions of their own before the first layer, the distances are the blocks', one table for all of them.
    attention = (DisentangledAttention if shared else Attention)(heads, pos=distances if placed else None)
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size"), types=types),
        pos=Learned(shape=(rows,)) if placed else distances,
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(Block(attention, mlp, usual, order="post"),),
        norm=None,
        stem_norm=usual,
    )
    table = "pos_0" if placed else "pos"
    names: dict[str, Source] = {
        "stem/embedding": Take("embeddings.word_embeddings.weight"),
        f"{table}/table/rows": Take("encoder.rel_embeddings.weight"),
        **norm("stem_norm", "embeddings.LayerNorm"),
    }
    if types:
        names["stem/type_embedding"] = Take("embeddings.token_type_embeddings.weight")
    if placed:
        names["pos/table"] = Take("embeddings.position_embeddings.weight")
    if normed:
        names |= norm(f"{table}/norm", "encoder.LayerNorm")
    for i in range(encoder.depth):
        names |= below(f"block_{i}", layer(f"encoder.layer.{i}", heads, width, () if shared else distances.terms))
    return Port(
        Part(encoder, names),
        pooled(Mean()),
        prefixes=("", "deberta."),
        ignored=(
            r"^cls\.",
            r"^lm_predictions\.",
            r"^mask_predictions\.",
            r"^pooler\.",
            r"^classifier\.",
            r"^qa_outputs\.",
            *(() if placed else (r"^embeddings\.position_embeddings\.",)),
            r"position_ids$",
        ),
        window=rows if placed else None,
    )


def disentangled(config: Config) -> tuple[Disentangled, bool]:
    """The vectors of distances, and whether they are normed."""
    longest, buckets = config.get("max_relative_positions", -1), config.get("position_buckets", -1)
    longest = longest if longest > 0 else config.get("max_position_embeddings", 512)
    given = config.get("pos_att_type", ())
    given = given.lower().split("|") if isinstance(given, str) else given
    terms = tuple(sorted(name.strip() for name in given))
    if not terms or not set(terms) <= set(TERMS):
        raise ConfigError(f"{config.where}: pos_att_type={given} is not supported; it must be one or both of {', '.join(TERMS)}")
    normed = "layer_norm" in [name.strip() for name in config.get("norm_rel_ebd", "none").lower().split("|")]
    eps = config.get("layer_norm_eps", 1e-7)
    span, log = (buckets, True) if buckets > 0 else (longest, False)
    return Disentangled(span=span, longest=longest, log=log, terms=terms, norm=LayerNorm(eps) if normed else None), normed


def layer(theirs: str, heads: int, width: int, own: tuple[str, ...]) -> dict[str, Source]:
    """A block's parameters; `own`: the terms for which distances have projections of their own."""
    inner, attention = width // heads, f"{theirs}.attention.self"
    names: dict[str, Source] = {}
    for name, long in (("q", "query"), ("k", "key"), ("v", "value")):
        names |= to_heads(f"attention/{name}", f"{attention}.{long}_proj", heads, width, inner)
    for term, name, long in (("c2p", "k", "key"), ("p2c", "q", "query")):
        if term in own:
            names |= to_heads(f"attention/pos/{name}", f"{attention}.pos_{long}_proj", heads, width, inner)
    return {
        **names,
        **from_heads("attention/out", f"{theirs}.attention.output.dense", heads, width, inner),
        **norm("norm1", f"{theirs}.attention.output.LayerNorm"),
        **dense("mlp/up", f"{theirs}.intermediate.dense"),
        **dense("mlp/down", f"{theirs}.output.dense"),
        **norm("norm2", f"{theirs}.output.LayerNorm"),
    }
