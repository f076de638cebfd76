"""Which ranking loss finds images by captions and captions by images, and do its negatives specialise it? (Baqapuri 2016)

    python -m experiments.text.image_text [--seeds 3]      about five minutes on one core; writes results/text_image_text.csv

Scenes of `Shapes` (24 pixels, little clutter), each with three captions that name four of its five factors by one of two words
each, in any order, and a word that says nothing. A small CNN reads the images, a small transformer the captions; cosines, but for
the two arms of one direction, whose products (margin 1) leave free what a side's length says. Other captions of an image are no
negatives of it. Of 300 test scenes with three captions each: R@1, R@5 and the median rank of the first image that a caption
describes (search), and of the first caption that describes an image (annotation: a right one of all 900); ties in favour.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

from experiments.text.lab import asked, fit
from experiments.text.rows import table_of
from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.contrastive.hinge import Hinge
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.contrastive.sigmoid import Sigmoid
from jaxemb.data.shapes import FACTORS, Shapes
from jaxemb.layers.dense import Dense
from jaxemb.layers.feedforward import FeedForward
from jaxemb.metrics.ranking import median_rank, strict_ranks, within
from jaxemb.nn import CNN, Attention, Block, Pooled, Tokens, Transformer
from jaxemb.objectives.pairs import Pairs
from jaxemb.posemb.sincos import SinCos
from jaxemb.types import Batch

OUT = Path(__file__).parents[2] / "results" / "text_image_text.csv"
ARMS: dict[str, ContrastiveLoss] = {
    "Hinge, sum": Hinge(),
    "Hinge, hardest": Hinge(negatives="hardest"),
    "InfoNCE": InfoNCE(0.07, directions=("q2d", "d2q"), partition="each", learn_scale=True),
    "Sigmoid": Sigmoid(),
    "Hinge, dot, images": Hinge(1.0, similarity="dot", directions=("q2d",)),
    "Hinge, dot, captions": Hinge(1.0, similarity="dot", directions=("d2q",)),
}
"""Captions are the queries and images the candidates: q2d has images as negatives."""
STARTS = np.cumsum([0, *(2 * len(values) for values in FACTORS.values())])
FILLERS, NAMED, CAPTIONS, PIXELS = 20, 4, 3, 24
WIDTH, BATCH, STEPS, TRAIN, TEST = 64, 64, 300, 2000, 300


def scenes(split: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(images, their factors n f)."""
    data = Shapes(size=PIXELS, clutter=0.3, noise=0.03, count_train=count, count_test=count, data_seed=seed)
    columns = data.examples(split).columns
    return columns["images"].astype(np.float32) / 255 - 0.4, np.stack([columns[name] for name in FACTORS], axis=1)


def captions(factors: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(tokens n t, the factors that each names, -1 where it does not)."""
    n, f = factors.shape
    said = np.where(rng.random((n, f)).argsort(1) < NAMED, factors, -1)
    words = STARTS[:-1] + 2 * factors + rng.integers(0, 2, (n, f))
    filler = STARTS[-1] + rng.integers(0, FILLERS, (n, 1))
    rows = np.concatenate([np.where(said >= 0, words, -1), filler], axis=1)
    kept = rows[rows >= 0].reshape(n, NAMED + 1)
    return rng.permuted(kept, axis=1).astype(np.int32), said


def describes(said: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Whether a caption is true of an image, whosever it is."""
    return ((said[:, None] == factors[None]) | (said[:, None] < 0)).all(-1)


def text(tokens: np.ndarray) -> dict[str, np.ndarray]:
    return {"tokens": tokens, "mask": np.ones(tokens.shape, bool)}


class Captioned(Pairs):
    """`Pairs` of captions and images; `encode` is of images."""

    def captions(self, batch: Batch) -> Array:
        return self.encode(batch, "query")


def objective(loss: ContrastiveLoss) -> Captioned:
    block = Block(Attention(2, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
    stem = Tokens(int(STARTS[-1]) + FILLERS, std=1.0)
    reader = Transformer(stem=stem, pos=SinCos(axes=1), width=WIDTH, depth=1, blocks=(block,))
    return Captioned(encoder=reader, contrast=loss, document=Pooled(encoder=CNN((16, 32), (5, 3)), heads=(Dense(WIDTH),)))


def figures(scores: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Of scores of captions x images."""
    found = {}
    for name, s, relevant in (("search", scores, right), ("annotation", scores.T, right.T)):
        ranks = strict_ranks(s.astype(np.float64), relevant)
        found |= {f"{name}/R@1": within(ranks, 1), f"{name}/R@5": within(ranks, 5), f"{name}/median rank": median_rank(ranks)}
    return found


def study(loss: ContrastiveLoss, seed: int, steps: int = STEPS) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    (images, factors), (held, wanted) = scenes("train", TRAIN, seed), scenes("test", TEST, seed)
    each = np.tile(np.arange(TRAIN), CAPTIONS)
    rows: dict[str, Any] = {"query": text(captions(factors[each], rng)[0]), "positive": {"images": images[each]}}
    model = objective(loss)
    variables = fit(model, rows | {"positive_id": each.astype(np.int32)}, steps=steps, batch=BATCH, seed=seed)
    tokens, said = captions(np.tile(wanted, (CAPTIONS, 1)), rng)
    q, c = asked(model, variables, text(tokens), "captions"), asked(model, variables, {"images": held}, "encode")
    if getattr(loss, "similarity", "cosine") == "cosine":
        q, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, c))
    return figures(q @ c.T, describes(said, wanted))


def main(argv: Sequence[str] | None = None) -> None:
    table_of("image_text", __doc__, "shapes", ARMS, study, ("steps", STEPS, "of training"), OUT, argv)


if __name__ == "__main__":
    main()
