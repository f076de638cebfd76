"""One or several labels of the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from jaxemb.config import ConfigError, suggest

Score = Callable[[np.ndarray, np.ndarray, str], dict[str, float]]
"""(training labels, test labels, name) -> figures."""


def each_label(
    label: str | tuple[str, ...], train: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray], score: Score
) -> dict[str, float]:
    """The figures of one label; of several, those of each under its name, and their means."""
    names = (label,) if isinstance(label, str) else label
    for name in names:
        if name not in train:
            raise ConfigError(f"label={name!r} is not in the data{suggest(name, set(train) - {'images'})}")
        if (train[name] < 0).all():
            raise ConfigError(
                f"the data have no classes under {name!r}; put images into one folder a class, or drop this evaluation"
            )
    every = {name: score(train[name], test[name], name) for name in names}
    if isinstance(label, str):
        return every[label]
    means = {k: float(np.mean([figures[k] for figures in every.values()])) for k in every[names[0]]}
    return means | {f"{name}/{k}": v for name, figures in every.items() for k, v in figures.items()}
