"""A text file of one's own, as windows of tokens for a language model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.config import ConfigError, choices
from jaxemb.data.base import ArraySpec, Data, DataError
from jaxemb.data.stream import Drawn, choose

TOKENIZERS = ("bytes", "bpe")


@dataclasses.dataclass(frozen=True)
class Text(Data):
    """Windows of `length` tokens. Training: at places drawn anew each time; evaluation: one after the other, no overlap.

    An array `tokens`; a row of n tokens holds n - 1 predictions of the next one (see objectives/next_token.py). Without `test_path`
    the last `test_share` of the file is the test text; it is cut off before windows are, so no window lies in both. What is left at
    the end of a split and does not fill a window is not evaluated.
    """

    path: str = ""
    """The file with the training text."""
    _: dataclasses.KW_ONLY
    test_path: str | None = None
    """A file with the test text; None: the end of `path`."""
    test_share: float = 0.1
    length: int = 128
    """Tokens of a window."""
    tokenizer: str = "bytes"
    """"bytes": an id a byte, of any file. "bpe": byte pairs merged by their frequency in the training text, which must be UTF-8; no
    token crosses the end of a line (Sennrich et al. 2016)."""
    vocabulary: int = 256
    """Number of ids, the 256 bytes included: the stem is `Tokens(data.vocabulary)`."""

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ConfigError(f"length must be at least 2, a token and the next, not {self.length}")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"test_share must lie between 0 and 1, not {self.test_share}")
        choices(self, tokenizer=TOKENIZERS)
        if (self.tokenizer == "bytes") != (self.vocabulary == 256) or self.vocabulary < 256:
            raise ConfigError(f"vocabulary must be 256 for bytes and more for bpe, not {self.vocabulary} for {self.tokenizer}")

    @property
    def spec(self) -> Mapping[str, ArraySpec]:
        return {"tokens": ArraySpec((self.length,), "int32")}

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> Drawn:
        ids = self._ids("train")

        def draw(rng: np.random.Generator) -> dict[str, Any]:
            start = rng.integers(len(ids) - self.length + 1)
            return {"tokens": ids[start : start + self.length].astype(np.int32)}

        return Drawn(draw, size, seed=seed, shard=shard)

    def arrays(self, split: str, *, limit: int | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        choose(1, None, seed, split)  # a wrong name is refused before a file is opened
        ids = self._ids(split)
        windows = ids[: len(ids) // self.length * self.length].reshape(-1, self.length)
        return {"tokens": windows[choose(len(windows), limit, seed, split)].astype(np.int32)}

    def preprocess(self, item: Any) -> dict[str, np.ndarray]:
        """A string: its first `length` tokens, or all of them and padding, where `mask` is False."""
        if not isinstance(item, str) or not item:
            raise DataError(f"an input is a string with at least one character, not {item!r}")
        ids = self._encode(item.encode())[: self.length].astype(np.int32)
        return {"tokens": np.pad(ids, (0, self.length - len(ids))), "mask": np.arange(self.length) < len(ids)}

    def bytes_per_token(self, split: str = "test") -> float:
        """Bytes of the text for each of its tokens: what makes figures of two tokenizers comparable."""
        return len(self._text(split)) / len(self._ids(split))

    def _ids(self, split: str) -> np.ndarray:
        ids = self._encode(self._text(split))
        if len(ids) < self.length:
            where = self.test_path if split == "test" and self.test_path else self.path
            raise DataError(f"{where}: the {split} text has {len(ids)} tokens, too few for a window of length={self.length}")
        return ids

    def _encode(self, text: bytes) -> np.ndarray:
        if self.tokenizer == "bytes":
            return np.frombuffer(text, np.uint8)
        return _merged(text, self._text("train"), self.vocabulary)

    def _text(self, split: str) -> bytes:
        if self.test_path is None:
            return _cut(*_found(self.path, "path"), self.test_share)[split == "test"]
        return _read(*(_found(self.test_path, "test_path") if split == "test" else _found(self.path, "path")))


def _found(path: str, field: str) -> tuple[str, int]:
    """The file and its time stamp, so that a new version is read anew."""
    file = Path(path).expanduser()
    if not path or not file.is_file():
        looked = f"there is no file {path!r} (looked for {file.absolute()})" if path else "there is no text"
        raise DataError(f"{looked}; set data.{field} to a text file")
    return str(file), file.stat().st_mtime_ns


@functools.lru_cache(4)
def _read(path: str, changed: int) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}") from e


@functools.lru_cache(4)
def _cut(path: str, changed: int, test_share: float) -> tuple[bytes, bytes]:
    """The text before and after the cut, which no character of UTF-8 straddles."""
    text = _read(path, changed)
    at = round(len(text) * (1 - test_share))
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at += 1
    return text[:at], text[at:]


@functools.lru_cache(2)
def _trained(text: bytes, vocabulary: int) -> Any:
    """Byte-level BPE on this text: the same text gives the same merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_lines(text), trainer)
    return tokenizer


@functools.lru_cache(4)
def _merged(text: bytes, train: bytes, vocabulary: int) -> np.ndarray:
    """The ids of a text under the merges of the training text."""
    found = _trained(train, vocabulary).encode_batch_fast(_lines(text))
    ids = np.concatenate([np.asarray(line.ids, np.int32) for line in found]) if found else np.zeros(0, np.int32)
    ids.flags.writeable = False
    return ids


def _lines(text: bytes) -> list[str]:
    try:
        return text.decode().splitlines(keepends=True)
    except UnicodeDecodeError as e:
        raise DataError(f"tokenizer='bpe' needs text in UTF-8, and byte {e.start} is not: tokenizer='bytes' reads anything") from e
