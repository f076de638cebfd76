"""Modules with parameters."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.nn.aggregation import Aggregation as Aggregation
    from jaxemb.nn.aggregation import ClassBlock as ClassBlock
    from jaxemb.nn.attention import Attention as Attention
    from jaxemb.nn.attention import DisentangledAttention as DisentangledAttention
    from jaxemb.nn.base import Encoder as Encoder
    from jaxemb.nn.base import Stem as Stem
    from jaxemb.nn.block import Block as Block
    from jaxemb.nn.block import Layers as Layers
    from jaxemb.nn.block import Period as Period
    from jaxemb.nn.cnn import CNN as CNN
    from jaxemb.nn.decoder import Branch as Branch
    from jaxemb.nn.decoder import Decoder as Decoder
    from jaxemb.nn.fusion import LayerAttention as LayerAttention
    from jaxemb.nn.fusion import SourcePath as SourcePath
    from jaxemb.nn.fusion import SurfaceFusion as SurfaceFusion
    from jaxemb.nn.lora import LoRA as LoRA
    from jaxemb.nn.mlp import MLP as MLP
    from jaxemb.nn.pair_head import PairHead as PairHead
    from jaxemb.nn.pooled import Pooled as Pooled
    from jaxemb.nn.predictor import Predictor as Predictor
    from jaxemb.nn.presets import micro as micro
    from jaxemb.nn.presets import vit as vit
    from jaxemb.nn.presets import vit_b as vit_b
    from jaxemb.nn.presets import vit_g as vit_g
    from jaxemb.nn.presets import vit_h as vit_h
    from jaxemb.nn.presets import vit_l as vit_l
    from jaxemb.nn.presets import vit_s as vit_s
    from jaxemb.nn.presets import vit_ti as vit_ti
    from jaxemb.nn.resnet import ResNet as ResNet
    from jaxemb.nn.stem import CutPatches as CutPatches
    from jaxemb.nn.stem import Patches as Patches
    from jaxemb.nn.stem import Tokens as Tokens
    from jaxemb.nn.towers import TwoTowers as TwoTowers
    from jaxemb.nn.transformer import Transformer as Transformer
else:
    __getattr__, __dir__ = attach(__name__)
