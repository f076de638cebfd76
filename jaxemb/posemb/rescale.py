"""Longer inputs than in training, by changing a rotary scheme's frequencies or any scheme's positions; nothing is trained."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places, PosEmb, extent, own_length
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.wrapper import _Wrapper
from jaxemb.types import Paper

Factor = int | float | tuple[int | float, ...]


class _Scaled(_Wrapper):
    """Abstract: `of` sees positions shrunk by a factor, and a grid that is as much smaller."""

    factor: Factor | None = 2.0
    """s, or one for each axis; None: the input's own size over `original`, rounded up to a whole number."""
    original: int | tuple[int, ...] | None = None
    """Positions along each axis in training; inputs no longer than this are left as they are, of a sequence by its own length,
    padding left out. None: every input is scaled."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factor(type(self).__name__, self.factor, self.original)

    def told(self, places: Places) -> Places:
        grid = places.grid
        if grid is not None:
            grid = tuple(math.ceil(g / s) for g, s in zip(grid, factors(self.factor, self.original, grid, len(grid)), strict=True))
        return places.at(places.pos, grid=grid)

    def locate(self, places: Places) -> Num[Array, "_ n c"]:
        pos = places.pos
        if self.original is not None and own_length(places):
            length, axes = extent(pos, places.allow).astype(jnp.result_type(float)), pos.shape[-1]
            lo = jnp.asarray(per_axis("original", self.original, axes), length.dtype)[None, None]
            given = None if self.factor is None else jnp.asarray(per_axis("factor", self.factor, axes), length.dtype)[None, None]
            scale = jnp.where(length > lo, jnp.ceil(length / lo) if given is None else given, 1)
            # What is said of padding is nobody's business, but unshortened it could be beyond all rows of a table.
            pos = pos if places.allow.valid is None else jnp.where(places.allow.valid[..., None], pos, 0)
            return self.of.locate(self.told(places).at(self.shrunk(pos, scale)))
        scale = factors(self.factor, self.original, places.grid, pos.shape[-1])
        if any(s != 1 for s in scale):
            pos = self.shrunk(pos, jnp.asarray(scale, jnp.result_type(float))[None, None])
        return self.of.locate(self.told(places).at(pos))

    def shrunk(self, pos: Num[Array, "_ n a"], scale: Float[Array, "_ _ a"]) -> Num[Array, "_ n a"]:
        """Positions brought nearer to each other."""
        pos = pos.astype(jnp.result_type(float)) if jnp.issubdtype(pos.dtype, jnp.integer) else pos
        return pos / scale.astype(pos.dtype)

    def reach(self, window: int | None) -> int | None:
        return None if self.factor is None else longer(self.of.reach(window), self.factor, self.original)


class Interpolated(_Scaled):
    """Position interpolation: p -> p / s, so that a longer input takes up the range of the training inputs.

    For rotary schemes this divides all frequencies by s; for a learned table it reads between the rows. An input no longer than
    `original` is left as it is.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Extending Context Window of Large Language Models via Positional Interpolation", 2023, "arxiv.org/abs/2306.15595"
    )


class _Spectrum(_Wrapper):
    """Abstract: changes the frequencies of a rotary scheme."""

    of: Rotary = field(default_factory=Rotary)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, Rotary):
            raise ConfigError(f"{type(self).__name__} changes the frequencies of Rotary, it cannot wrap {type(self.of).__name__}")
        for name in ("lam", "factor", "original"):
            per_axis(f"{type(self).__name__}.{name}", getattr(self, name, None), self.of.axes)

    def prepare(self, places: Places, *, heads: int, width: int, prefix: int = 0) -> Any:
        return PosEmb.prepare(self, places, heads=heads, width=width, prefix=prefix)  # that of `of` would take its own angles

    def angles(self, places: Places, width: int) -> Any:
        return self.of.angles(places, width, self.spectrum)

    def spectrum(self, theta: Float[Array, "1 1 k"], axis: int, width: int, length: Num[Array, "#b #n"]) -> tuple[Array, float]:
        raise TypeError(f"{type(self).__name__} does not define spectrum")


