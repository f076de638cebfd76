"""DINOv2 (Oquab et al. 2023), also with registers (Darcet et al. 2024).

ViT with layer scale, a token for masked patches, and in the largest model SwiGLU. Registers have no positions.
"""

from __future__ import annotations

import math

from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, attention, below, dense, norm, patches, pooled
from jaxemb.nn.hf.vit import positions
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.token import Token
from jaxemb.posemb.learned import Learned

MODEL_TYPES = ("dinov2", "dinov2_with_registers")


def build(config: Config) -> Port:
    width, heads, registered = config.need("hidden_size"), config.need("num_attention_heads"), config.type != "dinov2"
    registers, masks = (config.get("num_register_tokens", 4) if registered else 0), config.get("use_mask_token", True)
    eps, bias = config.get("layer_norm_eps", 1e-6), config.get("qkv_bias", True)
    encoder = Transformer(
        stem=Patches(config.patch(), channels="first", leave_rest=True, mask_token=masks),
        pos=Learned(shape=config.grid(), extend="resample" if registered else "bicubic"),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(
            Block(
                Attention(heads, bias=bias, out_bias=True),
                mlp(config),
                LayerNorm(eps),
                layer_scale=config.get("layerscale_value", 1.0),
            ),
        ),
        norm=LayerNorm(eps),
        class_token=True,
        registers=registers,
    )
    names: dict[str, Source] = {
        **patches("embeddings.patch_embeddings.projection", width, config.get("num_channels", 3), config.patch()),
        **positions("embeddings.position_embeddings", config.grid(), width, "embeddings.cls_token"),
        **norm("norm", "layernorm"),
    }
    if masks:
        names["stem/mask_token"] = Take("embeddings.mask_token", None, (width,))
    if registers:
        names["registers"] = Take("embeddings.register_tokens", None, (1, registers, width))
    for i in range(encoder.depth):
        names |= below(f"block_{i}", layer(f"encoder.layer.{i}", config))
    ignored = (r"^classifier\.", r"^head\.", *(() if masks else (r"^embeddings\.mask_token$",)))
    return Port(Part(encoder, names), pooled(Token()), pooled(Token()), prefixes=("", f"{config.type}."), ignored=ignored)


def mlp(config: Config) -> FeedForward:
    """SwiGLU has two thirds of the hidden features, in whole eights, whatever `hidden_act` says."""
    hidden = int(config.need("hidden_size") * config.get("mlp_ratio", 4))
    if config.get("use_swiglu_ffn", False):
        return FeedForward(hidden=8 * math.ceil(int(hidden * 2 / 3) / 8), activation="silu", gated=True)
    return FeedForward(hidden=hidden, activation=config.activation("hidden_act"))


def layer(theirs: str, config: Config) -> dict[str, Source]:
    """A block's parameters."""
    width, heads, part = config.need("hidden_size"), config.need("num_attention_heads"), mlp(config)
    own = ("attention.query", "attention.key", "attention.value", "output.dense")
    names = {
        **norm("norm1", f"{theirs}.norm1"),
        **attention("attention", f"{theirs}.attention", own, heads, width, bias=config.get("qkv_bias", True)),
        "scale1": Take(f"{theirs}.layer_scale1.lambda1"),
        **norm("norm2", f"{theirs}.norm2"),
        "scale2": Take(f"{theirs}.layer_scale2.lambda1"),
    }
    if not part.gated:
        return {**names, **dense("mlp/up", f"{theirs}.mlp.fc1"), **dense("mlp/down", f"{theirs}.mlp.fc2")}
    both, hidden = f"{theirs}.mlp.weights_in", part.hidden or 0
    return {
        **names,
        **dense("mlp/gate", both, rows=(0, hidden)),
        **dense("mlp/up", both, rows=(hidden, 2 * hidden)),
        **dense("mlp/down", f"{theirs}.mlp.weights_out"),
    }
