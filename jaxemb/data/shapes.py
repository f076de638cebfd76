"""Scenes drawn from a seed: one textured, coloured shape on a busy background. Nothing is downloaded."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Float32

from jaxemb.config import ConfigError, suggest
from jaxemb.data.image_data import ImageData
from jaxemb.data.pipeline import SCENES, Table

FACTORS = {
    "shape": ("disc", "square", "triangle", "cross", "ring", "star"),
    "texture": ("plain", "stripes", "checks", "dots", "circles"),
    "colour": ("red", "yellow", "green", "cyan", "blue", "magenta"),
    "position": tuple(f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right")),
    "size": ("small", "medium", "large"),
}
CHUNK = 32
"""Images drawn at once: the temporaries stay in the cache of the processor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes(ImageData):
    """Procedural scenes with five independent factors: shape, texture, colour, position (3 x 3 cells) and size.

    Everything else is nuisance, drawn anew for every image: rotation, place within the cell, period and direction of the
    texture, shade of the colour, a background with a colour and texture of its own, distractors, lighting, noise.
    """

    label: str = "shape"
    """The factor that becomes `labels`; every factor also stands under its own name."""
    count_train: int = 20_000
    count_valid: int = 2_000
    count_test: int = 4_000
    data_seed: int = 0
    """Of the scenes; another one gives other images of the same kind. The scenes of each split come from a stream of their own."""
    noise: float = 0.06
    """Standard deviation of the pixel noise; pixels lie in [0, 1]."""
    clutter: float = 1.0
    """Strength of background texture, distractors and lighting: 0 gives evenly lit shapes on plain ground."""
    ground: float = 1.0
    """Spread of the ground's colours, from one scene to another: 0 gives the same grey in all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label not in FACTORS:
            raise ConfigError(f"label: there is no factor {self.label!r}{suggest(self.label, FACTORS)}")
        if self.channels != 3 or self.size < 16:
            raise ConfigError(f"Shapes are drawn in colour on 16 pixels or more, not channels={self.channels}, size={self.size}")
        if (
            min(self.count_train, self.count_valid, self.count_test) < 1
            or min(self.noise, self.clutter, self.ground, self.data_seed) < 0
        ):
            raise ConfigError(
                "count_train, count_valid and count_test must be at least 1; noise, clutter, ground and data_seed at least 0"
            )

    @property
    def label_keys(self) -> tuple[str, ...]:
        return ("labels", *FACTORS)

    @property
    def usual_statistics(self):
        return (0.39, 0.39, 0.39), (0.214, 0.214, 0.214)

    def examples(self, split: str) -> Table:
        count = {"train": self.count_train, "valid": self.count_valid, "test": self.count_test}[split]
        columns = _scenes(self.size, count, (self.data_seed, SCENES.index(split)), self.noise, self.clutter, self.ground)
        return Table(**columns, labels=columns[self.label])

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        return FACTORS.get(self.label if label == "labels" else label, ())


@functools.lru_cache(4)
def _scenes(size: int, count: int, seed: tuple[int, int], noise: float, clutter: float, ground: float) -> dict[str, np.ndarray]:
    parts = []
    for chunk, start in enumerate(range(0, count, CHUNK)):
        rng = np.random.default_rng([*seed, chunk])
        parts.append(draw(CHUNK, size, rng, noise, clutter, ground))
        parts[-1] = {k: v[: count - start] for k, v in parts[-1].items()}  # whole chunks: a longer set begins with a shorter one
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def draw(
    count: int, size: int, rng: np.random.Generator, noise: float, clutter: float, ground: float = 1.0
) -> dict[str, np.ndarray]:
    """`count` scenes: `images` uint8 n H W 3, and the factors as int32. Inside, pixels are one flat axis p."""
    factors = {k: rng.integers(0, len(names), count).astype(np.int32) for k, names in FACTORS.items()}
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    y, x = (np.tile(g.reshape(1, -1), (count, 1)) for g in np.meshgrid(grid, grid, indexing="ij"))
    image = _ground(x, y, rng, clutter, ground)
    row, column = np.divmod(factors["position"], 3)
    centre_y, centre_x = (0.3 + 0.2 * cell + _uniform(rng, -0.085, 0.085, count) for cell in (row, column))
    radius = (0.15 + 0.055 * factors["size"]) * _uniform(rng, 0.93, 1.07, count)
    u, v = _turn((x - _each(centre_x)) / _each(radius), (y - _each(centre_y)) / _each(radius), rng)
    cover = np.clip(0.5 - _distance(u, v, factors["shape"]) * _each(radius * size), 0, 1)  # smooth edges, one pixel wide
    pattern = _pattern(u * _each(radius), v * _each(radius), factors["texture"], rng)
    hue = (factors["colour"] + _uniform(rng, -0.25, 0.25, count)) / len(FACTORS["colour"])
    colour = _rgb(hue, _uniform(rng, 0.45, 0.9, count), _uniform(rng, 0.45, 0.95, count))
    shade = 1 + _each(_uniform(rng, 0.3, 0.5, count)) * pattern
    _paint(image, cover, colour, shade)
    image *= _light(x, y, rng, clutter)[:, None]
    spread = np.float32(noise * 12**0.5)  # uniform noise: normal numbers would take a fifth of the time of drawing
    image += spread * (rng.random(image.shape, np.float32) - np.float32(0.5))
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return {"images": np.ascontiguousarray(pixels.reshape(count, 3, size, size).transpose(0, 2, 3, 1)), **factors}


def _ground(x, y, rng: np.random.Generator, clutter: float, spread: float) -> Float32[np.ndarray, "n 3 p"]:
    """A plain colour, a texture from the same family as the shapes', a smooth second colour, and distractors."""
    count = len(x)
    first, second = (
        _rgb(rng.random(count, np.float32), _uniform(rng, 0.1, 0.8, count), _uniform(rng, 0.2, 0.9, count)) for _ in range(2)
    )
    if spread != 1:
        first, second = (np.float32(0.5) + np.float32(spread) * (colour - np.float32(0.5)) for colour in (first, second))
    across, _ = _turn(x, y, rng)
    blend = np.clip(0.5 + across - _each(_uniform(rng, 0.0, 1.0, count)), 0, 1) * np.float32(min(clutter, 1))
    u, v = _turn(x - 0.5, y - 0.5, rng)
    pattern = _pattern(u, v, rng.integers(0, len(FACTORS["texture"]), count), rng)
    shade = 1 + _each(_uniform(rng, 0.0, 0.35, count)) * np.float32(clutter) * pattern
    image = shade[:, None] * first[..., None]
    _paint(image, blend, second, shade)
    for _ in range(2):
        distance = _length(x - _each(rng.random(count, np.float32)), y - _each(rng.random(count, np.float32)))
        size = _uniform(rng, 0.04, 0.11, count) * np.float32(min(clutter, 1))
        cover = np.clip(0.5 + (_each(size) - distance) * np.sqrt(np.float32(x.shape[1])), 0, 1) * np.float32(clutter > 0)
        colour = _rgb(rng.random(count, np.float32), _uniform(rng, 0.2, 0.9, count), _uniform(rng, 0.2, 0.9, count))
        _paint(image, cover, colour, 1)
    return image


