"""From tokens to one vector."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.pooling.attention import AttentionPool as AttentionPool
    from jaxemb.pooling.base import Pooling as Pooling
    from jaxemb.pooling.gem import GeM as GeM
    from jaxemb.pooling.mean import Mean as Mean
    from jaxemb.pooling.pooler import Pooler as Pooler
    from jaxemb.pooling.token import Token as Token
else:
    __getattr__, __dir__ = attach(__name__)
