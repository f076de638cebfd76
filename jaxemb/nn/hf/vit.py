"""ViT (Dosovitskiy et al. 2021), ViT-MAE (He et al. 2022) with its decoder, I-JEPA (Assran et al. 2023).

Pre-norm blocks on patches with learned positions; I-JEPA has no class token. The position row of a class token is constant, and so
part of the token here.
"""

from __future__ import annotations

from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.decoder import Decoder
from jaxemb.nn.hf.base import Config, Part, Port, Source, Take, attention, below, dense, norm, patches, pooled
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.pooler import Pooler
from jaxemb.pooling.token import Token
from jaxemb.posemb.learned import Learned

MODEL_TYPES = ("vit", "vit_mae", "ijepa")


def build(config: Config) -> Port:
    config.allow("pooler_act", "tanh")
    width, channels, has_class = config.need("hidden_size"), config.get("num_channels", 3), config.type != "ijepa"
    encoder = Transformer(
        stem=Patches(config.patch(), channels="first", leave_rest=True),
        pos=Learned(shape=config.grid(), extend="bicubic"),
        width=width,
        depth=config.need("num_hidden_layers"),
        blocks=(block(config, config.need("num_attention_heads"), config.need("intermediate_size")),),
        norm=LayerNorm(eps(config)),
        class_token=has_class,
    )
    names: dict[str, Source] = {
        **patches("embeddings.patch_embeddings.projection", width, channels, config.patch()),
        **positions("embeddings.position_embeddings", config.grid(), width, "embeddings.cls_token" if has_class else None),
        **norm("norm", "layernorm"),
    }
    for i in range(encoder.depth):
        names |= below(f"block_{i}", layer(f"encoder.layer.{i}", config, config.need("num_attention_heads"), width))
    # Beside a decoder, whose names have no prefix, those of the encoder have one.
    whole = config.type == "vit_mae" and config.get("architectures", [""]) != ["ViTMAEModel"]
    if whole:
        names = {path: _below(source, "vit.") for path, source in names.items()}
    return Port(
        Part(encoder, names),
        pooled(Token() if has_class else Mean()),
        Part(Pooler(), dense("dense", "pooler.dense")) if config.type == "vit" else None,
        decoder=decoder(config) if whole else None,
        prefixes=("",) if whole else ("", f"{config.type}."),
        ignored=(r"^classifier\.", r"^decoder\.", r"embeddings\.mask_token$"),
    )


def decoder(config: Config) -> Part:
    """What predicts the pixels of hidden patches: `MAE(encoder, decoder, norm_pixels=config["norm_pix_loss"])` is the whole."""
    width, heads = config.need("decoder_hidden_size"), config.need("decoder_num_attention_heads")
    module = Decoder(
        width=width,
        depth=config.need("decoder_num_hidden_layers"),
        blocks=(block(config, heads, config.need("decoder_intermediate_size")),),
        pos=Learned(shape=config.grid(), extend="bicubic"),
        norm=LayerNorm(eps(config)),
        class_row=True,
    )
    names: dict[str, Source] = {
        **dense("embed", "decoder.decoder_embed"),
        "mask_token": Take("decoder.mask_token"),
        "class_row": Take("decoder.decoder_pos_embed", (0, 1), (1, 1, width)),
        "pos/table": Take("decoder.decoder_pos_embed", (1, 1 + config.grid()[0] * config.grid()[1])),
        **norm("pixels/norm", "decoder.decoder_norm"),
        **dense("pixels/out", "decoder.decoder_pred"),
    }
    for i in range(module.depth):
        names |= below(f"pixels/block_{i}", layer(f"decoder.decoder_layers.{i}", config, heads, width))
    return Part(module, names)


def block(config: Config, heads: int, hidden: int) -> Block:
    mlp = FeedForward(hidden=hidden, activation=config.activation("hidden_act"))
    return Block(Attention(heads, bias=config.get("qkv_bias", True), out_bias=True), mlp, LayerNorm(eps(config)))


def eps(config: Config) -> float:
    return config.get("layer_norm_eps", 1e-12)


def layer(theirs: str, config: Config, heads: int, width: int) -> dict[str, Source]:
    """A block's parameters."""
    own = ("attention.query", "attention.key", "attention.value", "output.dense")
    return {
        **norm("norm1", f"{theirs}.layernorm_before"),
        **attention("attention", f"{theirs}.attention", own, heads, width, bias=config.get("qkv_bias", True)),
        **norm("norm2", f"{theirs}.layernorm_after"),
        **dense("mlp/up", f"{theirs}.intermediate.dense"),
        **dense("mlp/down", f"{theirs}.output.dense"),
    }


def positions(table: str, grid: tuple[int, int], width: int, class_token: str | None) -> dict[str, Source]:
    """A table (1, n, width) of the cells of a grid, and in front of them a row of the class token, if there is one."""
    first, cells = int(class_token is not None), grid[0] * grid[1]
    found: dict[str, Source] = {"pos/table": Take(table, (first, first + cells))}
    if class_token is not None:
        found["class_token"] = (Take(class_token, None, (1, 1, width)), Take(table, (0, 1), (1, 1, width)))
    return found


def _below(source: Source, prefix: str) -> Source:
    """The same tensors, whose names begin with `prefix`."""
    if isinstance(source, Take):
        return source._replace(name=prefix + source.name)
    return tuple(t._replace(name=prefix + t.name) for t in source)
