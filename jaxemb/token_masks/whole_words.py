"""All tokens of a word together."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.token_masks.base import TokenMasks, by_words
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class WholeWords(TokenMasks):
    """All tokens of a word or none, so that no piece gives away the others (Cui et al. 2019; BERT's second release).

    Words come in random order until the share is reached; one that has more tokens than are left is passed over.
    """

    paper: ClassVar[Paper | None] = Paper("Pre-Training with Whole Word Masking for Chinese BERT", 2019, "arxiv.org/abs/1906.08101")

    def choose(self, free, words, counts, draws):
        if words is None:
            raise ConfigError(
                "masks=WholeWords needs 'words' (b n) in the batch, the number of the word of each token: data that give it is "
                "Text(words=True); RandomTokens and Spans do without"
            )
        keys = draws.random(free.shape[1])
        rows = []
        for own, kept, key, count in zip(words, free, keys, counts, strict=True):
            names, first = np.unique(own[kept], return_index=True)
            rows.append(by_words(names[np.argsort(key[kept][first], kind="stable")], own, kept, int(count)))
        return np.stack(rows)
