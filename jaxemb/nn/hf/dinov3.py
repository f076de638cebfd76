"""DINOv3 as a ViT (Siméoni et al. 2025): DINOv2 with registers, whose positions are rotary, of the patches alone."""

from __future__ import annotations

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, attention, below, dense, norm, patches, pooled
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.token import Token
from jaxemb.posemb.rotary_centred import RotaryCentred

MODEL_TYPES = ("dinov3_vit",)


def build(config: Config) -> Port:
    width, heads = config.need("hidden_size"), config.need("num_attention_heads")
    registers, eps = config.get("num_register_tokens", 0), config.get("layer_norm_eps", 1e-5)
    bias, key_bias, out_bias = (config.get(f"{name}_bias", name != "key") for name in ("query", "key", "proj"))
    if config.get("value_bias", True) != bias:
        raise ConfigError(f"{config.where}: query_bias={bias} with value_bias={not bias} is not supported; only both or none")
    has_bias, gated = config.get("mlp_bias", True), config.get("use_gated_mlp", False)
    mlp = FeedForward(
        hidden=config.need("intermediate_size"), activation=config.activation("hidden_act"), gated=gated, bias=has_bias
    )
    encoder = Transformer(
        stem=Patches(config.patch(), channels="first", leave_rest=True, mask_token=True),
        pos=RotaryCentred(base=config.get("rope_theta", config.get("rope_parameters", {}).get("rope_theta", 100.0))),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(
            Block(
                Attention(heads, bias=bias, key_bias=key_bias, out_bias=out_bias),
                mlp,
                LayerNorm(eps),
                layer_scale=config.get("layerscale_value", 1.0),
            ),
        ),
        norm=LayerNorm(eps),
        class_token=True,
        registers=registers,
    )
    names: dict[str, Source] = {
        **patches("embeddings.patch_embeddings", width, config.get("num_channels", 3), config.patch()),
        "stem/mask_token": Take("embeddings.mask_token", None, (width,)),
        "class_token": Take("embeddings.cls_token", None, (1, 1, width)),
        **norm("norm", "norm"),
    }
    if registers:
        names["registers"] = Take("embeddings.register_tokens", None, (1, registers, width))
    for i in range(encoder.depth):
        theirs = f"layer.{i}"
        names |= below(
            f"block_{i}",
            {
                **norm("norm1", f"{theirs}.norm1"),
                **attention(
                    "attention",
                    f"{theirs}.attention",
                    ("q_proj", "k_proj", "v_proj", "o_proj"),
                    heads,
                    width,
                    bias=bias,
                    key_bias=key_bias,
                    out_bias=out_bias,
                ),
                "scale1": Take(f"{theirs}.layer_scale1.lambda1"),
                **norm("norm2", f"{theirs}.norm2"),
                **(dense("mlp/gate", f"{theirs}.mlp.gate_proj", bias=has_bias) if gated else {}),
                **dense("mlp/up", f"{theirs}.mlp.up_proj", bias=has_bias),
                **dense("mlp/down", f"{theirs}.mlp.down_proj", bias=has_bias),
                "scale2": Take(f"{theirs}.layer_scale2.lambda1"),
            },
        )
    return Port(Part(encoder, names), pooled(Token()), pooled(Token()), prefixes=("", "dinov3_vit.", "model."))
