"""A text file of one's own, as rows of tokens: windows, lines, or lines packed into full rows."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.config import ConfigError, choices
from jaxemb.data.base import ArraySpec, Data, DataError, Spec, Split
from jaxemb.data.packing import pack, packed_rows
from jaxemb.data.split import check_share, check_split, none_held_out
from jaxemb.data.stream import Drawn
from jaxemb.preprocess.base import saved
from jaxemb.preprocess.text import BPE, FILE, Bytes, TextPreprocess, Tokenizer

ROWS = ("windows", "lines", "packed")


@dataclasses.dataclass(frozen=True)
class Text(Data):
    """Rows of at most `length` tokens of a text file; what a row is, `rows` says.

        "windows"   `length` tokens from anywhere, whatever lies between: for language models. Training: at places drawn anew each
                    time; a split: one after the other, no overlap, and what does not fill the last window is left out
        "lines"     each line that is not empty is an example, cut to `length` and padded to the smallest of `buckets` that fits;
                    all rows of a batch share a bucket, drawn by the number of its lines
        "packed"    lines one after the other in a row of `length`, the last one cut: no padding but at the end of a split

    Arrays: `tokens`; of lines `mask`, False where a token is padding; of packed rows `segments`, 1, 2, ... by line and 0 for
    padding, and `positions`, which begin again with each line. Splits: without `test_path` the last `test_share` of the file is for
    testing; of the rest the last `valid_share` is for validation. Both are cut off first, so no row lies in two splits.
    """

    path: str = ""
    """The file with the training text."""
    _: dataclasses.KW_ONLY
    test_path: str | None = None
    """A file with the test text; None: the end of `path`."""
    test_share: float = 0.1
    valid_share: float = 0.1
    """Of the training text, its end."""
    length: int = 128
    """Tokens of a row at most."""
    rows: str = "windows"
    buckets: tuple[int, ...] = ()
    """Of lines: rising lengths, the last of them `length`; each is compiled once. Empty: all rows have `length`."""
    tokenizer: Tokenizer = Bytes()
    """How text is cut: `Bytes()`, `BPE(vocabulary)`. The stem is `Tokens(data.vocabulary)`."""
    words: bool = False
    """Whether rows hold `words` too, the number of the word of each token along the row, for masks of whole words."""

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ConfigError(f"length must be at least 2, a token and the next, not {self.length}")
        check_share(self.valid_share, self.test_share)
        if self.path and self.test_path and _real(self.path) == _real(self.test_path):
            raise ConfigError(
                f"test_path={self.test_path!r} is the file of path={self.path!r}: a model would be tested on the text it was "
                "trained on; name another file, or None for the end of `path`"
            )
        choices(self, rows=ROWS)
        if self.buckets and self.rows != "lines":
            raise ConfigError(f"buckets are for rows='lines', not for {self.rows!r}, whose rows all have length={self.length}")
        TextPreprocess(length=self.length, tokenizer=self.tokenizer, buckets=self.buckets)  # checks the buckets

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return self.tokenizer.ids

    @property
    def preprocess(self) -> TextPreprocess:
        learned = self.tokenizer.state(lambda: self._text("train"))
        return TextPreprocess(length=self.length, tokenizer=self.tokenizer, buckets=self.buckets, learned=learned)

    def restored(self, assets: Any) -> Text:
        """With the tokenizer that the run was trained with, whatever has become of the text since."""
        return dataclasses.replace(self, tokenizer=learned_from(self.tokenizer, assets))

    @property
    def spec(self) -> Spec:
        return self.specs[-1]

    @property
    def specs(self) -> tuple[Spec, ...]:
        lengths = self.buckets or (self.length,)
        names = {"windows": {}, "lines": {"mask": "bool"}, "packed": {"segments": "int32", "positions": "int32"}}[self.rows]
        names = {"tokens": "int32", **names} | ({"words": "int32"} if self.words else {})
        return tuple({name: ArraySpec((n,), dtype) for name, dtype in names.items()} for n in lengths)

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> Drawn:
        draw, numbered = getattr(self, f"_draw_{self.rows}")(), self._numbered()
        return Drawn(lambda *drawn: numbered(draw(*drawn)), size, seed=seed, shard=shard, choose=self._bucket_of())

    def split(self, name: str) -> Split:
        found, numbered = self._split(name), self._numbered()
        return Split(lambda rows: numbered(found[rows]), len(found)) if self.words else found

    def _split(self, name: str) -> Split:
        check_split(name)
        if self.rows == "windows":
            ids = self._ids(name)
            windows = ids[: len(ids) // self.length * self.length].reshape(-1, self.length)
            return Split(lambda rows: {"tokens": windows[rows].astype(np.int32)}, len(windows))
        lines, preprocess = self._lines(name), self.preprocess
        if self.rows == "lines":
            return Split(lambda rows: preprocess.padded([lines[i] for i in rows]), len(lines))
        table = packed_rows(lines, self.length)
        return Split(lambda rows: {name: x[rows] for name, x in table.items()}, len(table["tokens"]))

    def bytes_per_token(self, split: str = "test") -> float:
        """Bytes of the text for each of its tokens: what makes figures of two tokenizers comparable."""
        return len(self._text(split)) / len(self._ids(split))

    def _numbered(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Adds `words` to rows, or to one; leaves them as they are where none are asked for."""
        if not self.words:
            return lambda rows: rows
        begins = self.tokenizer.begins(self.preprocess.learned)

        def numbered(rows: dict[str, Any]) -> dict[str, Any]:
            first = begins[rows["tokens"]]
            if "segments" in rows:  # a text of its own begins with a word
                first = first | (rows["positions"] == 0)
            return {**rows, "words": np.cumsum(first, axis=-1, dtype=np.int32)}

        return numbered

    # ---- training rows -----------------------------------------------------------------------------------------------------------

    def _draw_windows(self) -> Callable:
        ids = self._ids("train")

        def draw(rng: np.random.Generator) -> dict[str, Any]:
            start = rng.integers(len(ids) - self.length + 1)
            return {"tokens": ids[start : start + self.length].astype(np.int32)}

        return draw

    def _draw_lines(self) -> Callable:
        groups, preprocess = self._groups(), self.preprocess

        def draw(rng: np.random.Generator, bucket: int) -> dict[str, Any]:
            line = groups[bucket][rng.integers(len(groups[bucket]))]
            padded = dataclasses.replace(preprocess, length=bucket, buckets=()).padded([line])
            return {name: x[0] for name, x in padded.items()}

        return draw

    def _draw_packed(self) -> Callable:
        lines = self._lines("train")

        def draw(rng: np.random.Generator) -> dict[str, Any]:
            chosen: list[np.ndarray] = []
            while sum(map(len, chosen)) < self.length:
                chosen.append(lines[rng.integers(len(lines))])
            return pack(chosen, self.length)

        return draw

    def _bucket_of(self) -> Callable | None:
        """Draws the bucket of a batch."""
        if self.rows != "lines":
            return None
        groups = self._groups()
        ends = np.cumsum([len(lines) for lines in groups.values()])
        return lambda rng: list(groups)[bisect.bisect_right(ends.tolist(), int(rng.integers(ends[-1])))]

    def _groups(self) -> dict[int, list[np.ndarray]]:
        """The training lines by their bucket."""
        groups: dict[int, list[np.ndarray]] = {}
        preprocess = self.preprocess
        for line in self._lines("train"):
            groups.setdefault(preprocess.bucket(len(line)), []).append(line)
        return dict(sorted(groups.items()))

    # ---- the text ----------------------------------------------------------------------------------------------------------------

    def _ids(self, split: str) -> np.ndarray:
        text = self._text(split)
        ids = _encoded(text, self.preprocess)
        if len(ids) < self.length:
            where = self.test_path if split == "test" and self.test_path else self.path
            raise DataError(f"{where}: the {split} text has {len(ids)} tokens, too few for a window of length={self.length}")
        return ids

    def _lines(self, split: str) -> list[np.ndarray]:
        return _encoded_lines(self._text(split), f"{self.path}, {split}", self.preprocess)

    def _text(self, split: str) -> bytes:
        path, changed = _found(self.path, "path")
        if split == "test" and self.test_path is not None:
            return _read(*_found(self.test_path, "test_path"))
        parts = _cut(
            path, changed, 0.0 if self.test_path is not None else self.test_share, self.valid_share, self.rows != "windows"
        )
        text = parts[("train", "valid", "test").index(split)]
        if split == "valid" and not text:
            raise none_held_out(self.path, self.valid_share)
        return text