def _paint(image, cover, colour, shade) -> None:
    """Lays a colour over the image, in place: fresh memory for every sum would take as long as the sums."""
    image *= (1 - cover)[:, None]
    image += (cover * shade)[:, None] * colour[..., None]


def _light(x, y, rng: np.random.Generator, clutter: float) -> Float32[np.ndarray, "n p"]:
    """Brightness that changes along a random direction."""
    across, _ = _turn(x - 0.5, y - 0.5, rng)
    slope, level = (_uniform(rng, -0.6, 0.6, len(x)), _uniform(rng, -0.3, 0.15, len(x)))
    return 1 + np.float32(clutter) * (_each(slope) * across + _each(level))


def _distance(u, v, shape: np.ndarray) -> Float32[np.ndarray, "n p"]:
    """Signed distance to the outline of a shape of radius about 1, below 0 inside; computed for each shape's own images."""
    distance = np.empty(u.shape, np.float32)
    for k, outline in enumerate((_disc, _square, _triangle, _cross, _ring, _star)):
        rows = shape == k
        distance[rows] = outline(u[rows], v[rows])
    return distance


def _disc(u, v):
    return _length(u, v) - 0.88


def _square(u, v):
    return np.maximum(np.abs(u), np.abs(v)) - 0.78


def _triangle(u, v):
    return np.maximum(v - 0.55, 0.866 * np.abs(u) - 0.5 * v - 0.55)


