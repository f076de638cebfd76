"""VICReg: views agree, features vary, and no two features say the same."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.contrastive.vicreg import VICRegLoss
from jaxemb.layers.projector import Projector
from jaxemb.objectives.two_views import _Pair
from jaxemb.types import Paper


class VICReg(_Pair):
    """Variance-invariance-covariance regularisation of two views after the projector (Bardes et al., ICLR 2022; see
    `contrastive/vicreg.py`).

    No negatives and no average: three terms of the batch keep embeddings from collapse. Views here have no blur, hue or
    solarisation, see `CropViews`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", 2022, "arxiv.org/abs/2105.04906"
    )

    projector: Projector = field(default_factory=lambda: Projector((8192, 8192, 8192)))
    contrast: ContrastiveLoss = VICRegLoss()
