"""Scenes drawn from a seed: one textured, coloured shape on a disturbed background. No download."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from jaxemb.config import ConfigError, suggest
from jaxemb.data.pipeline import ImageData, Source

FACTORS: dict[str, tuple[str, ...]] = {
    "shape": ("disc", "square", "triangle", "cross", "ring", "bar"),
    "texture": ("plain", "stripes", "checks", "dots", "rings"),
    "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"),
    "position": tuple(f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right")),
    "size": ("small", "medium", "large"),
}
HUES = np.array([0, 30, 60, 120, 180, 225, 275, 325]) / 360


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes(ImageData):
    """Every factor of a scene is a label of its own: shape, texture, colour, position, size.

    Nuisances: turn, place within the cell, hue and brightness within the name, phase of the texture, a background of another
    hue with gradient and clouds, lighting, noise of every pixel. Train and test scenes are drawn from different seeds.
    """

    label: str = "shape"
    """Which factor also stands under `labels`."""
    train: int = 20_000
    test: int = 2_000
    noise: float = 0.08
    """Standard deviation of the noise of a pixel, in units of full brightness."""
    draw_seed: int = 0
    mean: tuple[float, ...] = (0.45, 0.45, 0.45)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label not in FACTORS:
            raise ConfigError(f"label={self.label!r}{suggest(self.label, FACTORS)}")
        if self.channels != 3 or min(self.train, self.test) < 1:
            raise ConfigError(
                f"Shapes has 3 channels and at least one scene a split, not {self.channels}, {self.train}, {self.test}"
            )

    @property
    def label_keys(self) -> tuple[str, ...]:
        return ("labels", *FACTORS)

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        return FACTORS[self.label if label == "labels" else label]

    def open(self, split: str) -> Source:
        count = self.train if split == "train" else self.test
        source = _scenes(count, self.size, self.noise, self.draw_seed, split)
        return Source(source.images, {"labels": source.labels[self.label], **source.labels})


@functools.lru_cache(maxsize=4)
def _scenes(count: int, size: int, noise: float, seed: int, split: str) -> Source:
    rng = np.random.default_rng([seed, ("train", "test").index(split)])
    labels = {k: rng.integers(len(v), size=count).astype(np.int32) for k, v in FACTORS.items()}
    images = np.empty((count, size, size, 3), np.uint8)
    for start in range(0, count, 500):  # in pieces that stay in the cache
        part = slice(start, start + 500)
        images[part] = draw({k: v[part] for k, v in labels.items()}, size, noise, rng)
    return Source(images, labels)


def draw(labels: dict[str, np.ndarray], size: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Scenes (b size size 3, uint8) with these factors."""
    b = len(labels["shape"])

    def each(x: np.ndarray) -> np.ndarray:
        return np.asarray(x, np.float32)[:, None, None]

    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size  # pixel centres in [0, 1]
    radius = each(np.array([0.17, 0.23, 0.3])[labels["size"]] * rng.uniform(0.92, 1.08, b))
    cell = np.stack([labels["position"] // 3, labels["position"] % 3])
    centre = 0.3 + 0.2 * cell + rng.uniform(-0.05, 0.05, (2, b))
    turn = each(rng.uniform(0, 2 * np.pi, b))
    u, v = x[None] - each(centre[1]), y[None] - each(centre[0])
    u, v = (u * np.cos(turn) + v * np.sin(turn)) / radius, (v * np.cos(turn) - u * np.sin(turn)) / radius
    inside = _inside(labels["shape"], u, v, each)[..., None]
    phase = [each(rng.uniform(0, 2 * np.pi, b)) for _ in range(2)]
    light = 0.45 + 0.55 * _texture(labels["texture"], u * radius, v * radius, phase, each)
    hue = HUES[labels["colour"]] + rng.uniform(-0.025, 0.025, b)
    colour = _rgb(hue, rng.uniform(0.65, 1.0, b), rng.uniform(0.75, 1.0, b))[:, None, None, :]
    scene = inside * colour * light[..., None] + (1 - inside) * _background(b, x, y, rng)
    scene = scene * each(rng.uniform(0.7, 1.1, b))[..., None] + rng.normal(0, noise, scene.shape).astype(np.float32)
    return np.round(255 * np.clip(scene, 0, 1)).astype(np.uint8)


def _inside(shape: np.ndarray, u: np.ndarray, v: np.ndarray, each) -> np.ndarray:  # noqa: ANN001
    """How much of each pixel the shape covers, by a soft edge on a signed distance."""
    a, c, r = np.abs(u), np.abs(v), np.hypot(u, v)
    distance = [
        r - 0.9,
        np.maximum(a, c) - 0.8,
        np.maximum(np.maximum(0.866 * u + 0.5 * v, -0.866 * u + 0.5 * v), -v) - 0.55,
        np.minimum(np.maximum(a - 1.0, c - 0.33), np.maximum(c - 1.0, a - 0.33)),
        np.abs(r - 0.72) - 0.26,
        np.maximum(a - 1.15, c - 0.4),
    ]
    chosen = np.choose(np.broadcast_to(shape[:, None, None], u.shape), distance)
    return 1 / (1 + np.exp(np.clip(chosen * 14, -30, 30)))


def _texture(texture: np.ndarray, u: np.ndarray, v: np.ndarray, phase: list, each) -> np.ndarray:  # noqa: ANN001
    """Light in [0, 1]; one period is a sixth of the image."""
    p, q = 38 * u + phase[0], 38 * v + phase[1]
    kinds = [
        np.ones_like(u),
        np.sin(p),
        np.sin(0.7 * p) * np.sin(0.7 * q),
        np.cos(p) + np.cos(q) - 0.6,
        np.sin(38 * np.hypot(u, v) + phase[0]),
    ]
    wave = np.choose(np.broadcast_to(texture[:, None, None], u.shape), kinds)
    return 1 / (1 + np.exp(np.clip(-8 * wave, -30, 30)))


def _background(b: int, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A dull colour of any hue, with a gradient and clouds."""
    base = _rgb(rng.random(b), rng.uniform(0.1, 0.5, b), rng.uniform(0.25, 0.75, b))[:, None, None, :]
    slope = rng.uniform(-0.3, 0.3, (2, b, 1, 1)).astype(np.float32)
    light = slope[0] * (x[None] - 0.5) + slope[1] * (y[None] - 0.5)
    for frequency in (1, 2, 3):
        a, c, phase = rng.uniform(0, 2 * np.pi, (3, b, 1, 1)).astype(np.float32)
        light = light + 0.06 * np.sin(2 * np.pi * frequency * (np.cos(a) * x[None] + np.sin(a) * y[None]) + phase) * np.cos(c)
    return base + light[..., None]


def _rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """HSV in [0, 1] to RGB."""
    k = (np.array([5, 3, 1])[None] + hue[:, None] * 6) % 6
    return (value[:, None] * (1 - saturation[:, None] * np.clip(np.minimum(k, 4 - k), 0, 1))).astype(np.float32)
