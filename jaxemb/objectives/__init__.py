"""Training objectives."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.objectives.base import Objective as Objective
    from jaxemb.objectives.binary import BinaryPairs as BinaryPairs
    from jaxemb.objectives.byol import BYOL as BYOL
    from jaxemb.objectives.classify import Classify as Classify
    from jaxemb.objectives.contrastive import Contrastive as Contrastive
    from jaxemb.objectives.data2vec import Data2Vec as Data2Vec
    from jaxemb.objectives.dmt_jepa import DMTJEPA as DMTJEPA
    from jaxemb.objectives.equiangular import Equiangular as Equiangular
    from jaxemb.objectives.hard_patches import HardPatches as HardPatches
    from jaxemb.objectives.ijepa import IJEPA as IJEPA
    from jaxemb.objectives.lejepa import LeJEPA as LeJEPA
    from jaxemb.objectives.mae import MAE as MAE
    from jaxemb.objectives.masked_auto_encoding import MaskedAutoEncoding as MaskedAutoEncoding
    from jaxemb.objectives.masked_auto_encoding import TextDecoder as TextDecoder
    from jaxemb.objectives.masked_tokens import MaskedTokens as MaskedTokens
    from jaxemb.objectives.next_token import NextToken as NextToken
    from jaxemb.objectives.pair_scores import PairScores as PairScores
    from jaxemb.objectives.pairs import Pairs as Pairs
    from jaxemb.objectives.simclr import SimCLR as SimCLR
    from jaxemb.objectives.variable_misuse import VariableMisuse as VariableMisuse
    from jaxemb.objectives.vicreg import VICReg as VICReg
else:
    __getattr__, __dir__ = attach(__name__)
