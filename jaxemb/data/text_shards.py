"""Texts in shards larger than memory: a text a row, in ArrayRecord, Parquet or JSON lines, packed into full rows of tokens."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from jaxemb.config import ConfigError, choices, within
from jaxemb.data.base import ArraySpec, Data, DataError, Spec, Split
from jaxemb.data.order import Position, blocks_of
from jaxemb.data.packing import cut_rows
from jaxemb.data.pipeline import Example, Stream, stream
from jaxemb.data.recent import Recent
from jaxemb.data.shards import Shards, opened, split_files, split_rows, stamp
from jaxemb.data.split import check_share, check_split, none_held_out
from jaxemb.data.text import learned_from
from jaxemb.files import printable
from jaxemb.preprocess.text import Bytes, TextPreprocess, Tokenizer

ROWS = ("packed", "lines")
SAMPLE, RUNS = 512, 8
"""Texts whose mean length says how many rows a block gives, and how many runs of neighbours they are."""
LEARNED, LEARNED_RUNS = 2**26, 64
"""Bytes of text that a tokenizer learns from, and how many runs of neighbours they are."""
TEXTS = 6
"""Of the random order of texts: no other stream has this number (data/stream.py)."""
FEWEST = 16
"""Rows of a block at least, so that what its last row lacks is little: small blocks are joined."""


@dataclasses.dataclass(frozen=True)
class TextShards(Data):
    """Rows with a text, in ArrayRecord, Parquet or JSON lines; what is not asked for is never read. What a row of tokens is,
    `rows` says.

        "packed"    texts one after the other, cut every `length` tokens: no padding. `segments` 1, 2, ... by text, `positions` that
                    begin again with each; what is left of a text goes into the next row as a text of its own
        "lines"     each text is a row, cut to `length` and padded; `mask` is False where a token is padding

    `path`, the splits and `groups` are those of `ImageShards`. Packing goes by blocks (row groups of Parquet, runs of 1 024 rows
    of the others): the texts of a block in a new order each epoch, one after the other. A block gives as many rows as its number
    of texts says at the mean length of a sample; tokens beyond them are left out in this epoch, and where the texts are too short
    they begin again. So row i of the global order is known without reading those before it: batches are the same on any number of
    processes, and the place is one number (data/order.py). Splits are packed in the order of the rows.
    """

    path: str = ""
    """A pattern of the training shards, or a folder."""
    _: dataclasses.KW_ONLY
    column: str = "text"
    """The column of text."""
    test_path: str | None = None
    """A pattern of the test shards; None: those of the folder, else `test_share` of the training texts."""
    valid_path: str | None = None
    """As `test_path`."""
    test_share: float = 0.01
    valid_share: float = 0.01
    """Of the training texts without those for testing."""
    length: int = 128
    """Tokens of a row."""
    rows: str = "packed"
    tokenizer: Tokenizer = Bytes()
    """How text is cut: `Bytes()`, `BPE(vocabulary, file)`, which learns from 64 MiB of the training text where `file` is None."""
    groups: int = 16
    """Blocks that are open at a time: a multiple of the processes lets each read its own alone."""
    workers: int = 0
    """Processes that read and cut text; 0: threads of this one."""
    threads: int | None = None
    """In each worker or in this process; None: a quarter of the cores, 2 to 16. Neither number changes what a batch holds."""

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ConfigError(f"length must be at least 2, a token and the next, not {self.length}")
        check_share(self.valid_share, self.test_share)
        choices(self, rows=ROWS)
        within(self, groups=(1, 4096), workers=(0, 1024), threads=(1, 1024))

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return self.tokenizer.ids

    @property
    def preprocess(self) -> TextPreprocess:
        learned = self.tokenizer.state(self._corpus)
        return TextPreprocess(length=self.length, tokenizer=self.tokenizer, learned=learned)

    def restored(self, assets: Any) -> TextShards:
        """With the tokenizer that the run was trained with, whatever has become of the text since."""
        return dataclasses.replace(self, tokenizer=learned_from(self.tokenizer, assets))

    @property
    def spec(self) -> Spec:
        names = {"packed": {"segments": "int32", "positions": "int32"}, "lines": {"mask": "bool"}}[self.rows]
        return {name: ArraySpec((self.length,), dtype) for name, dtype in {"tokens": "int32", **names}.items()}

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> Stream:
        return stream(
            functools.partial(self.texts, "train", self.preprocess),  # a tokenizer learns once, not in each worker
            size,
            seed,
            shard,
            name=f"{printable(self.path)}, rows of {self.length} tokens",
            workers=self.workers,
            threads=self.threads,
        )

    def split(self, name: str) -> Split:
        check_split(name)
        texts = self.texts(name, self.preprocess)
        return Split(texts.rows, len(texts))

    def texts(self, split: str, preprocess: TextPreprocess) -> TextRows:
        """An opened split."""
        shards, ids = self._rows(split)
        if not len(ids):
            if split == "valid":
                raise none_held_out(self.path, self.valid_share)
            raise DataError(f"{printable(self.path)}: {len(shards)} texts are too few to hold out test_share={self.test_share}")
        return TextRows(shards, ids, self.column, preprocess, self.groups, packed=self.rows == "packed")

    def _rows(self, split: str) -> tuple[Shards, range | np.ndarray]:
        """The shards that hold a split, and its rows."""
        files = split_files(self.path, self.test_path, self.valid_path)
        shards = opened(files[split] or files["train"], [self.column])
        given = [name for name in files if files[name]]
        return shards, split_rows(split, len(shards), given, {"test": self.test_share, "valid": self.valid_share})

    def _corpus(self) -> bytes:
        files = split_files(self.path, self.test_path, self.valid_path)["train"]
        return _learned(self, tuple(map(stamp, files)))


@functools.lru_cache(2)
def _learned(data: TextShards, stamps: tuple[tuple[int, int], ...]) -> bytes:
    """What a tokenizer learns from: runs of texts from all over the training text, `LEARNED` bytes at most."""
    shards, ids = data._rows("train")
    found: list[bytes] = []
    for run in runs(ids, shards, LEARNED_RUNS):
        size = 0
        for text in texts_of(shards, run, data.column):
            size += len(text) + 1
            if size > LEARNED // LEARNED_RUNS:
                break
            found.append(text)
    return b"\n".join(found)


def runs(ids: range | np.ndarray, shards: Shards, count: int) -> list[Any]:
    """Evenly spaced blocks of these rows, or all of them."""
    ends = blocks_of(ids, shards.ends)
    return [ids[int(ends[b - 1]) if b else 0 : int(ends[b])] for b in np.unique(np.linspace(0, len(ends) - 1, count).astype(int))]


def texts_of(shards: Shards, ids: Any, column: str) -> list[bytes]:
    """The texts of these rows as UTF-8."""
    found = []
    for number, row in zip(ids, shards.rows(ids), strict=True):
        text = row[column]
        if not isinstance(text, (str, bytes)):
            raise DataError(f"{shards.where(int(number))}: {column!r} must be text, not {printable(repr(text))}")
        found.append(text.encode("utf-8", "replace") if isinstance(text, str) else text)
    return found


class TextRows:
    """An opened split: its rows of tokens by number, and the blocks that training goes through."""

    def __init__(self, shards: Shards, ids: Any, column: str, preprocess: TextPreprocess, lanes: int, *, packed: bool):
        self.lanes, self._packed = lanes, packed
        self._shards, self._ids, self._column, self._preprocess = shards, ids, column, preprocess
        self._texts = self.ends = blocks_of(ids, shards.ends)
        """How many texts, and how many rows, there are up to the end of each block."""
        if packed:
            self._texts, self.ends = self._joined()
        self._recent = Recent(self._block, 4)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def rows(self, indices: np.ndarray) -> Example:
        """Rows of evaluation, in the order of the texts."""
        if not self._packed:
            ids = [int(self._ids[i]) for i in indices]
            tokens = self._tokens(ids)
            if empty := [i for i, t in zip(ids, tokens, strict=True) if not len(t)]:
                raise DataError(f"{self._shards.where(empty[0])}: the text is empty; rows='packed' leaves such texts out")
            return self._preprocess.padded(tokens)
        blocks = np.searchsorted(self.ends, indices, "right")
        found = [self._recent((int(b), None)) for b in blocks]
        places = indices - np.concatenate([[0], self.ends])[blocks]
        return {name: np.stack([f[name][i] for f, i in zip(found, places, strict=True)]) for name in found[0]}

    def drawn(self, position: Position, seed: int) -> Example:
        """The row of training at this position of the order."""
        if self._packed:
            found, row = self._recent((position.block, (seed, position.epoch))), position.row
        else:
            first = int(self.ends[position.block - 1]) if position.block else 0
            found, row = self.rows(np.array([first + position.row])), 0
        return {name: x[row] for name, x in found.items()}

    def keep(self, blocks: int) -> None:
        """How many blocks stay in memory."""
        (self._recent if self._packed else self._shards.recent).most = blocks

    def _joined(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of blocks that give at least `FEWEST` rows each, in texts and in rows."""
        sample = [text for run in runs(self._ids, self._shards, RUNS) for text in self._tokens(run[: SAMPLE // RUNS])]
        length = self._preprocess.length
        rows = np.floor(self._texts * (sum(map(len, sample)) / len(sample) / length)).astype(np.int64)
        if rows[-1] < 1:
            raise DataError(
                f"{printable(self._shards.files[0].path)}: {len(self._ids)} texts have too few tokens for a row of length={length}"
            )
        kept, last = [], 0
        for block, end in enumerate(rows):
            if end - last >= FEWEST:
                kept.append(block)
                last = end
        kept = [*kept[:-1], len(rows) - 1]  # what is left at the end goes to the last block
        return self._texts[kept], rows[kept]

    def _block(self, key: tuple[int, tuple[int, int] | None]) -> dict[str, np.ndarray]:
        """The rows of a block; in training, of an epoch: the texts are in a new order then."""
        block, draw = key
        ids = np.asarray(self._ids[int(self._texts[block - 1]) if block else 0 : int(self._texts[block])])
        if draw is not None:
            ids = np.random.default_rng([TEXTS, *draw, block]).permutation(ids)
        count = int(self.ends[block] - (self.ends[block - 1] if block else 0))
        tokens = self._tokens(ids)
        if not any(map(len, tokens)):
            raise DataError(f"the {len(ids)} texts from {self._shards.where(int(ids.min()))} on are empty")
        return cut_rows(tokens, self._preprocess.length, count)

    def _tokens(self, ids: Any) -> list[np.ndarray]:
        return [self._preprocess.ids(text) for text in texts_of(self._shards, ids, self._column)]
