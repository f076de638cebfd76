"""Losses that compare rows with rows; they hold no parameters."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.contrastive.adaptive_layer import AdaptiveLayer as AdaptiveLayer
    from jaxemb.contrastive.base import ContrastiveLoss as ContrastiveLoss
    from jaxemb.contrastive.class_nce import ClassNCE as ClassNCE
    from jaxemb.contrastive.gist import GIST as GIST
    from jaxemb.contrastive.info_nce import InfoNCE as InfoNCE
    from jaxemb.contrastive.kalm import KaLM as KaLM
    from jaxemb.contrastive.matryoshka import Matryoshka as Matryoshka
    from jaxemb.contrastive.matryoshka_2d import Matryoshka2D as Matryoshka2D
    from jaxemb.contrastive.nt_xent import NTXent as NTXent
    from jaxemb.contrastive.sigmoid import Sigmoid as Sigmoid
    from jaxemb.contrastive.sim_cse import SimCSE as SimCSE
    from jaxemb.contrastive.starbucks import Starbucks as Starbucks
    from jaxemb.contrastive.vicreg import VICRegLoss as VICRegLoss
else:
    __getattr__, __dir__ = attach(__name__)
