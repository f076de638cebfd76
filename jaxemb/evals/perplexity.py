"""How well a language model predicts a text that it has not seen."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.accuracy import finite
from jaxemb.evals.base import Eval, Scores
from jaxemb.ops.allow import predicted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(Eval):
    """`nats_per_token` is the mean of -log p over all predicted tokens of the test windows, `perplexity` its exponential.

    `bits_per_byte`, where the data know how many bytes a token stands for, can be compared between tokenizers. A token is
    predicted from those before it in its window alone, and the first of each window not at all: longer windows are easier.
    """

    needs: ClassVar[type] = Scores

    tokens: int = 100_000
    """Of the text at most, from its beginning: about the same text whatever the length of a window."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1:
            raise ConfigError(f"tokens must be at least 1, not {self.tokens}")

    def run(self, model: Scores, data: Data, *, seed: int = 0) -> dict[str, float]:
        test = data.split(self.split)
        if "tokens" not in test.names:
            raise ConfigError(f"Perplexity needs 'tokens', the data hold {', '.join(test.names)}")
        length = test[:1]["tokens"].shape[1]
        if length > self.tokens:
            raise ConfigError(f"tokens={self.tokens} is less than one window of {length}")
        rows = test[: self.tokens // length]
        nll = finite(model.score(rows, of="nll"), "log likelihoods").astype(np.float64)
        nats = float(nll.sum() / predicted(rows).sum())
        figures = {"perplexity": float(np.exp(nats)), "nats_per_token": nats}
        known = getattr(data, "bytes_per_token", None)
        return figures | ({"bits_per_byte": nats / float(np.log(2)) / known(self.split)} if known else {})
