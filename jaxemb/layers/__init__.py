"""Modules that know nothing of positions or encoders."""

from jaxemb.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
