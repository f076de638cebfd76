"""What random crops of the host (`data/augment.py`, uint8 and NumPy) and of the device (`views/crops.py`, JAX) have in common.

No more can be: data workers must not import JAX, and the host's colours are Pillow's, as torchvision has them. The host cuts whole
pixels and falls back to a centred crop, the device cuts at real numbers, whose shapes are fixed, and clips. This module imports no
JAX either.
"""

from __future__ import annotations

import math
from typing import Any

from jaxemb.config import ConfigError

TRIES = 10
"""Draws until a crop fits into the image."""


def check_crops(owner: str, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Raises for shares of the area and aspect ratios that cannot be drawn from."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(f"{owner}scale must be two rising shares in (0, 1], not {scale}")
    if not 0 < ratio[0] <= ratio[1] < math.inf:
        raise ConfigError(f"{owner}ratio must be two rising numbers above 0, not {ratio}")


def crop_sides(
    xp: Any, u: Any, v: Any, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Any, Any]:
    """Height and width of a crop in real pixels, of two uniform numbers in [0, 1): a share of the area drawn uniformly, an
    aspect ratio w / h log-uniformly. `xp` is `numpy` or `jax.numpy`.

        area = H W (s0 + (s1 - s0) u),   r = exp(ln r0 + (ln r1 - ln r0) v),   h = sqrt(area / r),   w = sqrt(area r)
    """
    area = height * width * (scale[0] + (scale[1] - scale[0]) * u)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    r = xp.exp(low + (high - low) * v)
    return xp.sqrt(area / r), xp.sqrt(area * r)