def learned_from(tokenizer: Tokenizer, assets: Any) -> Tokenizer:
    """The tokenizer with the state that a run saved in its folder `assets`."""
    if not isinstance(tokenizer, BPE):
        return tokenizer
    saved(assets)  # raises where a file has changed
    return dataclasses.replace(tokenizer, file=f"{assets}/{FILE}")


def _real(path: str) -> str:
    """The path without links and home folders."""
    return os.path.realpath(os.path.expanduser(path))


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
def _cut(path: str, changed: int, test_share: float, valid_share: float, lines: bool) -> tuple[bytes, bytes, bytes]:
    """Training, validation and test text, cut where no character of UTF-8, or no line, is broken."""
    text = _read(path, changed)

    def after(at: int) -> int:
        if lines:
            end = text.find(b"\n", at)
            return len(text) if end < 0 else end + 1
        while at < len(text) and text[at] & 0xC0 == 0x80:
            at += 1
        return at

    test = after(round(len(text) * (1 - test_share))) if test_share else len(text)
    valid = after(round(test * (1 - valid_share))) if valid_share else test
    return text[:valid], text[valid:test], text[test:]


@functools.lru_cache(6)
def _encoded(text: bytes, preprocess: TextPreprocess) -> np.ndarray:
    return preprocess.ids(text)


@functools.lru_cache(6)
def _encoded_lines(text: bytes, where: str, preprocess: TextPreprocess) -> list[np.ndarray]:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{where}: the text has no line that is not empty")
    return [preprocess.ids(line)[: preprocess.length] for line in lines]
