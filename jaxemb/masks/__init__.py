"""Which patches are seen and which are predicted: samplers for masked prediction."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.masks.base import Masks as Masks
    from jaxemb.masks.blockwise import Blockwise as Blockwise
    from jaxemb.masks.fixed_blocks import FixedBlocks as FixedBlocks
    from jaxemb.masks.multi_block import MultiBlock as MultiBlock
    from jaxemb.masks.random_patches import RandomPatches as RandomPatches
else:
    __getattr__, __dir__ = attach(__name__)