class NTK(_Spectrum):
    """NTK-aware scaling: the base becomes base * lambda, which stretches long waves most and short ones hardly.

    lambda is tuned, a little larger than the factor s (3 for s = 2, 5 for 4, 10 for 8), or follows from `factor`:
    lambda = s^(d / (d - 2)) stretches the longest of d/2 waves exactly s times.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LongEmbed: Extending Embedding Models for Long Context Retrieval", 2024, "arxiv.org/abs/2404.12096"
    )

    lam: Factor | None = 3.0
    """lambda, or one for each axis; None: from `factor`."""
    factor: Factor | None = None
    """s, or one for each axis, in place of a tuned lambda."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.lam is None) == (self.factor is None):
            raise ConfigError(f"NTK takes lam or factor, not both or none: lam={self.lam}, factor={self.factor}")
        for name in ("lam", "factor"):
            if getattr(self, name) is not None:
                check_factor("NTK", getattr(self, name), None, name)

    def spectrum(self, theta: Float[Array, "1 1 k"], axis: int, width: int, length: Num[Array, "#b #n"]) -> tuple[Array, float]:
        if self.lam is not None:
            stretch = of_axis(self.lam, axis)
        else:
            stretch = of_axis(self.factor, axis) ** (width / max(width - 2, 1))
        return rebased(theta, jnp.full((1, 1), stretch, theta.dtype)), 1.0

    def reach(self, window: int | None) -> int | None:
        return None if self.factor is None else longer(window, self.factor)  # how far a tuned lambda goes, nobody says


class DynamicNTK(_Spectrum):
    """NTK scaling that grows with the input: base * (s n / Lo - (s - 1))^(d / (d - 2)) for n > Lo positions, else base.

    n is each text's own, last position minus first plus one, padding left out: what else is in the batch does not matter, nor what
    else is packed into the row.
    """

    paper: ClassVar[Paper | None] = Paper(
        "YaRN: Efficient Context Window Extension of Large Language Models", 2023, "arxiv.org/abs/2309.00071"
    )

    factor: Factor = 2.0
    original: int | tuple[int, ...] = 128
    """Lo: positions along each axis in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factor("DynamicNTK", self.factor, self.original)

    def spectrum(self, theta: Float[Array, "1 1 k"], axis: int, width: int, length: Num[Array, "#b #n"]) -> tuple[Array, float]:
        s = of_axis(self.factor, axis)
        grown = s * length.astype(theta.dtype) / of_axis(self.original, axis) - (s - 1)
        return rebased(theta, jnp.maximum(grown, 1.0) ** (width / max(width - 2, 1))), 1.0

    def reach(self, window: int | None) -> int | None:
        return None


class YaRN(_Spectrum):
    """Interpolates long waves, leaves short ones, ramps in between, and sharpens the logits.

        theta'_j = ramp_j theta_j / s + (1 - ramp_j) theta_j,   ramp_j = clip((j - low) / (high - low), 0, 1)
        low, high = floor(cd(fast)), ceil(cd(slow)) in [0, d - 1],   cd(turns) = d ln(Lo / (2 pi turns)) / (2 ln base)

    Cosines and sines are multiplied by 0.1 ln s + 1.
    """

    paper: ClassVar[Paper | None] = Paper(
        "YaRN: Efficient Context Window Extension of Large Language Models", 2023, "arxiv.org/abs/2309.00071"
    )

    factor: Factor = 2.0
    original: int | tuple[int, ...] = 128
    """Lo: positions along each axis in training."""
    fast: float = 32.0
    """Waves that turn more often than this within Lo are not interpolated,"""
    slow: float = 1.0
    """those that turn less often than this entirely."""
    multiplier: float | None = None
    """Of cosines and sines; None: 0.1 ln s + 1."""
    whole: bool = True
    """The bounds of the ramp are rounded to whole numbers, outwards."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factor("YaRN", self.factor, self.original)
        if self.multiplier is not None and self.multiplier <= 0:
            raise ConfigError(f"YaRN.multiplier must be above 0, is {self.multiplier}")
        if not 0 < self.slow < self.fast:
            raise ConfigError(f"YaRN needs 0 < slow < fast, not slow={self.slow}, fast={self.fast}")

    def spectrum(self, theta: Float[Array, "1 1 k"], axis: int, width: int, length: Num[Array, "#b #n"]) -> tuple[Array, float]:
        s = of_axis(self.factor, axis)
        low, high = self.bounds(width, axis)
        j = jnp.arange(theta.shape[-1], dtype=theta.dtype)[None, None]
        ramp = jnp.clip((j - low) / (high - low if high != low else 0.001), 0, 1)
        return ramp * theta / s + (1 - ramp) * theta, self.attention_factor(axis)

    def reach(self, window: int | None) -> int | None:
        return longer(window, self.factor, self.original)

    def attention_factor(self, axis: int = 0) -> float:
        """What cosines and sines are multiplied by."""
        if self.multiplier is not None:
            return self.multiplier
        s = of_axis(self.factor, axis)
        return 0.1 * math.log(s) + 1 if s > 1 else 1.0

    def bounds(self, width: int, axis: int = 0) -> tuple[float, float]:
        """(low, high): the frequencies between which the ramp rises, for an axis of this many features."""

        def turning(turns: float) -> float:
            return width * math.log(of_axis(self.original, axis) / (turns * 2 * math.pi)) / (2 * math.log(self.of.base))

        low, high = turning(self.fast), turning(self.slow)
        if self.whole:
            low, high = math.floor(low), math.ceil(high)
        return float(min(max(low, 0), width - 1)), float(min(max(high, 0), width - 1))


