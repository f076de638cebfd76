"""Signals of collapse, without labels."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from jaxemb.data.base import Data
from jaxemb.evals.base import Encodes, Eval, rows_of
from jaxemb.metrics.alpha_req import alpha_req
from jaxemb.metrics.collapse import mean_cosine, spread
from jaxemb.metrics.rankme import rankme
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collapse(Eval):
    """Four views of the spread of the embeddings of training examples, cheap enough for every few hundred steps.

    `rankme` is the effective rank, `rankme_share` that over the width; `alpha_req` how fast the spectrum falls (near 1 is best,
    says its paper); `spread` is 0 where all embeddings are alike and 1 where they share no mean; `cosine` the mean between two.
    """

    paper: ClassVar[Paper | None] = Paper(
        "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their Rank",
        2023,
        "arxiv.org/abs/2210.02885",
    )

    of: str = "encode"
    """The method of the objective that gives the rows: "project" is the projector's output, where there is one."""
    samples: int = 2_000
    split: str = "train"

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        z = np.asarray(model.encode(rows_of(data, self.split, self.samples, seed), of=self.of))
        rank = rankme(z)
        figures = {"rankme": rank, "rankme_share": rank / min(z.shape), "spread": spread(z), "cosine": mean_cosine(z)}
        alpha = alpha_req(z)
        return figures | ({} if math.isnan(alpha) else {"alpha_req": alpha})
