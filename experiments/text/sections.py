"""Sections of a report, sentence by sentence, from the text and three numbers: the section of the sentence before, where the
sentence stands, and how many there are (BI-RADS BERT, Kuling et al. 2022)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from experiments.text.lab import asked
from jaxemb.config import choices
from jaxemb.layers.dense import Dense
from jaxemb.layers.norms import BatchNorm
from jaxemb.objectives.classify import Classify
from jaxemb.types import Batch, Loss, Now

WIDTHS = (32, 64, 128)
INPUTS = {"none": (), "position": (1, 2), "previous": (0,), "all": (0, 1, 2)}


class AuxiliaryEncoder(nn.Module):
    """u = tanh(BN(W3 f(W2 f(W1 a)))), f = dropout, ReLU, BN: of the three numbers a, raw as published. In (-1, 1)^128."""

    dropout: float = 0.1

    @nn.compact
    def __call__(self, a: Float[Array, "b 3"], train: bool) -> Float[Array, "b u"]:
        for i, width in enumerate(WIDTHS):
            a = BatchNorm(name=f"norm_{i}")(Dense(width, kernel_init="lecun", name=f"dense_{i}")(a), train=train)
            if i + 1 < len(WIDTHS):
                a = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(a))
        return jnp.tanh(a)


class Sections(Classify):
    """logits = W [h ; u] + b, h the pooled features of a sentence and u of `auxiliary` (b 3) (Kuling et al. 2022).

    In training the section of the sentence before is the true one; `decode` goes from left to right with what was predicted.
    `encode` gives h.
    """

    inputs: str = "tokens"
    numbers: str = "all"
    """Which of the three: "all", "previous", "position", "none"; others are 0."""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, numbers=INPUTS)

    def setup(self) -> None:
        super().setup()
        self.auxiliary = AuxiliaryEncoder(self.dropout)
        self.drop = nn.Dropout(self.dropout)

    def judged(self, h: Float[Array, "b d"], numbers: Array, *, train: bool = False) -> Float[Array, "b v"]:
        """The logits of pooled sentences with these numbers."""
        used = np.isin(np.arange(3), INPUTS[self.numbers])
        u = self.auxiliary(jnp.where(used[None], numbers.astype(h.dtype), 0), train)
        both = jnp.concatenate([h, u if used.any() else 0 * u], axis=-1)
        return self.head(self.drop(both, deterministic=not train))

    def section(self, batch: Batch) -> Int[Array, " b"]:
        """The most probable section of sentences whose `h` and `auxiliary` are in the batch."""
        return self.judged(batch["h"], batch["auxiliary"]).argmax(-1)

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        h = self._pooled(batch, train=True)
        logits = self.judged(h, batch["auxiliary"], train=True)
        own = batch[self._labels[0]]
        nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), own[:, None], axis=1)[:, 0]
        return Loss(nll.mean(), jnp.asarray(len(nll), nll.dtype), {"accuracy": (logits.argmax(-1) == own).astype(nll.dtype).mean()})


def auxiliary(labels: Int[np.ndarray, " n"], report: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 3"]:
    """(section of the sentence before, its place, sentences of its report) of each sentence; before the first is -1. Sentences of a
    report stand side by side."""
    first = np.r_[True, report[1:] != report[:-1]]
    starts = np.maximum.accumulate(np.where(first, np.arange(len(report)), 0))
    _, which, counts = np.unique(report, return_inverse=True, return_counts=True)
    return np.stack([np.where(first, -1, np.roll(labels, 1)), np.arange(len(report)) - starts, counts[which]], axis=1)


def decode(model: Sections, variables: Any, h: Float[np.ndarray, "n d"], report: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Sections from left to right, each from the prediction before it; all reports at once."""
    found = np.zeros(len(report), int)
    place = auxiliary(found, report)[:, 1]
    for turn in range(place.max() + 1):
        own = np.flatnonzero(place == turn)
        numbers = auxiliary(found, report)[own].astype(np.float32)
        found[own] = asked(model, variables, {"h": h[own], "auxiliary": numbers}, "section")
    return found
