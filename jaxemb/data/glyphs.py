"""Written signs of any number of classes, drawn from a seed: for classification with many labels. Nothing is downloaded."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float32

from jaxemb.config import ConfigError
from jaxemb.data.image_data import ImageData
from jaxemb.data.pipeline import Table

CORNERS = 4
"""Of the lattice on which strokes begin and end, along a side."""
STREAMS = {"train": 0, "test": 1, "valid": 3}
"""2 is that of the signs."""
CHUNK = 512
"""Images drawn at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glyphs(ImageData):
    """Each class is a chain of strokes between random points of a 4 x 4 lattice; its images turn, shear, move and thicken it.

    Arrays: `images`, `labels`. `size` pixels a side, grey by default.
    """

    size: int = 16
    channels: int = 1
    classes: int = 200
    strokes: int = 4
    train_each: int = 20
    """Training images of a class."""
    valid_each: int = 5
    """Drawn apart from the others, as those of the test are."""
    test_each: int = 10
    noise: float = 0.1
    """Standard deviation of the pixel noise; pixels lie in [0, 1]."""
    data_seed: int = 0
    """Of the signs and their images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            min(self.classes, self.strokes, self.train_each, self.valid_each, self.test_each) < 1
            or min(self.noise, self.data_seed) < 0
        ):
            raise ConfigError(
                "Glyphs: classes, strokes, train_each, valid_each and test_each must be at least 1; noise and data_seed at least 0"
            )
        if self.size < 8:
            raise ConfigError(f"Glyphs are drawn on 8 pixels or more, not size={self.size}")

    @property
    def usual_statistics(self):
        return (0.3,) * self.channels, (0.36,) * self.channels

    def examples(self, split: str) -> Table:
        each = {"train": self.train_each, "valid": self.valid_each, "test": self.test_each}[split]
        images, labels = _drawn(self.size, self.classes, self.strokes, each, self.noise, self.data_seed, STREAMS[split])
        return Table(images=np.repeat(images, self.channels, axis=-1), labels=labels)

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        return tuple(f"sign {i}" for i in range(self.classes)) if label == "labels" else ()


@functools.lru_cache(4)
def _drawn(size: int, classes: int, strokes: int, each: int, noise: float, seed: int, stream: int) -> tuple[Any, Any]:
    chains = signs(classes, strokes, np.random.default_rng([seed, 2]))
    labels = np.repeat(np.arange(classes, dtype=np.int32), each)
    rng = np.random.default_rng([seed, stream])
    order = rng.permutation(len(labels))
    labels = labels[order]
    parts = [render(chains[labels[i : i + CHUNK]], size, noise, rng) for i in range(0, len(labels), CHUNK)]
    return np.concatenate(parts), labels


def signs(classes: int, strokes: int, rng: np.random.Generator) -> Float32[np.ndarray, "c p 2"]:
    """The points of each class, in [-1, 1]; none comes twice in a row."""
    at = rng.integers(0, CORNERS**2, (classes, 1))
    for _ in range(strokes):
        step = rng.integers(1, CORNERS**2, (classes, 1))
        at = np.concatenate([at, (at[:, -1:] + step) % CORNERS**2], axis=1)
    return (np.stack([at // CORNERS, at % CORNERS], -1) * (2 / (CORNERS - 1)) - 1).astype(np.float32)


def render(chains: Float32[np.ndarray, "n p 2"], size: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 n H W 1: each chain turned by up to 15 degrees, scaled by .6 to .8 a side, sheared by .2, moved by an eighth."""
    n = len(chains)
    angle, shear = rng.uniform(-0.26, 0.26, n), rng.uniform(-0.2, 0.2, n)
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], 1)
    slant = np.tile(np.eye(2), (n, 1, 1))
    slant[:, 0, 1] = shear
    scale = rng.uniform(0.6, 0.8, (n, 1, 2))
    points = (chains @ (turn @ slant).transpose(0, 2, 1) * scale + rng.uniform(-0.125, 0.125, (n, 1, 2))).astype(np.float32)
    width = rng.uniform(0.06, 0.14, (n, 1, 1)).astype(np.float32)
    line = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    pixels = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    near = np.full((n, size * size), np.inf, np.float32)
    for a, b in zip(points.transpose(1, 0, 2)[:-1], points.transpose(1, 0, 2)[1:], strict=True):
        along = (b - a)[:, None]
        t = ((pixels - a[:, None]) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
        away = pixels - (a[:, None] + np.clip(t, 0, 1)[..., None] * along)
        near = np.minimum(near, np.sqrt((away**2).sum(-1)))
    ink = np.clip(1 - (near.reshape(n, size, size) - width) * (size / 2), 0, 1)
    ink = ink + rng.normal(0, noise, ink.shape)
    return np.rint(np.clip(ink, 0, 1) * 255).astype(np.uint8)[..., None]
