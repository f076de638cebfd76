"""RankMe as an evaluation: watch for collapse without labels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxemb.data.base import Data
from jaxemb.evals.base import Encodes, Eval, rows_of
from jaxemb.metrics.rankme import rankme
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankMe(Eval):
    """The effective rank of the embeddings of training images without augmentation; `width` is the most it could be.

    The paper takes what the loss sees: for a method with a projector that is its output, `of="project"`, and judges by it what
    `encode` gives. Compare runs of one method only. The paper uses 25 600 images; five to ten times the width is enough.
    """

    paper: ClassVar[Paper | None] = Paper(
        "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their Rank",
        2023,
        "arxiv.org/abs/2210.02885",
    )

    of: str = "encode"
    """The method of the objective that gives the rows: "project" is the projector's output, where there is one."""
    samples: int = 25_600
    split: str = "train"
    centre: bool = False
    """Subtract the mean embedding first; not the paper's definition."""

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        z = np.asarray(model.encode(rows_of(data, self.split, self.samples, seed), of=self.of))
        return {"rankme": rankme(z, centre=self.centre), "width": float(min(z.shape)), "std": float(z.std(0).mean())}
