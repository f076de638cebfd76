"""Members in sizes that compile in a second: what contract tests run where a class's own defaults are large."""

from typing import Any

from jaxemb.layers.cross import CrossBlock
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.projector import Projector
from jaxemb.layers.recurrent_binary import RecurrentBinary
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.decoder import Decoder
from jaxemb.nn.pair_head import PairHead
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.resnet import ResNet
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.binary import BinaryPairs
from jaxemb.objectives.byol import BYOL
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.data2vec import Data2Vec
from jaxemb.objectives.dmt_jepa import DMTJEPA
from jaxemb.objectives.equiangular import Equiangular
from jaxemb.objectives.hard_patches import HardPatches
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.objectives.lejepa import LeJEPA
from jaxemb.objectives.mae import MAE
from jaxemb.objectives.masked_auto_encoding import MaskedAutoEncoding
from jaxemb.objectives.masked_tokens import MaskedTokens, encoder
from jaxemb.objectives.next_token import NextToken, decoder
from jaxemb.objectives.pair_scores import PairScores
from jaxemb.objectives.pairs import Pairs, of_bytes
from jaxemb.objectives.simclr import SimCLR
from jaxemb.objectives.variable_misuse import VariableMisuse
from jaxemb.objectives.vicreg import VICReg
from jaxemb.pooling.chunk_means import ChunkMeans
from jaxemb.pooling.latent_attention import LatentAttention, LatentAttentionPaper
from jaxemb.pooling.trainable import MultiLayer, TrainablePooling
from jaxemb.posemb.disentangled import Disentangled
from jaxemb.posemb.extended import Extended
from jaxemb.posemb.seqpe import SeqPE
from jaxemb.token_masks.random_tokens import RandomTokens
from jaxemb.views.crops import CropViews

PROJECTOR = Projector(widths=(64, 32))
ENCODER = Transformer(width=64, depth=1)
_jepa = {"encoder": ENCODER, "predictor": Predictor(width=32, depth=1), "masks": FixedBlocks()}
_masked = {"encoder": ENCODER, "decoder": Decoder(width=32, depth=1, blocks=(Block(Attention(4)),))}

TINY: dict[type, dict[str, Any]] = {
    ResNet: {"width": 4},
    Transformer: {"stem": Patches(4), "width": 8, "depth": 1, "blocks": (Block(Attention(2)),)},
    BinaryPairs: {"binariser": RecurrentBinary(32, 1, (32,))},
    BYOL: {"encoder": ENCODER, "projector": PROJECTOR, "predictor": PROJECTOR},
    # Drawn at .02 the first targets hold places and hardly an image, and the loss grows with what they come to hold.
    Data2Vec: {
        "encoder": Transformer(
            stem=Patches(8, kernel_init="xavier"),
            width=64,
            depth=2,
            blocks=(Block(Attention(4, kernel_init="xavier"), FeedForward(kernel_init="xavier")),),
        ),
        "target_layers": 2,
    },
    Classify: {"encoder": ENCODER},
    DMTJEPA: _jepa,
    Equiangular: {"encoder": ENCODER},
    HardPatches: _masked,
    IJEPA: _jepa,
    LeJEPA: {"encoder": ENCODER, "projector": PROJECTOR, "views": CropViews(count=2), "slices": 64},
    MAE: _masked,
    MaskedAutoEncoding: {
        "encoder": encoder(stem=Tokens(17), width=32, depth=1, blocks=(Block(Attention(2)),)),
        "mask": 16,
        "sizes": ((1, 8), (1, 32)),
        "masks": RandomTokens(0.2),
    },
    MaskedTokens: {"encoder": encoder(stem=Tokens(17), width=32, depth=1, blocks=(Block(Attention(2)),)), "mask": 16},
    NextToken: {"encoder": decoder(stem=Tokens(16), width=32, depth=1, blocks=(Block(Attention(2)),))},
    Pairs: {"encoder": of_bytes(stem=Tokens(16), width=32, depth=1, blocks=(Block(Attention(2)),))},
    PairScores: {
        "encoder": of_bytes(stem=Tokens(16), width=32, depth=1, blocks=(Block(Attention(2)),)),
        "head": PairHead(1, 64),
        "alpha": 0.0,
    },
    SimCLR: {"encoder": ENCODER, "projector": PROJECTOR},
    VariableMisuse: {"encoder": encoder(stem=Tokens(17), width=32, depth=1, blocks=(Block(Attention(2)),))},
    VICReg: {"encoder": ENCODER, "projector": PROJECTOR},
    ChunkMeans: {"chunks": 3},
    LatentAttention: {"latents": 4, "block": CrossBlock(2)},
    LatentAttentionPaper: {"latents": 4, "heads": 2},
    MultiLayer: {"latents": 4, "block": CrossBlock(2)},
    TrainablePooling: {"latents": 4, "block": CrossBlock(2)},
    Disentangled: {"span": 4, "longest": 9},
    Extended: {"original": 8},
    SeqPE: {"width": 16, "heads": 2, "depth": 1, "limit": 12, "pivots": 2, "candidates": 3, "windows": 2, "samples": 3},
}


def tiny(cls: type, **fields: Any) -> Any:
    """A small member of this class."""
    return cls(**TINY.get(cls, {}) | fields)
