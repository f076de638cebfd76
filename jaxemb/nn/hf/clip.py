"""CLIP (Radford et al. 2021): a causal tower of texts, pooled at the end token, and a ViT, each projected to one width.

A tower may also be alone in its folder, with its projection or without.
"""

from __future__ import annotations

from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, Towers, attention, below, dense, norm, patches, pooled
from jaxemb.nn.hf.vit import positions
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.end_token import EndToken
from jaxemb.pooling.projected import Projected
from jaxemb.pooling.token import Token
from jaxemb.posemb.learned import Learned

MODEL_TYPES = ("clip", "clip_text_model", "clip_vision_model")
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
"""What fields mean that a config leaves out, as those of towers often do."""
IMAGE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
HIGHEST = 2
"""The `eos_token_id` of configs that do not know theirs: the end token is the highest id then."""


def build(config: Config) -> Towers | Port:
    features = config.get("projection_dim", 512)
    if config.type != "clip":
        port = text(config.filled(TEXT), features) if config.type == "clip_text_model" else image(config.filled(IMAGE), features)
        projected = any(str(name).endswith("WithProjection") for name in config.get("architectures", []))
        return port if projected or port.pooler is None else port._replace(pooling=port.pooler)
    texts, images = text(config.part("text_config", TEXT), features), image(config.part("vision_config", IMAGE), features)
    return Towers(texts, images, Take("logit_scale", None, ()))


def text(config: Config, features: int) -> Port:
    width, rows, end = config.need("hidden_size"), config.need("max_position_embeddings"), config.need("eos_token_id")
    encoder = Transformer(
        stem=Tokens(config.need("vocab_size")),
        pos=Learned(shape=(rows,)),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(block(config),),
        norm=LayerNorm(config.need("layer_norm_eps")),
        causal=True,
    )
    names: dict[str, Source] = {
        "stem/embedding": Take("text_model.embeddings.token_embedding.weight"),
        "pos/table": Take("text_model.embeddings.position_embedding.weight"),
        **norm("norm", "text_model.final_layer_norm"),
        **layers("text_model", config),
    }
    at_end = EndToken(None if end == HIGHEST else end)
    projected = Part(Projected(at_end, features=features), dense("proj", "text_projection", bias=False))
    return Port(Part(encoder, names), projected, pooled(at_end), ignored=IGNORED, window=rows)


def image(config: Config, features: int) -> Port:
    width, after = config.need("hidden_size"), LayerNorm(config.need("layer_norm_eps"))
    encoder = Transformer(
        stem=Patches(config.patch(), channels="first", leave_rest=True, bias=False),
        pos=Learned(shape=config.grid(), extend="bicubic"),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(block(config),),
        norm=None,
        stem_norm=LayerNorm(config.need("layer_norm_eps")),
        class_token=True,
    )
    here = "vision_model.embeddings"
    names: dict[str, Source] = {
        **patches(f"{here}.patch_embedding", width, config.get("num_channels", 3), config.patch(), bias=False),
        **positions(f"{here}.position_embedding.weight", config.grid(), width, f"{here}.class_embedding"),
        **norm("stem_norm", "vision_model.pre_layrnorm"),
        **layers("vision_model", config),
    }
    normed = norm("norm", "vision_model.post_layernorm")
    projected = Part(Projected(Token(), after, features), {**normed, **dense("proj", "visual_projection", bias=False)})
    return Port(Part(encoder, names), projected, Part(Projected(Token(), after), normed), ignored=IGNORED)


IGNORED = (r"\.position_ids$",)


def block(config: Config) -> Block:
    mlp = FeedForward(hidden=config.need("intermediate_size"), activation=config.activation("hidden_act"))
    return Block(Attention(config.need("num_attention_heads")), mlp, LayerNorm(config.need("layer_norm_eps")))


def layers(theirs: str, config: Config) -> dict[str, Source]:
    """The parameters of all blocks of a tower."""
    names: dict[str, Source] = {}
    width, heads, own = config.need("hidden_size"), config.need("num_attention_heads"), ("q_proj", "k_proj", "v_proj", "out_proj")
    for i in range(config.need("num_hidden_layers")):
        at = f"{theirs}.encoder.layers.{i}"
        one = {
            **norm("norm1", f"{at}.layer_norm1"),
            **attention("attention", f"{at}.self_attn", own, heads, width),
            **norm("norm2", f"{at}.layer_norm2"),
            **dense("mlp/up", f"{at}.mlp.fc1"),
            **dense("mlp/down", f"{at}.mlp.fc2"),
        }
        names |= below(f"block_{i}", one)
    return names
