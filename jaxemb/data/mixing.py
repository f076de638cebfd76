"""Augmentations that mix the images of a batch and, in the same proportion, their labels."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float32

from jaxemb.config import ConfigError
from jaxemb.data.base import Augment, DataError
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Mix(Augment, abc.ABC):
    """Mixes image i of the batch with image i + b/2 (mod b); adds `labels_soft` Float[b v].

    Where a data set has several of these, each batch gets one of them, drawn at random. Process p of c holds the images p, p + c,
    p + 2c, ... of the batch, and images do not travel: where each holds an even number, it finds its partners at home, the same
    on any number of processes. Of an odd number b each image is mixed with the one b // 2 before it in its process; a single one
    is refused.
    """

    classes: int
    """Number of labels v."""
    alpha: float = 1.0
    """The share of the image itself is drawn from Beta(alpha, alpha), once a batch."""

    def __post_init__(self) -> None:
        if self.alpha <= 0 or self.classes < 1:
            raise ConfigError(f"{type(self).__name__} needs alpha > 0 and classes >= 1, not {self.alpha} and {self.classes}")

    def __call__(self, batch: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        labels = batch["labels"]
        if len(labels) == 1:
            raise DataError(f"{type(self).__name__} mixes the images of a process, which has a single one: raise the batch size")
        if labels.min() < 0 or labels.max() >= self.classes:
            raise DataError(
                f"{type(self).__name__}: labels run from {labels.min()} to {labels.max()}, which do not fit classes={self.classes}"
                + (" (-1: the data set has no labels)" if labels.min() < 0 else "")
            )
        images, share = self.mix(batch["images"], rng.beta(self.alpha, self.alpha), rng)
        own = np.eye(self.classes, dtype=np.float32)[labels]
        return {**batch, "images": images, "labels_soft": np.float32(share) * own + np.float32(1 - share) * partners(own)}

    @abc.abstractmethod
    def mix(
        self, x: Float32[np.ndarray, "b H W c"], share: float, rng: np.random.Generator
    ) -> tuple[Float32[np.ndarray, "b H W c"], float]:
        """The mixed images, and the share of its own image that each really kept."""


def partners(x: np.ndarray) -> np.ndarray:
    """Of each row of a process's batch the row that it is mixed with."""
    return np.roll(x, len(x) // 2, axis=0)


@dataclasses.dataclass(frozen=True)
class Mixup(Mix):
    """x <- s x + (1 - s) x', the labels alike."""

    paper: ClassVar[Paper | None] = Paper("mixup: Beyond Empirical Risk Minimization", 2017, "https://arxiv.org/abs/1710.09412")

    def mix(self, x, share, rng):
        return np.float32(share) * x + np.float32(1 - share) * partners(x), share


@dataclasses.dataclass(frozen=True)
class CutMix(Mix):
    """A rectangle of area 1 - s, at a random place, is taken from the other image; labels by the area really taken."""

    paper: ClassVar[Paper | None] = Paper("CutMix", 2019, "https://arxiv.org/abs/1905.04899")

    def mix(self, x, share, rng):
        height, width = x.shape[1:3]
        half = np.sqrt(1 - share) * np.array([height, width]) / 2
        centre = rng.integers(0, [height, width])
        (top, left), (bottom, right) = (np.clip(np.rint(centre + s * half), 0, [height, width]).astype(int) for s in (-1, 1))
        mixed = x.copy()
        mixed[:, top:bottom, left:right] = partners(x)[:, top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (height * width)
