"""How well a masked language model recovers tokens of a text that it has not seen."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.accuracy import finite
from jaxemb.evals.base import Eval, Scores
from jaxemb.evals.perplexity import first_tokens
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoPerplexity(Eval):
    """`pseudo_perplexity` is exp(mean of -log p(token | the tokens that are not hidden)), each token being hidden once.

    `masked_accuracy` is the share that is predicted right. How many tokens are hidden at a time is the objective's `passes`: all
    figures of a table need the same. One at a time, with `passes=None`, is the paper's.
    """

    paper: ClassVar[Paper | None] = Paper("Masked Language Model Scoring", 2020, "arxiv.org/abs/1910.14659")
    needs: ClassVar[type] = Scores

    tokens: int = 20_000
    """Of the text at most, padding included, from its beginning."""

    def run(self, model: Scores, data: Data, *, seed: int = 0) -> dict[str, float]:
        found = dict(model.score(first_tokens(self, data), of="recovered"))
        nll, right, counted = (np.asarray(found[name], np.float64) for name in ("nll", "right", "counted"))
        total = counted.sum()
        if not total:
            raise ConfigError(f"the {self.split} rows have no token that can be hidden: they are padding and special tokens alone")
        nats = float(finite(nll, "log likelihoods").sum() / total)
        return {"pseudo_perplexity": float(np.exp(nats)), "nats_per_token": nats, "masked_accuracy": float(right.sum() / total)}
