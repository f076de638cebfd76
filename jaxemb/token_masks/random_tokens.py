"""Tokens one by one."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxemb.token_masks.base import TokenMasks
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class RandomTokens(TokenMasks):
    """Tokens one by one, each with the same chance (BERT, Devlin et al. 2018); drawn anew at every epoch, as in RoBERTa."""

    paper: ClassVar[Paper | None] = Paper(
        "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", 2018, "arxiv.org/abs/1810.04805"
    )

    def choose(self, free, words, counts, draws):
        order = np.argsort(np.where(free, draws.random(free.shape[1]), 2.0), axis=1, kind="stable")
        rank = np.argsort(order, axis=1, kind="stable")  # a token's place in the order
        return free & (rank < counts[:, None])