def _cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.maximum(u, v) - 1, np.minimum(u, v) - 0.34)


def _ring(u, v):
    return np.abs(_length(u, v) - 0.74) - 0.26


def _star(u, v):
    """Five points: every direction folded onto half a point, which is one straight edge."""
    fifth = np.float32(2 * np.pi / 5)
    angle, radius = np.abs(np.mod(np.arctan2(u, v), fifth) - fifth / 2), _length(u, v)
    tip, notch = np.array([1.15, 0.0]), 0.5 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    normal = np.array([tip[1] - notch[1], notch[0] - tip[0]]) * -1
    normal = (normal / np.hypot(*normal)).astype(np.float32)
    return radius * np.cos(angle) * normal[0] + radius * np.sin(angle) * normal[1] - np.float32(tip @ normal)


def _pattern(u, v, texture: np.ndarray, rng: np.random.Generator) -> Float32[np.ndarray, "n p"]:
    """A texture in [-1, 1] with a random period, direction and phase."""
    count = len(u)
    wave = _each(np.float32(2 * np.pi) / _uniform(rng, 0.11, 0.16, count))
    u, v = _turn(u, v, rng)
    u, v = u * wave + _each(_uniform(rng, 0.0, 6.28, count)), v * wave + _each(_uniform(rng, 0.0, 6.28, count))
    value = np.zeros(u.shape, np.float32)
    for k, texture_of in enumerate((None, _stripes, _checks, _dots, _circles)):
        rows = texture == k
        if texture_of is not None:
            value[rows] = np.tanh(2.5 * texture_of(u[rows], v[rows]))
    return value


def _stripes(u, v):
    return np.sin(u)


def _checks(u, v):
    return np.sin(u) * np.sin(v) * 1.5


def _dots(u, v):
    return np.cos(u) + np.cos(v) - 0.8


def _circles(u, v):
    return np.sin(_length(u - u.mean(1, keepdims=True), v - v.mean(1, keepdims=True)))


def _rgb(hue, saturation, value) -> Float32[np.ndarray, "n 3"]:
    """From hue (in turns), saturation and value."""
    k = np.mod(np.array([5, 3, 1], np.float32) + hue[:, None] * 6, 6)
    return (value[:, None] * (1 - saturation[:, None] * np.clip(np.minimum(k, 4 - k), 0, 1))).astype(np.float32)


def _turn(u, v, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angle = _uniform(rng, 0.0, 2 * np.pi, len(u))
    cosine, sine = _each(np.cos(angle)), _each(np.sin(angle))
    return u * cosine - v * sine, u * sine + v * cosine


def _length(u, v):
    return np.sqrt(u * u + v * v)  # ten times as fast as np.hypot, which guards against overflow


def _uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Float32[np.ndarray, " n"]:
    return np.float32(low) + np.float32(high - low) * rng.random(count, np.float32)


def _each(values: np.ndarray) -> np.ndarray:
    """A number an image, to be broadcast over its pixels."""
    return np.asarray(values, np.float32)[:, None]
