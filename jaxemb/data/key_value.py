"""Associative recall drawn from a seed: which value follows the key that is asked for? Nothing is downloaded."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import ArraySpec, Data, Spec, Split
from jaxemb.data.split import check_split
from jaxemb.data.stream import Drawn, drawn_split
from jaxemb.preprocess.tokens import TokenIds


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyValue(Data):
    """A question after a long text, and somewhere in the text its answer: the value right after the key that is asked for.

        . . u . . . k v . . . . j w . . . . u . . . ? k        label: the number of v

    Here k v and j w are pairs, u are decoys. Ids: 0 is the question mark, then come `keys` keys, `values` values and `fillers`
    fillers, so the stem is `Tokens(data.vocabulary)`. The keys of an example differ, values and fillers are drawn freely, a pair is
    equally likely to start at any place. A longer `length` adds filler alone: what guessing gives stays, and only the distance
    to the answer grows. The question stands last, where a causal decoder has seen everything: `Classify(inputs="tokens",
    pooling=Token(last=True))`.
    With one pair it is a passkey: to tell a value after a key from a decoy takes one layer that looks at the token before, and
    one that finds such a token. More pairs also ask to match keys, which takes far longer to learn. Arrays: `tokens`, `labels`.
    """

    length: int = 128
    """Tokens, question included."""
    pairs: int = 1
    """Key-value pairs, of which one is asked for."""
    decoys: int = 3
    """Values without a key before them: who finds values but not keys is right one time in `pairs + decoys`, or a little more."""
    keys: int = 4
    values: int = 8
    fillers: int = 16
    count_train: int = 10_000
    """Rows of `split("train")`; training batches are always fresh."""
    count_valid: int = 1_000
    count_test: int = 2_000
    data_seed: int = 0
    """Of the rows of the splits; they come from streams of their own, so training never sees those of validation and test."""

    def __post_init__(self) -> None:
        if (
            min(self.pairs, self.fillers, self.count_train, self.count_valid, self.count_test) < 1
            or self.values < 2
            or self.decoys < 0
        ):
            raise ConfigError(
                "pairs, fillers, count_train, count_valid and count_test must be at least 1, values at least 2, decoys at least 0; "
                f"pairs={self.pairs}, fillers={self.fillers}, counts {self.count_train}, {self.count_valid} and {self.count_test}, "
                f"values={self.values}, decoys={self.decoys}"
            )
        if self.keys < self.pairs:
            raise ConfigError(f"keys={self.keys} must be at least pairs={self.pairs}: the keys of an example differ")
        if self.length < (least := 2 + 2 * self.pairs + self.decoys):
            raise ConfigError(f"length={self.length} is too short: question, pairs and decoys are {least} tokens")
        if not 0 <= self.data_seed < 2**32:
            raise ConfigError(f"data_seed must lie in [0, 2**32), not {self.data_seed}")

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return 1 + self.keys + self.values + self.fillers

    @property
    def spec(self) -> Spec:
        return {**self.preprocess.spec, "labels": ArraySpec((), "int32")}

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> Drawn:
        return Drawn(self._draw, size, seed=seed, shard=shard)

    def split(self, name: str) -> Split:
        check_split(name)
        count = {"train": self.count_train, "valid": self.count_valid, "test": self.count_test}[name]
        return drawn_split(self._draw, name, self.data_seed, count)

    @property
    def preprocess(self) -> TokenIds:
        return TokenIds(length=self.length, vocabulary=self.vocabulary)

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        return tuple(f"value {v}" for v in range(self.values)) if label == "labels" else ()

    def _draw(self, rng: np.random.Generator) -> dict[str, Any]:
        keys = 1 + rng.choice(self.keys, self.pairs, replace=False)
        values = 1 + self.keys + rng.integers(self.values, size=self.pairs + self.decoys)
        text = 1 + self.keys + self.values + rng.integers(self.fillers, size=self.length - 2)
        # Places are drawn as if a pair were one token, and moved apart then: uniform over all ways that do not overlap.
        at = rng.choice(len(text) - self.pairs, self.pairs + self.decoys, replace=False)
        at += (at[:, None] > at[None, : self.pairs]).sum(1)  # the pairs before it, each of which takes a token more
        text[at[: self.pairs]] = keys
        at[: self.pairs] += 1
        text[at] = values
        asked = rng.integers(self.pairs)
        tokens = np.concatenate([text, [0, keys[asked]]]).astype(np.int32)
        return {"tokens": tokens, "labels": np.int32(values[asked] - 1 - self.keys)}
