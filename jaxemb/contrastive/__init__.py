"""Losses that compare rows with rows; no parameters."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.contrastive.base import ContrastiveLoss as ContrastiveLoss
    from jaxemb.contrastive.info_nce import InfoNCE as InfoNCE
    from jaxemb.contrastive.nt_xent import NTXent as NTXent
    from jaxemb.contrastive.vicreg import VICRegLoss as VICRegLoss
else:
    __getattr__, __dir__ = attach(__name__)
