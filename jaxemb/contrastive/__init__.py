"""Losses that compare rows with rows; they hold no parameters."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.contrastive.adaptive_layer import AdaptiveLayer as AdaptiveLayer
    from jaxemb.contrastive.alignment_uniformity import AlignmentUniformity as AlignmentUniformity
    from jaxemb.contrastive.angle import AnglE as AnglE
    from jaxemb.contrastive.base import ContrastiveLoss as ContrastiveLoss
    from jaxemb.contrastive.by_task import ByTask as ByTask
    from jaxemb.contrastive.class_nce import ClassNCE as ClassNCE
    from jaxemb.contrastive.cosent import CoSENT as CoSENT
    from jaxemb.contrastive.cosine_mse import CosineMSE as CosineMSE
    from jaxemb.contrastive.distill_kl import DistillKL as DistillKL
    from jaxemb.contrastive.gist import GIST as GIST
    from jaxemb.contrastive.global_orthogonal import GlobalOrthogonal as GlobalOrthogonal
    from jaxemb.contrastive.hadsell import Hadsell as Hadsell
    from jaxemb.contrastive.hadsell import OnlineContrastive as OnlineContrastive
    from jaxemb.contrastive.hinge import Hinge as Hinge
    from jaxemb.contrastive.hiprbert import HiPrBERT as HiPrBERT
    from jaxemb.contrastive.info_nce import InfoNCE as InfoNCE
    from jaxemb.contrastive.kalm import KaLM as KaLM
    from jaxemb.contrastive.labelled_triplets import LabelledTriplets as LabelledTriplets
    from jaxemb.contrastive.margin_mse import MarginMSE as MarginMSE
    from jaxemb.contrastive.matryoshka import Matryoshka as Matryoshka
    from jaxemb.contrastive.matryoshka_2d import Matryoshka2D as Matryoshka2D
    from jaxemb.contrastive.mega_batch import MegaBatchMargin as MegaBatchMargin
    from jaxemb.contrastive.multi_positive import MultiPositive as MultiPositive
    from jaxemb.contrastive.multi_similarity import MultiSimilarity as MultiSimilarity
    from jaxemb.contrastive.nt_xent import NTXent as NTXent
    from jaxemb.contrastive.sigmoid import Sigmoid as Sigmoid
    from jaxemb.contrastive.sim_cse import SimCSE as SimCSE
    from jaxemb.contrastive.similarity_matching import SimilarityMatching as SimilarityMatching
    from jaxemb.contrastive.starbucks import Starbucks as Starbucks
    from jaxemb.contrastive.triplet import Triplet as Triplet
    from jaxemb.contrastive.vicreg import VICRegLoss as VICRegLoss
    from jaxemb.contrastive.weighted_sum import WeightedSum as WeightedSum
else:
    __getattr__, __dir__ = attach(__name__)
