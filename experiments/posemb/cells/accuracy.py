"""The Three Cell questions, answered by the model's own head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Num

from experiments.posemb.cells.data import LABELS
from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.base import Eval, Scores, rows_of
from jaxemb.types import Paper

GROUPS = {
    "distance": ("nearer_blue", "nearer_green"),
    "orientation": ("clockwise",),
    "area": ("larger_green", "larger_blue"),
    "vector_sum": ("sum_outside",),
}
"""The columns of the paper's Table 4, each the mean accuracy of these labels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreeCellAccuracy(Eval):
    """Accuracy of the logits of a `Classify` head on the test triples of `ThreeCell`, in the paper's four groups.

    `distance`, `orientation`, `area`, `vector_sum` are means over the labels of a group, `average` their mean. A model that ignores
    its input gets `constant_average`, 60.4 % on balanced data: the best constant answer to each label of the same test rows.
    `distance_exact` and `area_exact` ask for both labels of the group at once, which is <, > or =; guessing gives a third.

    Logits are (b, 12), "no" and "yes" of each label in the order of `LABELS`, as of `Classify(classes=(2,) * 6, label=LABELS)`.
    The softmax of two is the sigmoid of their difference, so "yes" where it is larger is the task's threshold of one half.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LOOPE: Learnable Optimal Patch Order in Positional Embeddings", 2025, "arxiv.org/abs/2504.14386"
    )

    needs: ClassVar[type] = Scores

    test: int = 9_000
    """Test rows at most, drawn with the seed."""

    def run(self, model: Scores, data: Data, *, seed: int = 0) -> dict[str, float]:
        rows = rows_of(data, self.split, self.test, seed)[:]
        if missing := [name for name in LABELS if name not in rows]:
            raise ConfigError(f"ThreeCellAccuracy needs the labels of ThreeCell; the data have no {', '.join(missing)}")
        given = np.asarray(model.score(rows, of="logits"))
        if given.shape != (len(rows[LABELS[0]]), 2 * len(LABELS)):
            raise ConfigError(
                f"ThreeCellAccuracy needs {2 * len(LABELS)} logits, as of Classify(classes=(2,) * 6, label={LABELS}), "
                f"not {given.shape[-1]}"
            )
        right = dict(zip(LABELS, answers(given).T == np.stack([rows[name] == 1 for name in LABELS]), strict=True))
        figures = grouped({name: float(r.mean()) for name, r in right.items()})
        exact = {f"{g}_exact": float(np.all([right[n] for n in GROUPS[g]], axis=0).mean()) for g in ("distance", "area")}
        shares = {name: float(rows[name].mean()) for name in LABELS}
        constant = grouped({name: max(p, 1 - p) for name, p in shares.items()})
        return figures | exact | {"constant_average": constant["average"]}


def answers(logits: Num[np.ndarray, "b v"]) -> Bool[np.ndarray, "b w"]:
    """Where the second of two neighbouring logits is larger."""
    return logits[:, 1::2] > logits[:, ::2]


def grouped(accuracy: Mapping[str, float]) -> dict[str, float]:
    """The mean of each group, and the `average` of those."""
    means = {group: float(np.mean([accuracy[name] for name in names])) for group, names in GROUPS.items()}
    return means | {"average": float(np.mean(list(means.values())))}
