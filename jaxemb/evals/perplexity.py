"""How well a language model predicts a text that it has not seen."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

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

    def run(self, model: Scores, data: Data, *, seed: int = 0) -> dict[str, float]:
        rows = first_tokens(self, data)
        nll = finite(model.score(rows, of="nll"), "log likelihoods").astype(np.float64)
        nats = float(nll.sum() / predicted(rows).sum())
        figures = {"perplexity": float(np.exp(nats)), "nats_per_token": nats}
        known = getattr(data, "bytes_per_token", None)
        return figures | ({"bits_per_byte": nats / float(np.log(2)) / known(self.split)} if known else {})


def first_tokens(owner: Any, data: Data) -> Any:
    """The first rows of the split that `owner` measures, of as many tokens as it wants."""
    name, rows = type(owner).__name__, data.split(owner.split)
    if "tokens" not in rows.names:
        raise ConfigError(f"{name} needs 'tokens', the data hold {', '.join(rows.names)}")
    length = rows[:1]["tokens"].shape[1]
    if length > owner.tokens:
        raise ConfigError(f"{name}.tokens={owner.tokens} is less than one row of {length}")
    return rows[: owner.tokens // length]
