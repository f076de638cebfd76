"""Random views of images, made on the device."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.views.base import Views as Views
    from jaxemb.views.crops import CropViews as CropViews
else:
    __getattr__, __dir__ = attach(__name__)
