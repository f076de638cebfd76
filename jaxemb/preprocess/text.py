"""Strings as token ids, padded to a few lengths."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Integer

from jaxemb import files
from jaxemb.config import ConfigError
from jaxemb.preprocess.base import LARGEST as STATE
from jaxemb.preprocess.base import ArraySpec, DataError, Items, Preprocess, Spec
from jaxemb.types import Paper

LARGEST = 2**30
"""Bytes of a text file whose lines are read at once."""
FILE = "tokenizer.json"
"""Of a trained tokenizer, beside the run."""


@dataclasses.dataclass(frozen=True)
class Tokenizer(abc.ABC):
    """How text is cut. A tokenizer that learns from text has a state, which the preprocessing carries."""

    paper: ClassVar[Paper | None] = None

    @property
    @abc.abstractmethod
    def ids(self) -> int:
        """How many ids there are."""

    @abc.abstractmethod
    def state(self, corpus: Any) -> str | None:
        """What it learns from a text, `corpus()` of bytes; None where it learns nothing."""

    @abc.abstractmethod
    def encode(self, text: bytes, state: str | None) -> Integer[np.ndarray, " n"]:
        """The ids of a text."""

    def begins(self, state: str | None) -> Bool[np.ndarray, " v"]:
        """Which ids begin a word: white space belongs to the word after it."""
        raise ConfigError(f"{type(self).__name__} does not say where words begin")


@dataclasses.dataclass(frozen=True)
class Bytes(Tokenizer):
    """An id a byte, of any file."""

    @property
    def ids(self) -> int:
        return 256

    def state(self, corpus: Any) -> None:
        return None

    def encode(self, text, state):
        return np.frombuffer(text, np.uint8)

    def begins(self, state):
        return np.isin(np.arange(256), list(b" \t\r\n"))


@dataclasses.dataclass(frozen=True)
class BPE(Tokenizer):
    """Byte pairs merged by their frequency in the training text, which must be UTF-8; no token crosses the end of a line.

    The text is read once, at the beginning of a run; the merges are kept in the run's `assets/tokenizer.json`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Neural Machine Translation of Rare Words with Subword Units", 2016, "https://arxiv.org/abs/1508.07909"
    )

    vocabulary: int = 1024
    """Number of ids, the 256 bytes included."""
    file: str | None = None
    """A trained tokenizer.json; None: trained on the training text."""

    def __post_init__(self) -> None:
        if self.vocabulary <= 256:
            raise ConfigError(f"BPE: vocabulary must be more than the 256 bytes, not {self.vocabulary}")

    @property
    def ids(self) -> int:
        return self.vocabulary

    def state(self, corpus: Any) -> str:
        if self.file is None:
            return _trained(corpus(), self.vocabulary)
        from etils import epath

        try:
            return files.read_bytes(epath.Path(self.file), STATE).decode()
        except (files.FileError, UnicodeDecodeError) as e:
            raise DataError(f"tokenizer.file={self.file!r} cannot be read: {e}") from e

    def encode(self, text, state):
        found = _opened(state or "").encode_batch_fast(_lines(text))
        ids = np.concatenate([np.asarray(line.ids, np.int32) for line in found]) if found else np.zeros(0, np.int32)
        if ids.size and ids.max() >= self.vocabulary:
            raise DataError(
                f"the tokenizer gives ids up to {ids.max()}, more than vocabulary={self.vocabulary}: it is another one's"
            )
        ids.flags.writeable = False
        return ids

    def begins(self, state):
        found = np.zeros(self.vocabulary, bool)
        for token, i in _opened(state or "").get_vocab().items():
            # Byte-level tokens write white space as these characters; of a WordPiece vocabulary all but "##..." begin a word.
            found[i] = token[:1] in "\u0120\u010a\u0109\u010d\u2581" if '"WordPiece"' not in (state or "") else token[:2] != "##"
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextPreprocess(Preprocess):
    """A string cut into tokens, the first `length` of them, and padding up to the smallest of `buckets` that fits all of a batch.

    Arrays: `tokens` int32, and `mask`, False where a token is padding.
    """

    length: int
    """Tokens at most."""
    tokenizer: Tokenizer = Bytes()
    buckets: tuple[int, ...] = ()
    """Rising lengths, the last of them `length`: each is compiled once. Empty: all rows have `length`."""
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """Text that goes before the texts of a role: {"query": "query: "}."""
    learned: str | None = dataclasses.field(default=None, repr=False)
    """The state of the tokenizer."""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(f"length must be at least 1, not {self.length}")
        if self.buckets and (
            list(self.buckets) != sorted(set(self.buckets)) or self.buckets[0] < 1 or self.buckets[-1] != self.length
        ):
            raise ConfigError(f"buckets must rise and end in length={self.length}, not {self.buckets}")

    @property
    def spec(self) -> Spec:
        return {"tokens": ArraySpec((self.length,), "int32"), "mask": ArraySpec((self.length,), "bool")}

    def __call__(self, items: Items, role: str = "document") -> dict[str, np.ndarray]:
        if wrong := [item for item in items if not isinstance(item, str) or not item]:
            raise DataError(f"an input is a string with at least one character, not {wrong[0]!r}")
        prompt = self.prompts.get(role, "")
        return self.padded([self.ids(f"{prompt}{item}".encode()) for item in items])

    def ids(self, text: bytes) -> Integer[np.ndarray, " n"]:
        """The tokens of a text, however many."""
        return self.tokenizer.encode(text, self.learned)

    def padded(self, rows: Iterable[Integer[np.ndarray, " _"]]) -> dict[str, np.ndarray]:
        """Rows of ids, cut and padded to one length."""
        rows = [row[: self.length] for row in rows]
        longest = self.bucket(max(map(len, rows), default=0))
        tokens, lengths = np.zeros((len(rows), longest), np.int32), np.array([len(r) for r in rows], np.int64)
        for row, into in zip(rows, tokens, strict=True):
            into[: len(row)] = row
        return {"tokens": tokens, "mask": np.arange(longest)[None] < lengths[:, None]}

    def bucket(self, length: int) -> int:
        """The smallest length that fits."""
        return next((b for b in self.buckets if b >= length), self.length)

    def read(self, path: Path) -> tuple[list[str], list[str]]:
        """The lines of a text file that are not empty; they have no names."""
        try:
            lines = [line for line in files.read_text(path, LARGEST).splitlines() if line.strip()]
        except files.FileError as e:
            raise DataError(str(e)) from e
        if not lines:
            raise DataError(f"{files.printable(path)} has no line that is not empty")
        return lines, []

    def prompted(self, items: Items, prompt: str) -> Items:
        return [f"{prompt}{item}" for item in items]

    def state(self) -> dict[str, bytes]:
        return {} if self.learned is None else {FILE: self.learned.encode()}

    def stateless(self) -> TextPreprocess:
        tokenizer = dataclasses.replace(self.tokenizer, file=None) if isinstance(self.tokenizer, BPE) else self.tokenizer
        return dataclasses.replace(self, learned=None, tokenizer=tokenizer)

    def with_state(self, files: Mapping[str, bytes]) -> TextPreprocess:
        if FILE in files:
            return dataclasses.replace(self, learned=files[FILE].decode())
        if isinstance(self.tokenizer, BPE):
            raise DataError(f"the tokenizer of this preprocessing was saved without its merges: {FILE} is missing")
        return self


@functools.lru_cache(2)
def _trained(text: bytes, vocabulary: int) -> str:
    """Byte-level BPE on this text, as tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_lines(text), trainer)
    return tokenizer.to_str()


@functools.lru_cache(4)
def _opened(state: str) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(state)
    except Exception as e:  # the library raises nothing more precise
        raise DataError(f"this is no tokenizer.json: {e}") from e


def _lines(text: bytes) -> list[str]:
    try:
        return text.decode().splitlines(keepends=True)
    except UnicodeDecodeError as e:
        raise DataError(f"BPE needs text in UTF-8, and byte {e.start} is not: tokenizer=Bytes() reads anything") from e
