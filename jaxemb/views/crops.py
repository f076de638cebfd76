"""Views that crop, flip and recolour."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, UInt32

from jaxemb.config import ConfigError
from jaxemb.ops.crops import TRIES, check_crops, crop_sides
from jaxemb.types import Paper
from jaxemb.views.base import Views

LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class CropViews(Views):
    """`count` views of every image, in the order crop, flip, brightness, contrast, saturation, grey.

    The augmentations of SimCLR (Chen et al. 2020) as torchvision defines them, without hue and blur, and with the colours in this
    order rather than a random one. Images come normalised by `mean` and `std`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "A Simple Framework for Contrastive Learning of Visual Representations", 2020, "arxiv.org/abs/2002.05709"
    )

    scale: tuple[float, float] = (0.2, 1.0)
    """Smallest and largest share of the area that a crop takes."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width over height; drawn log-uniformly."""
    flip: float = 0.5
    """Chance to exchange left and right; the next two alike."""
    jitter: float = 0.8
    """Of changed colours at all."""
    grey: float = 0.2
    brightness: float = 0.4
    """A factor drawn from [1 - this, 1 + this]; the next two alike."""
    contrast: float = 0.4
    saturation: float = 0.4
    mean: tuple[float, ...] | None = None
    """With `std`, how the images were normalised: colours change pixels in [0, 1]. One for each channel, or one. None: as the
    data of the experiment say; where there are none, images are taken for pixels as they are."""
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crops("views.", self.scale, self.ratio)
        for name in ("flip", "jitter", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"views.{name} is a chance, in [0, 1], not {getattr(self, name)}")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"views.{name} must lie in [0, 1], is {getattr(self, name)}")
        if (self.mean is None) != (self.std is None):
            raise ConfigError("views.mean and views.std go together: give both, or neither")
        if self.mean is not None and self.std is not None and (len(self.mean) != len(self.std) or min(self.std) <= 0):
            raise ConfigError(f"views.std must have as many numbers as mean={self.mean}, all above 0, is {self.std}")

    def view(self, x: Float[Array, "H W c"], seed: UInt32[Array, ""]) -> Float[Array, "h w c"]:
        crop, flip, colours = jax.random.split(jax.random.key(seed), 3)
        x = self._crop(x, crop)
        x = jnp.where(jax.random.bernoulli(flip, self.flip), x[:, ::-1], x)
        return self._recolour(x, colours)

    def _crop(self, x: Array, key: Array) -> Array:
        height, width, c = x.shape
        shape = (height, width) if self.size is None else (self.size, self.size)
        if self.scale == (1.0, 1.0) and self.ratio == (1.0, 1.0) and height == width == shape[0]:
            return x
        top, left, h, w = self.box(key, height, width, x.dtype)
        scale = jnp.stack([shape[0] / h, shape[1] / w])
        shift = -jnp.stack([top, left]) * scale
        return jax.image.scale_and_translate(x, (*shape, c), (0, 1), scale, shift, method="linear")

    def box(self, key: Array, height: int, width: int, dtype: str | np.dtype = "float32") -> tuple[Array, Array, Array, Array]:
        """Top, left, height and width of a crop, real numbers of pixels: the first of ten draws that fits, else as much of the
        last as does."""
        draw, place = jax.random.split(key)
        u, v = jax.random.uniform(draw, (2, TRIES), dtype)
        h, w = crop_sides(jnp, u, v, height, width, self.scale, self.ratio)
        fits = (w <= width) & (h <= height)
        at = jnp.where(fits.any(), fits.argmax(), TRIES - 1)
        w, h = jnp.minimum(w[at], width), jnp.minimum(h[at], height)
        y, x = jax.random.uniform(place, (2,), dtype)
        return y * (height - h), x * (width - w), h, w

    def _recolour(self, x: Array, key: Array) -> Array:
        if self.jitter == 0 and self.grey == 0:
            return x
        mean, std = (jnp.asarray(v, x.dtype)[None, None] for v in self._statistics(x.shape[-1]))
        pixels = x * std + mean
        chance, factors = jax.random.split(key)
        jittered, grey = jax.random.uniform(chance, (2,), x.dtype)
        strengths = jnp.asarray([self.brightness, self.contrast, self.saturation], x.dtype)
        f = 1 + strengths * jax.random.uniform(factors, (3,), x.dtype, -1, 1)
        y = jnp.clip(f[0] * pixels, 0, 1)
        y = _blend(y, luma(y).mean(keepdims=True), f[1])
        y = _blend(y, luma(y), f[2])
        y = jnp.where(jittered < self.jitter, y, pixels)
        y = jnp.where(grey < self.grey, luma(y), y)
        return (y - mean) / std

    def normalised_by(self, mean: tuple[float, ...], std: tuple[float, ...]) -> CropViews:
        return self if self.mean is not None else dataclasses.replace(self, mean=mean, std=std)

    def _statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.mean is None or self.std is None:
            return (0.0,), (1.0,)
        if len(self.mean) in (1, channels):
            return self.mean, self.std
        if channels == 1:  # grey images of a coloured data set, as in ImageData
            return (float(np.mean(self.mean)),), (float(np.mean(self.std)),)
        raise ConfigError(f"views.mean and views.std have {len(self.mean)} numbers, but images {channels} channels")


def luma(x: Float[Array, "H W c"]) -> Float[Array, "H W 1"]:
    """Brightness of a pixel (ITU-R 601); without three channels their mean."""
    if x.shape[-1] != 3:
        return x.mean(-1, keepdims=True)
    return (x * jnp.asarray(LUMA, x.dtype)[None, None]).sum(-1, keepdims=True)


def _blend(x: Array, other: Array, factor: Array) -> Array:
    """`factor` 1 gives x, 0 the other, more than 1 leads away from it; cut to [0, 1]."""
    return jnp.clip(factor * x + (1 - factor) * other, 0, 1)
