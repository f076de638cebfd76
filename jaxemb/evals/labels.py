"""One or several labels of the same data. Rows that have none, -1, are left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool

from jaxemb.config import ConfigError, suggest
from jaxemb.data.base import Data, Split
from jaxemb.evals.base import Eval, rows_of

Score = Callable[[np.ndarray, np.ndarray, str], dict[str, float]]
"""(training labels, test labels, name) -> figures."""
Fit = Callable[[Bool[np.ndarray, " n"], Bool[np.ndarray, " m"]], Score]
"""(training rows that count, test rows that count) -> how to score labels of these rows."""


class NoLabels(ConfigError):
    """The data have no classes; during training the evaluation is left out, with this message."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled(Eval):
    """Abstract: an evaluation that learns labels from training rows and predicts those of the rows of `split`."""

    label: str | tuple[str, ...] = "labels"
    """Which label, or several: then each has figures under its name, and `top1` is their mean. Rows labelled -1 are left out."""
    train: int = 10_000
    """Training rows at most, drawn with the seed."""
    test: int = 2_000
    """Rows of `split` at most."""

    def rows(self, data: Data, seed: int) -> tuple[Split, Split]:
        """Training and test rows; an error where they do not have the labels."""
        if self.split == "train":
            raise ConfigError(f"{type(self).__name__} learns from train and predicts another split; split is 'train'")
        found = rows_of(data, "train", self.train, seed), rows_of(data, self.split, self.test, seed)
        for name in names(self.label):
            for rows in found:
                if (labels_of(rows, name) < 0).all():
                    raise NoLabels(
                        f"the data have no classes under {name!r}; put images into one folder a class, or drop this evaluation"
                    )
        return found

    def each_label(self, train: Split, test: Split, fit: Fit) -> dict[str, float]:
        """The figures of one label; of several, those of each under its name, and their means. `fit` is asked once for labels
        that the same rows have."""
        fitted: dict[tuple[bytes, bytes], Score] = {}
        every: dict[str, dict[str, float]] = {}
        for name in names(self.label):
            y, y_test = labels_of(train, name), labels_of(test, name)
            known, known_test = y >= 0, y_test >= 0
            key = known.tobytes(), known_test.tobytes()
            if key not in fitted:
                fitted[key] = fit(known, known_test)
            every[name] = fitted[key](y[known], y_test[known_test], name)
        if isinstance(self.label, str):
            return every[self.label]
        means = {k: float(np.mean([figures[k] for figures in every.values()])) for k in every[self.label[0]]}
        return means | {f"{name}/{k}": v for name, figures in every.items() for k, v in figures.items()}


def labels_of(rows: Split, name: str) -> np.ndarray:
    """A label of all rows; an error that names the others where there is none of that name."""
    if name not in rows.names:
        raise ConfigError(f"label={name!r} is not in the data{suggest(name, set(rows.names) - {'images', 'tokens', 'mask'})}")
    return rows.column(name)


def names(label: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (label,) if isinstance(label, str) else label
