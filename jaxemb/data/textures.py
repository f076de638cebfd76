"""Scenes of textured regions drawn from a seed, with the texture of every pixel: for dense evaluation. Nothing is downloaded."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from jaxemb.config import ConfigError
from jaxemb.data.image_data import ImageData
from jaxemb.data.pipeline import SCENES, Table
from jaxemb.data.split import Split

ANGLES, PERIODS = 4, 2
TEXTURES = tuple(f"{45 * a} degrees, {name}" for a in range(ANGLES) for name in ("fine", "coarse"))
CHUNK = 64
"""Images drawn at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Textures(ImageData):
    """Voronoi cells, each filled with one of eight gratings (four angles, two periods) of random phase, contrast and colours.

    Colours say nothing about a texture: only structure within a patch does. Arrays: `images`; `labels`, the number of regions less
    two; and from `split` alone, where no augmentation moves the pixels, `regions` (H W), the texture of every pixel.
    """

    count_train: int = 10_000
    count_valid: int = 1_000
    count_test: int = 2_000
    regions: tuple[int, int] = (2, 4)
    """Fewest and most regions of an image."""
    noise: float = 0.05
    """Standard deviation of the pixel noise; pixels lie in [0, 1]. At .25 it drowns the gratings in single patches of 4 x 4."""
    data_seed: int = 0
    """Of the scenes. The scenes of each split come from a stream of their own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels != 3 or self.size < 8:
            raise ConfigError(f"Textures are drawn in colour on 8 pixels or more, not channels={self.channels}, size={self.size}")
        if not 1 <= self.regions[0] <= self.regions[1]:
            raise ConfigError(f"regions must be (fewest, most) with 1 <= fewest <= most, not {self.regions}")
        if min(self.count_train, self.count_valid, self.count_test) < 1 or min(self.noise, self.data_seed) < 0:
            raise ConfigError("count_train, count_valid and count_test must be at least 1; noise and data_seed at least 0")

    @property
    def usual_statistics(self):
        return (0.5, 0.5, 0.5), (0.23, 0.23, 0.23)

    def examples(self, split: str) -> Table:
        images, labels, _ = self._drawn(split)
        return Table(images=images, labels=labels)

    def split(self, name: str) -> Split:
        rows, maps = super().split(name), self._drawn(name)[2]
        labels = self.examples(name).labels
        return Split(lambda ids: {**rows[ids], "regions": maps[ids]}, len(rows), lambda ids: {**labels(ids), "regions": maps[ids]})

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        if label == "regions":
            return TEXTURES
        return tuple(f"{n} regions" for n in range(self.regions[0], self.regions[1] + 1)) if label == "labels" else ()

    def _drawn(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = {"train": self.count_train, "valid": self.count_valid, "test": self.count_test}[split]
        return _scenes(self.size, count, (self.data_seed, SCENES.index(split)), self.regions, self.noise)


@functools.lru_cache(4)
def _scenes(size: int, count: int, seed: tuple[int, int], regions: tuple[int, int], noise: float) -> tuple[Any, Any, Any]:
    parts = [draw(CHUNK, size, np.random.default_rng([*seed, i]), regions, noise) for i in range(-(-count // CHUNK))]
    images, labels, maps = (np.concatenate(column)[:count] for column in zip(*parts, strict=True))
    return images, labels, maps


def draw(
    count: int, size: int, rng: np.random.Generator, regions: tuple[int, int], noise: float
) -> tuple[np.ndarray, Int[np.ndarray, " n"], Int[np.ndarray, "n H W"]]:
    """`count` scenes: images uint8 n H W 3, the number of regions less the fewest, and the texture of every pixel."""
    most = regions[1]
    number = rng.integers(regions[0], most + 1, count).astype(np.int32)
    y, x = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32), indexing="ij")
    centres = rng.random((count, most, 2), np.float32) * size
    apart = (y - centres[:, :, 0, None, None]) ** 2 + (x - centres[:, :, 1, None, None]) ** 2
    apart[np.arange(most)[None] >= number[:, None]] = np.inf
    cell = apart.argmin(1)  # n H W
    texture = rng.integers(0, ANGLES * PERIODS, (count, most)).astype(np.int32)
    waves = _gratings(x, y, texture, rng)
    first, second = (rng.random((count, most, 3), np.float32) for _ in range(2))
    contrast = rng.uniform(0.4, 1.0, (count, most, 1)).astype(np.float32)
    middle, half = (first + second) / 2, (first - second) / 2
    half = np.where(np.abs(half).max(-1, keepdims=True) < 0.15, np.sign(half + 1e-6) * 0.15, half) * contrast  # never flat
    colours = middle[..., None, None] + half[..., None, None] * waves[:, :, None]  # n m 3 H W
    image = np.take_along_axis(colours, cell[:, None, None].repeat(3, 2), axis=1)[:, 0]
    image = image + rng.normal(0, noise, image.shape).astype(np.float32)
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return (
        np.ascontiguousarray(pixels),
        number - regions[0],
        np.take_along_axis(texture, cell.reshape(count, -1), 1).reshape(cell.shape),
    )


def _gratings(x, y, texture: Int[np.ndarray, "n m"], rng: np.random.Generator) -> Float32[np.ndarray, "n m H W"]:
    """Waves in [-1, 1]: textures 0, 1 at 0 degrees, fine and coarse; 2, 3 at 45; and so on."""
    angle = (texture // PERIODS) * np.float32(np.pi / ANGLES)
    wave = np.float32(2 * np.pi) / np.where(texture % PERIODS == 0, np.float32(3.0), np.float32(6.0))
    across = x * np.cos(angle)[..., None, None] + y * np.sin(angle)[..., None, None]
    phase = rng.uniform(0, 2 * np.pi, texture.shape).astype(np.float32)
    return np.sin(across * wave[..., None, None] + phase[..., None, None]).astype(np.float32)
