"""Augmentations of one image: small frozen objects, composed in order in the field `augment` of a data set.

Each takes uint8 pixels, the size that the model will see, and a NumPy generator that is fixed by the seed and the place of
the example in the stream; nothing else may decide what comes out.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from jaxemb.config import ConfigError
from jaxemb.data.base import Augment
from jaxemb.ops.crops import TRIES, check_crops, crop_sides
from jaxemb.preprocess.pixels import resize
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class ImageAugment(Augment, abc.ABC):
    """An augmentation of one image."""

    crops: ClassVar[bool] = False
    """True: takes an image of any shape to `size`. Without such a one, images are fitted as for evaluation first."""

    @abc.abstractmethod
    def __call__(self, x: UInt8[np.ndarray, "H W c"], size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "h w c"]:
        """The changed image; `x` itself is never written to."""


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop(ImageAugment):
    """A random part of the image, by area and aspect ratio, resized to the full size (as torchvision's)."""

    paper: ClassVar[Paper | None] = Paper("Going Deeper with Convolutions", 2014, "https://arxiv.org/abs/1409.4842")
    crops: ClassVar[bool] = True

    scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest share of the area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width over height; drawn log-uniformly."""

    def __post_init__(self) -> None:
        check_crops("augment.", self.scale, self.ratio)

    def __call__(self, x, size, rng):
        top, left, height, width = self.box(x.shape[0], x.shape[1], rng)
        return resize(x[top : top + height, left : left + width], size, size)

    def box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part. After ten draws that do not fit: the largest centred one that does."""
        for _ in range(TRIES):
            u = rng.random(4)
            h, w = (round(float(side)) for side in crop_sides(np, u[0], u[1], height, width, self.scale, self.ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1)), h, w
        w = min(width, round(height * self.ratio[1]))
        h = min(height, round(width / self.ratio[0]))
        return (height - h) // 2, (width - w) // 2, h, w


@dataclasses.dataclass(frozen=True)
class PadCrop(ImageAugment):
    """The image moved by a few pixels, its border mirrored: the usual crop of CIFAR."""

    padding: int = 4
    """Pixels of the largest shift."""

    def __call__(self, x, size, rng):
        import cv2

        p = self.padding
        padded = cv2.copyMakeBorder(x, p, p, p, p, cv2.BORDER_REFLECT_101).reshape(x.shape[0] + 2 * p, x.shape[1] + 2 * p, -1)
        top, left = rng.integers(0, 2 * p + 1, 2)
        return padded[top : top + x.shape[0], left : left + x.shape[1]]


@dataclasses.dataclass(frozen=True)
class Flip(ImageAugment):
    """Left and right exchanged."""

    probability: float = 0.5

    def __call__(self, x, size, rng):
        return x[:, ::-1] if rng.random() < self.probability else x


@dataclasses.dataclass(frozen=True)
class ColourJitter(ImageAugment):
    """Brightness, contrast, saturation and hue changed in random order (as torchvision's)."""

    brightness: float = 0.4
    """A factor drawn from [1 - this, 1 + this]; the next two alike."""
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    """The largest turn of the colour circle, as a share of it; at most 0.5."""
    probability: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.hue <= 0.5:
            raise ConfigError(f"hue must lie in [0, 0.5], not {self.hue}")

    def __call__(self, x, size, rng):
        if rng.random() >= self.probability:
            return x
        from PIL import ImageEnhance as E

        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        draws = rng.uniform(-1, 1, 4) * strengths
        image = _pillow(x)
        for k in rng.permutation(4):
            if strengths[k] == 0 or (k == 3 and image.mode == "L"):  # grey has no hue
                continue
            image = _turn_hue(image, draws[3]) if k == 3 else (E.Brightness, E.Contrast, E.Color)[k](image).enhance(1 + draws[k])
        return _pixels(image)


def _turn_hue(image: Any, turn: float) -> Any:
    from PIL import Image

    hsv = np.array(image.convert("HSV"))
    hsv[:, :, 0] += np.uint8(round(turn * 255) % 256)  # wraps around, as it should
    return Image.merge("HSV", [Image.fromarray(np.ascontiguousarray(hsv[:, :, k])) for k in range(3)]).convert("RGB")


@dataclasses.dataclass(frozen=True)
class RandAugment(ImageAugment):
    """`n` operations drawn from the paper's fourteen, all at magnitude `m` of 30, signs at random."""

    paper: ClassVar[Paper | None] = Paper("RandAugment", 2019, "https://arxiv.org/abs/1909.13719")

    n: int = 2
    """Operations an image."""
    m: int = 9
    """Magnitude, 0 (nothing) to 30."""

    def __post_init__(self) -> None:
        if self.n < 0 or not 0 <= self.m <= 30:
            raise ConfigError(f"RandAugment needs n >= 0 and m in [0, 30], not n={self.n}, m={self.m}")

    def __call__(self, x, size, rng):
        image = _pillow(x)
        for k in rng.integers(0, len(OPERATIONS), self.n):
            sign = 1 if rng.random() < 0.5 else -1
            image = OPERATIONS[k](image, self.m / 30, sign)
        return _pixels(image)


def _affine(matrix: Callable[[float, float, int], tuple]) -> Callable:
    def apply(image: Any, strength: float, sign: int) -> Any:
        from PIL import Image

        grey = 128 if image.mode == "L" else (128, 128, 128)  # neither the darkest nor the lightest pixels come from outside
        coefficients = matrix(strength, sign, image.width)
        return image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=grey)

    return apply


