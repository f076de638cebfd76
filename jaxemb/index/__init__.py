"""How vectors are kept, and found: exactly, in fewer bytes, or in parts of the corpus alone."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.index.base import Index as Index
    from jaxemb.index.built import Built as Built
    from jaxemb.index.exact import Exact as Exact
else:
    __getattr__, __dir__ = attach(__name__)
