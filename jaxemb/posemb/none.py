"""No positional embedding: the control of every comparison."""

from __future__ import annotations

from jaxemb.posemb.base import PosEmb


class NoPos(PosEmb):
    """Leaves everything as it is: attention sees a set of tokens."""
