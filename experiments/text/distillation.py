"""Does a student that reads two texts apart learn more from a cross-encoder's logits than from few labels? (DSE, Barkan 2020)

    python -m experiments.text.distillation [--seeds 3]      about four minutes on one core; writes results/text_distillation.csv

A procedural task that needs both texts: two sequences of 8 of 16 symbols, of which half share four symbols or more (as multisets),
and half two or fewer. A cross-encoder of two layers reads both at once and learns from 20 000 labels; it stands for a large
fine-tuned teacher. Students of one layer read each text alone, and a small head scores the pair: 500 pairs have labels, 8 000 only
the teacher's logits; half of each batch has labels. alpha 0: labels alone, .5: both, 1: the teacher alone; "all labels": alpha 0
with the labels of all 8 500. Accuracy on 2 000 other pairs, and how much of the teacher's is lost, relative to it, in per cent.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.text.lab import asked, fit
from experiments.text.rows import table_of
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn import Attention, Block, PairHead, Tokens, Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.pair_scores import PairScores
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.learned import Learned

OUT = Path(__file__).parents[2] / "results" / "text_distillation.csv"
SYMBOLS, LENGTH, SHARED = 16, 8, (4, 2)
WIDTH, BATCH, STEPS, TEACHING, LR = 64, 64, 500, 2000, 2e-3
TAUGHT, LABELLED, UNLABELLED, TEST = 20_000, 500, 8_000, 2_000


class Arm(NamedTuple):
    alpha: float
    everything: bool = False
    """Whether all pairs have their labels."""


ARMS: dict[str, Arm | None] = {
    "teacher": None,
    "alpha 0": Arm(0.0),
    "alpha .5": Arm(0.5),
    "alpha 1": Arm(1.0),
    "all labels": Arm(0.0, everything=True),
}
Data = tuple[np.ndarray, np.ndarray, np.ndarray]
"""First texts, second texts, labels."""


def draw(count: int, rng: np.random.Generator) -> Data:
    """As many pairs of either label: those that share many symbols, and those that share few."""
    found: list[list[Any]] = [[], [], []]
    left = [count - count // 2, count // 2]
    while sum(left):
        a, b = (rng.integers(0, SYMBOLS, (4 * count, LENGTH)).astype(np.int32) for _ in range(2))
        shared = common(a, b)
        label = np.select([shared >= SHARED[0], shared <= SHARED[1]], [1, 0], -1).astype(np.int32)
        for value in (0, 1):
            rows = np.flatnonzero(label == value)[: left[value]]
            left[value] -= len(rows)
            for into, x in zip(found, (a, b, label), strict=True):
                into.append(x[rows])
    order = rng.permutation(count)
    first, second, labels = (np.concatenate(x)[order] for x in found)
    return first, second, labels


def common(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many symbols two texts share, as often as both have them."""
    each = [(x[:, :, None] == np.arange(SYMBOLS)).sum(1) for x in (a, b)]
    return np.minimum(*each).sum(1)


def encoder(depth: int, length: int, types: int = 0) -> Transformer:
    block = Block(Attention(4, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
    stem = Tokens(SYMBOLS + 1, types=types, std=1.0)
    return Transformer(stem=stem, pos=Learned(shape=(length,)), width=WIDTH, depth=depth, blocks=(block,))


def text(tokens: np.ndarray) -> dict[str, np.ndarray]:
    return {"tokens": tokens, "mask": np.ones(tokens.shape, bool)}


def joined(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Both texts and a mark between, with which is which."""
    tokens = np.concatenate([a, np.full((len(a), 1), SYMBOLS, np.int32), b], axis=1)
    kinds = np.broadcast_to((np.arange(tokens.shape[1]) > LENGTH).astype(np.int32), tokens.shape)
    return text(tokens) | {"types": kinds}


def right(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(((logits > 0) == (labels > 0)).mean())


@functools.lru_cache(1)
def teacher(seed: int, scale: float) -> tuple[float, list[np.ndarray], list[Data]]:
    """(its accuracy, its logits of the training and the test pairs, these pairs)."""
    rng = np.random.default_rng(seed)
    *taught, labels = draw(TAUGHT, rng)
    parts = [draw(LABELLED + UNLABELLED, rng), draw(TEST, rng)]
    model = Classify(encoder=encoder(2, 2 * LENGTH + 1, types=2), pooling=Mean(), inputs="tokens", classes=2)
    rows = joined(*taught) | {"labels": labels}
    variables = fit(model, rows, steps=int(scale * TEACHING), batch=BATCH, seed=seed, lr=LR)
    z = [asked(model, variables, joined(a, b), "logits") for a, b, _ in parts]
    logits = [x[:, 1] - x[:, 0] for x in z]
    return right(logits[1], parts[1][2]), logits, parts


def rows_of(data: Data, logits: np.ndarray, everything: bool) -> dict[str, Any]:
    """Training rows, half of them with labels: the labelled ones again and again."""
    a, b, labels = data
    at = np.concatenate([np.resize(np.arange(LABELLED), UNLABELLED), np.arange(LABELLED, LABELLED + UNLABELLED)])
    known = np.ones(len(at), bool) if everything else at < LABELLED
    told = np.where(known, labels[at], -1).astype(np.int32)
    return {"query": text(a[at]), "positive": text(b[at]), "labels": told, "teacher": logits[at, None]}


def study(arm: Arm | None, seed: int, scale: float = 1.0) -> dict[str, float]:
    best, (logits, _), (train, test) = teacher(seed, scale)
    if arm is None:
        return {"accuracy": best}
    model = PairScores(encoder=encoder(1, LENGTH), head=PairHead(hidden=128), alpha=arm.alpha)
    rows = rows_of(train, logits, arm.everything)
    variables = fit(model, rows, steps=int(scale * STEPS), batch=BATCH, seed=seed, lr=LR)
    found = asked(model, variables, {"query": text(test[0]), "positive": text(test[1])}, "logits")[:, 0]
    accuracy = right(found, test[2])
    return {"accuracy": accuracy, "degradation": 100 * (best - accuracy) / best}


def main(argv: Sequence[str] | None = None) -> None:
    table_of("distillation", __doc__, "overlap", ARMS, study, ("scale", 1.0, "of all numbers of steps"), OUT, argv)


if __name__ == "__main__":
    main()