def _rotate(image: Any, strength: float, sign: int) -> Any:
    from PIL import Image

    grey = 128 if image.mode == "L" else (128, 128, 128)
    return image.rotate(30 * strength * sign, Image.Resampling.BILINEAR, fillcolor=grey)


def _enhance(name: str) -> Callable:
    def apply(image: Any, strength: float, sign: int) -> Any:
        from PIL import ImageEnhance

        return getattr(ImageEnhance, name)(image).enhance(1 + 0.9 * strength * sign)

    return apply


def _operation(name: str, *argument: Callable[[float], float]) -> Callable:
    def apply(image: Any, strength: float, sign: int) -> Any:
        from PIL import ImageOps

        return getattr(ImageOps, name)(image, *(a(strength) for a in argument))

    return apply


OPERATIONS: tuple[Callable, ...] = (
    lambda image, strength, sign: image,
    _affine(lambda s, sign, w: (1, 0.3 * s * sign, 0, 0, 1, 0)),
    _affine(lambda s, sign, w: (1, 0, 0, 0.3 * s * sign, 1, 0)),
    _affine(lambda s, sign, w: (1, 0, 150 / 331 * s * sign * w, 0, 1, 0)),
    _affine(lambda s, sign, w: (1, 0, 0, 0, 1, 150 / 331 * s * sign * w)),
    _rotate,
    _enhance("Brightness"),
    _enhance("Color"),
    _enhance("Contrast"),
    _enhance("Sharpness"),
    _operation("posterize", lambda s: 8 - round(4 * s)),
    _operation("solarize", lambda s: round(256 * (1 - s))),
    _operation("autocontrast"),
    _operation("equalize"),
)
"""(image, strength in [0, 1], sign) -> image; ranges as in the paper and torchvision."""


def _pillow(x: np.ndarray) -> Any:
    from PIL import Image

    if x.shape[2] not in (1, 3):
        raise ConfigError(f"colour augmentations know images of 1 or 3 channels, not {x.shape[2]}")
    return Image.fromarray(np.ascontiguousarray(x[:, :, 0] if x.shape[2] == 1 else x))


def _pixels(image: Any) -> np.ndarray:
    x = np.asarray(image)
    return x if x.ndim == 3 else x[:, :, None]
