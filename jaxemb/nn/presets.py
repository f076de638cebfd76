"""The published sizes of vision transformers, as plain functions. Any field can be given by name: vit_s(16, scan=True)."""

from __future__ import annotations

from typing import Any

from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer


def vit(width: int, depth: int, heads: int, patch: int, fields: dict[str, Any]) -> Transformer:
    return Transformer(**{"stem": Patches(patch), "width": width, "depth": depth, "blocks": (Block(Attention(heads)),)} | fields)


def micro(patch: int = 8, **fields: Any) -> Transformer:
    """0.8 M parameters: 32 px images on a laptop CPU."""
    return vit(128, 4, 4, patch, fields)


def vit_ti(patch: int = 16, **fields: Any) -> Transformer:
    """5.5 M parameters at patch 16 (Touvron et al. 2021)."""
    return vit(192, 12, 3, patch, fields)


def vit_s(patch: int = 16, **fields: Any) -> Transformer:
    """21.7 M (Touvron et al. 2021)."""
    return vit(384, 12, 6, patch, fields)


def vit_b(patch: int = 16, **fields: Any) -> Transformer:
    """85.6 M (Dosovitskiy et al. 2021)."""
    return vit(768, 12, 12, patch, fields)


def vit_l(patch: int = 16, **fields: Any) -> Transformer:
    """303 M (Dosovitskiy et al. 2021)."""
    return vit(1024, 24, 16, patch, fields)


def vit_h(patch: int = 14, **fields: Any) -> Transformer:
    """631 M (Dosovitskiy et al. 2021)."""
    return vit(1280, 32, 16, patch, fields)


def vit_g(patch: int = 16, **fields: Any) -> Transformer:
    """1011 M (Zhai et al. 2022)."""
    block = Block(Attention(16), FeedForward(hidden=6144))
    return vit(1408, 40, 16, patch, {"blocks": (block,)} | fields)


PRESETS = {f.__name__: f for f in (micro, vit_ti, vit_s, vit_b, vit_l, vit_h, vit_g)}
"""By name, for the command line of benchmarks."""
