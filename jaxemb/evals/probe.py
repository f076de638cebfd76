"""Linear probes: how much a linear map of the frozen embeddings tells about a label."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from jaxtyping import Float, Int

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.base import Encodes
from jaxemb.evals.labels import Labelled, Score


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ridge(Labelled):
    """Least squares on one-hot labels with a penalty, in closed form: W = (X'X + a n I)^-1 X'Y on standardised features.

    The penalty a with the best accuracy on a fifth of the training rows is refitted on all of them.
    """

    penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        train, test = self.rows(data, seed)
        z, z_test = model.encode(train), model.encode(test)

        def fit(known: np.ndarray, known_test: np.ndarray) -> Score:
            x, x_test = standardise(z[known], z_test[known_test])
            order = np.random.default_rng(seed).permutation(len(x))
            held, rest = order[: len(x) // 5], order[len(x) // 5 :]
            selection, final = RidgeSolver(x[rest]), RidgeSolver(x)

            def top1(y: np.ndarray, y_test: np.ndarray, _: str) -> dict[str, float]:
                classes = int(max(y.max(), y_test.max())) + 1
                fits = {a: selection.fit(y[rest], classes, a) for a in self.penalties}
                best = max(fits, key=lambda a: float((predict(fits[a], x[held]) == y[held]).mean()))
                return {"top1": float((predict(final.fit(y, classes, best), x_test) == y_test).mean())}

            return top1

        return self.each_label(train, test, fit)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Logistic(Labelled):
    """Multinomial logistic regression on standardised features (scikit-learn, L-BFGS)."""

    strength: float = 1.0
    """Inverse of the penalty (`C` of scikit-learn)."""
    iterations: int = 500

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        train, test = self.rows(data, seed)
        z, z_test = model.encode(train), model.encode(test)

        def fit(known: np.ndarray, known_test: np.ndarray) -> Score:
            x, x_test = standardise(z[known], z_test[known_test])

            def top1(y: np.ndarray, y_test: np.ndarray, _: str) -> dict[str, float]:
                head = LogisticRegression(C=self.strength, max_iter=self.iterations)
                with warnings.catch_warnings():  # stopping at the limit is a setting here, not a fault
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    head.fit(x, y)
                return {"top1": float(head.score(x_test, y_test))}

            return top1

        return self.each_label(train, test, fit)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewShot(Labelled):
    """A ridge probe on `shots` labelled examples a class, averaged over draws; `spread` is the deviation between draws."""

    shots: int = 5
    draws: int = 20
    penalty: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shots < 1 or self.draws < 1:
            raise ConfigError(f"shots and draws must be at least 1, are {self.shots} and {self.draws}")

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        train, test = self.rows(data, seed)
        z, z_test = model.encode(train), model.encode(test)

        def fit(known: np.ndarray, known_test: np.ndarray) -> Score:
            x, x_test = z[known], z_test[known_test]
            return lambda y, y_test, name: self._draws(x, x_test, y, y_test, name, seed)

        return self.each_label(train, test, fit)

    def _draws(self, x, x_test, y: np.ndarray, y_test: np.ndarray, name: str, seed: int) -> dict[str, float]:
        counts = np.bincount(y)
        if counts[counts > 0].min() < self.shots:
            raise ConfigError(f"shots={self.shots}: a class of {name!r} has only {counts[counts > 0].min()} training examples")
        scores = []
        for draw in range(self.draws):
            rng = np.random.default_rng([seed, draw])
            few = np.concatenate([rng.choice(np.flatnonzero(y == c), self.shots, replace=False) for c in np.unique(y)])
            a, b = standardise(x[few], x_test)
            fit = RidgeSolver(a).fit(y[few], len(counts), self.penalty)
            scores.append(float((predict(fit, b) == y_test).mean()))
        return {"top1": float(np.mean(scores)), "spread": float(np.std(scores))}


def standardise(x: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]) -> tuple[np.ndarray, np.ndarray]:
    """Both with the mean and deviation of the first, in float64; constant features become zero."""
    x, other = np.asarray(x, np.float64), np.asarray(other, np.float64)
    mean, std = x.mean(0), x.std(0)
    scale = np.where(std > 1e-8 * max(1.0, float(std.max(initial=0))), 1 / np.maximum(std, 1e-300), 0.0)
    return (x - mean) * scale, (other - mean) * scale


class RidgeSolver:
    """All penalties from one eigendecomposition of the Gram matrix, on the smaller side of X."""

    def __init__(self, x: Float[np.ndarray, "n d"]):
        self.x, self.dual = x, len(x) < x.shape[1]
        self.values, self.vectors = np.linalg.eigh(x @ x.T if self.dual else x.T @ x)

    def fit(self, y: Int[np.ndarray, " n"], classes: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """(weights d v, intercept v); features are centred, so the intercept is the mean of the one-hot rows."""
        targets = np.eye(classes)[y]
        mean = targets.mean(0)
        right = targets - mean if self.dual else self.x.T @ (targets - mean)
        scale = 1 / (np.maximum(self.values, 0) + penalty * len(self.x))
        solved = self.vectors @ (scale[:, None] * (self.vectors.T @ right))
        return (self.x.T @ solved if self.dual else solved), mean


def predict(fit: tuple[np.ndarray, np.ndarray], x: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
    return (x @ fit[0] + fit[1]).argmax(1)
