"""Nomic Embed's BERT (Nussbaum et al. 2024): post-norm blocks with rotary positions and gated units, most layers without bias.

The config has the field names of transformers, or those of the published checkpoints (`n_embd`, `rotary_emb_base`, ...).
"""

from __future__ import annotations

from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, below, dense, from_heads, norm, pooled, to_heads
from jaxemb.nn.hf.rope import rotary
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.rotary import Rotary

MODEL_TYPES = ("nomic_bert",)
PUBLISHED = {
    "parallel_block": (False,),
    "prenorm": (False,),
    "causal": (False,),
    "use_rms_norm": (False,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "moe_every_n_layers": (0,),
    "rotary_emb_fraction": (1.0,),
    "rotary_emb_interleaved": (False,),
    "rotary_emb_scale_base": (None,),
    "rotary_scaling_factor": (None,),
    "activation_function": ("swiglu", "geglu"),
}
"""What the fields of published checkpoints may say here, the first where one is left out."""


def build(config: Config) -> Port:
    hub = "n_embd" in config.values
    width, heads = config.need("hidden_size", "n_embd"), config.need("num_attention_heads", "n_head")
    eps, types = config.need("layer_norm_eps", "layer_norm_epsilon"), config.get("type_vocab_size", 2)
    inner = config.get("head_dim", width // heads)
    if hub:
        for name, values in PUBLISHED.items():
            config.allow(name, *values)
    bias, mlp_bias = (config.get(name, hub) for name in ("qkv_proj_bias", "mlp_fc1_bias"))
    config.allow("mlp_fc2_bias", mlp_bias)
    glu = {"swiglu": "silu", "geglu": "gelu"}[config.get("activation_function", "swiglu")]
    activation = glu if hub else config.activation("hidden_act", default="silu")
    mlp = FeedForward(hidden=config.need("intermediate_size", "n_inner"), activation=activation, gated=True, bias=mlp_bias)
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size"), types=types),
        pos=Rotary(base=float(config.need("rotary_emb_base"))) if hub else rotary(config, base=1000.0),
        width=width,
        depth=config.need("num_hidden_layers", "n_layer"),
        blocks=(Block(Attention(heads, head_width=inner, bias=bias), mlp, LayerNorm(eps), order="post"),),
        norm=None,
        stem_norm=LayerNorm(eps),
    )
    names: dict[str, Source] = {"stem/embedding": Take("embeddings.word_embeddings.weight"), **norm("stem_norm", "emb_ln")}
    if types:
        names["stem/type_embedding"] = Take("embeddings.token_type_embeddings.weight")
    for i in range(encoder.depth):
        names |= below(f"block_{i}", layer(f"encoder.layers.{i}", heads, width, inner, bias, mlp_bias))
    return Port(
        Part(encoder, names),
        pooled(Mean()),
        prefixes=("", "bert.", "model.", "nomic_bert."),
        ignored=(r"^cls\.", r"^lm_head\.", r"^classifier\.", r"inv_freq$"),
    )


def layer(theirs: str, heads: int, width: int, inner: int, bias: bool, mlp_bias: bool) -> dict[str, Source]:
    """A block's parameters. Of the two halves of a gated unit it is fc12 that goes through the activation."""
    names: dict[str, Source] = {}
    for i, name in enumerate("qkv"):
        rows = (i * heads * inner, (i + 1) * heads * inner)
        names |= to_heads(f"attention/{name}", f"{theirs}.attn.Wqkv", heads, width, inner, bias=bias, rows=rows)
    for ours, name in (("up", "fc11"), ("gate", "fc12"), ("down", "fc2")):
        names |= dense(f"mlp/{ours}", f"{theirs}.mlp.{name}", bias=mlp_bias)
    return {
        **names,
        **from_heads("attention/out", f"{theirs}.attn.out_proj", heads, width, inner, bias=bias),
        **norm("norm1", f"{theirs}.norm1"),
        **norm("norm2", f"{theirs}.norm2"),
    }
