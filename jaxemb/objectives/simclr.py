"""SimCLR: find the other view of an image among all views of the batch."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.contrastive.nt_xent import NTXent
from jaxemb.layers.projector import Projector
from jaxemb.objectives.two_views import _Pair
from jaxemb.types import Paper


class SimCLR(_Pair):
    """Contrastive learning of two views after the projector, with NT-Xent (Chen et al., ICML 2020; see `contrastive/nt_xent.py`).

    All other views of the global batch are negatives; the larger it is the better, see `pieces`. Views here have no blur or hue,
    see `CropViews`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "A Simple Framework for Contrastive Learning of Visual Representations", 2020, "arxiv.org/abs/2002.05709"
    )

    projector: Projector = field(default_factory=lambda: Projector((2048, 128)))
    contrast: ContrastiveLoss = NTXent()
