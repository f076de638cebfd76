"""Another evaluation beyond the size that the model was trained on."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from jaxemb.config import ConfigError, fields, suggest
from jaxemb.data.base import Data, DataError
from jaxemb.evals.accuracy import Accuracy
from jaxemb.evals.base import Eval

log = logging.getLogger("jaxemb")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extrapolate(Eval):
    """The evaluation `of` on the same data with one field multiplied: larger images, longer sequences. Nothing is trained anew.

    A figure `top1` of the factor 1.5 is called `x1.5_top1`. A factor that the model or the data refuse (a table of positions that
    ends, patches that do not divide the image) has no figures, and the log says why; if all are refused the first reason is
    raised. Each size compiles anew and takes more memory: the rows of a batch on the devices stay as many.
    """

    of: Eval = Accuracy()
    """Whose figures; its own `every` has no meaning here."""
    field: str = "size"
    """Of the data: "size" of images, "length" of sequences."""
    factors: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.factors or min(self.factors) <= 0:
            raise ConfigError(f"factors must be numbers above 0, not {self.factors}")

    @property
    def needs(self) -> type:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the other evaluation needs."""
        return self.of.needs

    def run(self, model: Any, data: Data, *, seed: int = 0) -> dict[str, float]:
        data = self.of.data or data
        found: dict[str, float] = {}
        refused: list[ValueError] = []
        for factor in self.factors:
            value = self._scaled(data, factor)
            try:
                figures = self.of.run(model, dataclasses.replace(data, **{self.field: value}), seed=seed)
            except (ConfigError, DataError) as e:
                log.warning("%s x %g is left out: %s", self.field, factor, e)
                refused.append(e)
                continue
            found |= {f"x{factor:g}_{name}": value for name, value in figures.items()}
        if not found:
            raise refused[0]
        return found

    def _scaled(self, data: Data, factor: float) -> int:
        names = fields(type(data))
        if self.field not in names:
            raise ConfigError(f"field={self.field!r}: {type(data).__name__} has none of that name{suggest(self.field, names)}")
        value = getattr(data, self.field)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"field={self.field!r} must be a whole number of {type(data).__name__}, it is {value!r}")
        if not float(value * factor).is_integer():
            raise ConfigError(f"factors: {factor:g} x {self.field}={value} is not a whole number")
        return int(value * factor)