def longer(window: int | None, factor: Factor, original: int | tuple[int, ...] | None = None) -> int | None:
    """What a window becomes when its first `original` positions, or all, are stretched; of an image's axes the first."""
    window = window if original is None else of_axis(original, 0)
    return None if window is None else int(window * of_axis(factor, 0))


def rebased(theta: Float[Array, "1 1 k"], stretch: Float[Array, "#b #n"]) -> Float[Array, "#b #n k"]:
    """The frequencies of a base `stretch` times as large: theta_j = base^(-j/k), so each is divided by stretch^(j/k)."""
    k = theta.shape[-1]
    share = (jnp.arange(k, dtype=theta.dtype) / k)[None, None]
    return theta * stretch[..., None] ** -share


def of_axis(value: Any, axis: int) -> Any:
    """A number for all axes, or the axis's own."""
    return value[axis] if isinstance(value, tuple) else value


def per_axis(name: str, value: Any, axes: int) -> tuple[Any, ...]:
    """The number of each axis."""
    if isinstance(value, tuple) and len(value) != axes:
        raise ConfigError(f"{name}={value} has {len(value)} numbers, positions have {axes}")
    return value if isinstance(value, tuple) else (value,) * axes


def factors(
    factor: Factor | None, original: int | tuple[int, ...] | None, grid: tuple[int, ...] | None, axes: int
) -> tuple[Any, ...]:
    """The factor of each axis, 1 where the input is no longer than in training."""
    given, size = per_axis("factor", factor, axes), per_axis("original", original, axes)
    if original is None or grid is None:
        if factor is None:
            raise ConfigError("factor=None needs an encoder that knows the size of its input; name a factor")
        return given
    own = [math.ceil(n / lo) if s is None else s for n, lo, s in zip(grid, size, given, strict=True)]
    return tuple(s if n > lo else 1 for n, lo, s in zip(grid, size, own, strict=True))


def check_factor(name: str, factor: Factor | None, original: int | tuple[int, ...] | None, given: str = "factor") -> None:
    """Raises on a factor below 1 and on an original size below 1."""
    values = factor if isinstance(factor, tuple) else (factor,)
    if any(f is not None and f < 1 for f in values):
        raise ConfigError(f"{name}.{given}={factor} must be at least 1")
    if original is None:
        if factor is None:
            raise ConfigError(f"{name}: factor=None takes the factor from `original`, which is not given")
    elif min(original if isinstance(original, tuple) else (original,)) < 1:
        raise ConfigError(f"{name}.original={original} must be at least 1")
