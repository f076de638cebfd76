"""SigLIP (Zhai et al. 2023) and SigLIP 2 (Tschannen et al. 2025): texts pooled at the last place, images by attention.

SigLIP 2 with variable resolution takes patches that were cut before, each image with a grid of its own. A tower of images may also
be alone in its folder.
"""

from __future__ import annotations

import math

from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, Towers, dense, from_heads, norm, patches
from jaxemb.nn.hf.clip import IGNORED, block, layers
from jaxemb.nn.stem import CutPatches, Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.attention import AttentionPool
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.projected import Projected
from jaxemb.posemb.learned import Learned
from jaxemb.types import Features

MODEL_TYPES = ("siglip", "siglip2", "siglip_vision_model", "siglip2_vision_model")
SAME = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
TEXT = {**SAME, "vocab_size": 32000, "max_position_embeddings": 64}
"""What fields mean that a config leaves out, as those of towers often do."""
IMAGE = {**SAME, "image_size": 224, "patch_size": 16, "num_patches": 256}


class LastPlace(Pooling):
    """The last token of the row, padding or not: SigLIP pads every text to one length, and its last place has seen the text."""

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        return f.tokens[:, -1]


def build(config: Config) -> Towers | Port:
    if config.type.endswith("_vision_model"):
        return image(config.filled(IMAGE), config.type == "siglip2_vision_model")
    texts, images = text(config.part("text_config", TEXT)), image(config.part("vision_config", IMAGE), config.type == "siglip2")
    return Towers(texts, images, Take("logit_scale", None, ()), Take("logit_bias", None, ()))


def text(config: Config) -> Port:
    width, rows = config.need("hidden_size"), config.need("max_position_embeddings")
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size")),
        pos=Learned(shape=(rows,)),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(block(config),),
        norm=LayerNorm(config.need("layer_norm_eps")),
    )
    names: dict[str, Source] = {
        "stem/embedding": Take("text_model.embeddings.token_embedding.weight"),
        "pos/table": Take("text_model.embeddings.position_embedding.weight"),
        **norm("norm", "text_model.final_layer_norm"),
        **layers("text_model", config),
    }
    features = config.get("projection_size", width)
    head = Part(Projected(LastPlace(), features=features, bias=True), dense("proj", "text_model.head"))
    return Port(Part(encoder, names), head, head, ignored=IGNORED, window=rows)


def image(config: Config, variable: bool) -> Port:
    config.allow("vision_use_head", True)
    width, eps = config.need("hidden_size"), config.need("layer_norm_eps")
    encoder = Transformer(
        stem=CutPatches(config.patch(), leave_rest=True)
        if variable
        else Patches(config.patch(), channels="first", leave_rest=True),
        pos=Learned(shape=square(config) if variable else config.grid(), extend="bilinear" if variable else "bicubic"),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(block(config),),
        norm=LayerNorm(eps),
    )
    patch = "vision_model.embeddings.patch_embedding"
    projection = patches(patch, width, config.get("num_channels", 3), config.patch())
    names: dict[str, Source] = {
        **(dense("stem/proj", patch) if variable else projection),
        "pos/table": Take("vision_model.embeddings.position_embedding.weight"),
        **norm("norm", "vision_model.post_layernorm"),
        **layers("vision_model", config),
    }
    heads = config.need("num_attention_heads")
    mlp = FeedForward(hidden=config.need("intermediate_size"), activation=config.activation("hidden_act"))
    head = Part(AttentionPool(heads, mlp, LayerNorm(eps)), reader("vision_model.head", heads, width))
    return Port(Part(encoder, names), head, head, ignored=IGNORED)


def square(config: Config) -> tuple[int, int]:
    """The grid of the table of positions, of which each image gets one resized to its own."""
    side = math.isqrt(config.need("num_patches"))
    if side * side != config.need("num_patches"):
        raise ConfigError(f"{config.where}: num_patches={config.need('num_patches')} is no square number")
    return side, side


def reader(theirs: str, heads: int, width: int) -> dict[str, Source]:
    """The head that reads the patches: queries, keys and values are there one matrix, in this order."""
    names: dict[str, Source] = {"query": Take(f"{theirs}.probe", None, (1, 1, width))}
    inner, both = width // heads, f"{theirs}.attention.in_proj"
    for i, part in enumerate("qkv"):
        rows = (i * width, (i + 1) * width)
        names[f"{part}/kernel"] = Take(f"{both}_weight", rows, (heads, inner, width), (2, 0, 1))
        names[f"{part}/bias"] = Take(f"{both}_bias", rows, (heads, inner))
    return {
        **names,
        **from_heads("out", f"{theirs}.attention.out_proj", heads, width, inner),
        **norm("norm", f"{theirs}.layernorm"),
        **dense("mlp/up", f"{theirs}.mlp.fc1"),
        **dense("mlp/down", f"{theirs}.mlp.fc2"),
    }
