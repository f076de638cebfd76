"""Weighted k-nearest-neighbour classification of frozen embeddings."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.base import Encodes
from jaxemb.evals.labels import Labelled, Score
from jaxemb.ops.similarity import unit
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class KNN(Labelled):
    """score_c = sum over the k nearest training rows of class c of exp(cosine / T), as in DINO.

    `top1` is the share of test rows whose highest score is their class. Ties go to the lower class number.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Emerging Properties in Self-Supervised Vision Transformers", 2021, "arxiv.org/abs/2104.14294"
    )

    k: int = 20
    temperature: float = 0.07
    whiten: bool = False
    """Cosines after whitening with the moments of the training rows: what all images share (a bright or a coloured ground, say)
    no longer decides who is near."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1 or self.temperature <= 0:
            raise ConfigError(f"k must be at least 1 and temperature above 0, are {self.k} and {self.temperature}")

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        train, test = self.rows(data, seed)
        z, z_test = model.encode(train), model.encode(test)

        def fit(known: np.ndarray, known_test: np.ndarray) -> Score:
            neighbours, weights = self.search(z_test[known_test], z[known], self.k)
            return lambda y, y_test, _: {"top1": float((vote(y[neighbours], weights) == y_test).mean())}

        return self.each_label(train, test, fit)

    def search(self, queries: Float[np.ndarray, "n d"], bank: Float[np.ndarray, "m d"], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of the bank to each query, in no order, and the weights of their votes."""
        if self.whiten:
            queries, bank = whiten(queries, bank)
        return nearest(queries, bank, k, self.temperature)


def whiten(queries: Float[np.ndarray, "n d"], bank: Float[np.ndarray, "m d"]) -> tuple[np.ndarray, np.ndarray]:
    """Both in the principal directions of the bank, centred and of variance 1 there.

    Directions with less than 1e-3 of the mean variance are shrunk towards zero: their noise would count as much as all the rest.
    """
    bank, queries = np.asarray(bank, np.float64), np.asarray(queries, np.float64)
    mean = bank.mean(0)
    values, vectors = np.linalg.eigh(np.cov(bank.T))
    scale = vectors / np.sqrt(np.maximum(values, 0) + 1e-3 * values.mean() + 1e-30)
    return (queries - mean) @ scale, (bank - mean) @ scale


def nearest(
    queries: Float[np.ndarray, "n d"], bank: Float[np.ndarray, "m d"], k: int, temperature: float
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """The rows of the bank with the highest cosine, and exp(cosine / temperature); in pieces that fit any memory."""
    queries, bank = unit(queries), unit(bank)
    k = min(k, len(bank))
    ids, cosines = [], []
    for start in range(0, len(queries), 1024):
        s = queries[start : start + 1024] @ bank.T
        best = np.argpartition(-s, k - 1, axis=1)[:, :k]
        ids.append(best)
        cosines.append(np.take_along_axis(s, best, axis=1))
    # Shifted by the largest cosine of a row: the votes compare alike, and a low temperature does not overflow.
    cosine = np.concatenate(cosines)
    return np.concatenate(ids), np.exp((cosine - cosine.max(1, keepdims=True)) / temperature)


def vote(labels: Int[np.ndarray, "n k"], weights: Float[np.ndarray, "n k"]) -> Int[np.ndarray, " n"]:
    """The class with the largest sum of weights."""
    scores = np.zeros((len(labels), int(labels.max()) + 1))
    np.add.at(scores, (np.arange(len(labels))[:, None], labels), weights)
    return scores.argmax(1)
