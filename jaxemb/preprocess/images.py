"""Images in any form as normalised arrays of one size."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import ArraySpec, Items, Preprocess, Spec
from jaxemb.preprocess.image_files import read_images
from jaxemb.preprocess.pixels import IMAGENET, fit, normalise, to_pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagePreprocess(Preprocess):
    """The shorter side brought to `size`, the centre cut out, channels normalised: (x / 255 - mean) / std.

    An item is a file name, a Pillow image, or an array H W c, uint8 or floats in [0, 1]. One array: `images` (size size c).
    """

    size: int
    """Height and width in pixels that the model sees."""
    channels: int = 3
    """1 (grey) or 3 (colour); images of the other kind are converted."""
    mean: tuple[float, ...] = IMAGENET[0]
    """A channel each, of pixels in [0, 1]."""
    std: tuple[float, ...] = IMAGENET[1]

    def __post_init__(self) -> None:
        if self.size < 1 or self.channels < 1:
            raise ConfigError(f"size and channels must be at least 1, not {self.size} and {self.channels}")
        if not len(self.mean) == len(self.std) == self.channels or not all(0 < s < np.inf for s in self.std):
            raise ConfigError(
                f"mean and std need a number for each of the channels={self.channels}, std above 0, not {self.mean} and {self.std}"
            )

    @property
    def spec(self) -> Spec:
        return {"images": ArraySpec((self.size, self.size, self.channels))}

    def __call__(self, items: Items, role: str = "document") -> dict[str, np.ndarray]:
        if not len(items):
            return {"images": np.zeros((0, self.size, self.size, self.channels), np.float32)}
        with ThreadPoolExecutor(4) as pool:  # decoding and resizing release the interpreter lock
            pixels = list(pool.map(lambda item: fit(to_pixels(item, self.channels, self.size), self.size), items))
        return {"images": self.normalised(np.stack(pixels))}

    def read(self, path: Path) -> tuple[Any, list[str]]:
        """The images of a folder at any depth, an image, an .npy, or `images` of an .npz."""
        return read_images(path, self.channels, self.size)

    def normalised(self, x: UInt8[np.ndarray, "*b H W c"]) -> Float32[np.ndarray, "*b H W c"]:
        """Fitted pixels as the model sees them."""
        return normalise(x, self.mean, self.std)

    def pixels(self, x: Float32[np.ndarray, "*b H W c"]) -> Float32[np.ndarray, "*b H W c"]:
        """The reverse of `normalised`, in [0, 1]: for pictures."""
        return x * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32)
