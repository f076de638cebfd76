"""One or several labels of the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from jaxemb.config import ConfigError, suggest
from jaxemb.data.base import Data
from jaxemb.evals.base import Eval

Arrays = dict[str, np.ndarray]
Score = Callable[[np.ndarray, np.ndarray, str], dict[str, float]]
"""(training labels, test labels, name) -> figures."""


class NoLabels(ConfigError):
    """The data have no classes; during training the evaluation is left out, with this message."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled(Eval):
    """Abstract: an evaluation that learns labels from training rows and predicts those of test rows."""

    label: str | tuple[str, ...] = "labels"
    """Which label, or several: then each has figures under its name, and `top1` is their mean."""
    train: int = 10_000
    """Training rows at most, drawn with the seed."""
    test: int = 2_000

    def splits(self, data: Data, seed: int) -> tuple[Arrays, Arrays]:
        """Training and test rows; an error where they do not have the labels."""
        train, test = (data.split(s).sample(limit, seed=seed)[:] for s, limit in (("train", self.train), ("test", self.test)))
        for name in names(self.label):
            if name not in train:
                raise ConfigError(f"label={name!r} is not in the data{suggest(name, set(train) - {'images'})}")
            if (train[name] < 0).all():
                raise NoLabels(
                    f"the data have no classes under {name!r}; put images into one folder a class, or drop this evaluation"
                )
        return train, test


def each_label(
    label: str | tuple[str, ...], train: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray], score: Score
) -> dict[str, float]:
    """The figures of one label; of several, those of each under its name, and their means."""
    every = {name: score(train[name], test[name], name) for name in names(label)}
    if isinstance(label, str):
        return every[label]
    means = {k: float(np.mean([figures[k] for figures in every.values()])) for k in every[label[0]]}
    return means | {f"{name}/{k}": v for name, figures in every.items() for k, v in figures.items()}


def names(label: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (label,) if isinstance(label, str) else label
