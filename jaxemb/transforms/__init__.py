"""Maps of embeddings that are fitted in closed form."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.transforms.base import Transform as Transform
    from jaxemb.transforms.whitening import Whitening as Whitening
else:
    __getattr__, __dir__ = attach(__name__)
