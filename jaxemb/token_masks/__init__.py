"""Which tokens of a text are hidden and predicted."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.token_masks.base import TokenMasks as TokenMasks
    from jaxemb.token_masks.random_tokens import RandomTokens as RandomTokens
    from jaxemb.token_masks.spans import Spans as Spans
    from jaxemb.token_masks.whole_words import WholeWords as WholeWords
else:
    __getattr__, __dir__ = attach(__name__)
