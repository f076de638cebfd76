"""From inputs to batches: texts sorted by length into few shapes, everything else in the order it comes, one batch ahead."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxemb.ops.platform import platform
from jaxemb.preprocess.base import Items, Preprocess
from jaxemb.preprocess.hf_text import Cut, PretrainedText
from jaxemb.preprocess.texts_and_images import TextsAndImages

CHARACTERS, TEXTS = 2**20, 2**14
"""Of a window: what is tokenised at once."""
TOKENS = {"cpu": 32}
"""Tokens of the text that `batch_size` counts (128 on other devices): of texts half as long a batch holds twice as many. 32 texts
are 1024 tokens: on a CPU their hidden features stay in its cache, and their scratch memory is below the 32 MiB from which glibc
gives memory back after each call. MiniLM encodes 1.3 times as many tokens a second as in batches of 4096."""
SPREAD = 0.5
"""A batch ends where texts are shorter than this share of its longest,"""
FEW = 1024
"""unless all that are left fill no more places than this."""


class Piece(NamedTuple):
    """A batch."""

    rows: Int[np.ndarray, " k"]
    """Which inputs these are; arrays may have further rows, which are no one's."""
    arrays: dict[str, np.ndarray]


@dataclasses.dataclass
class Tally:
    """What was fed."""

    rows: int = 0
    cut: int = 0
    """Rows that were too long."""
    tokens: int = 0
    """What the model saw."""
    lost: int = 0
    """What was cut off."""
    places: int = 0
    """Tokens and padding."""
    prompt_tokens: int = 0
    """Of each row, left out of the pooling."""

    def add(self, cut: Cut, lengths: np.ndarray, places: int) -> None:
        self.rows += len(lengths)
        self.cut += int((cut.lost > 0).sum())
        self.lost += int(cut.lost.sum())
        self.tokens += int(lengths.sum())
        self.places += places


def pieces(preprocess: Preprocess, items: Items, role: str, prompt: str, size: int, shards: int, tally: Tally) -> Iterator[Piece]:
    """All inputs in batches, in an order that suits the machine. `shards`: devices that share the rows of a batch."""
    if isinstance(preprocess, PretrainedText):
        yield from texts_in_pieces(preprocess, items, prompt, size, shards, tally)
        return
    if isinstance(preprocess, TextsAndImages):
        texts = preprocess.are_texts(items)
        for part, rows in ((preprocess.text, np.flatnonzero(texts)), (preprocess.images, np.flatnonzero(~texts))):
            if not len(rows):
                continue
            some = items[rows] if isinstance(items, np.ndarray) else [items[int(i)] for i in rows]
            for piece in pieces(part, some, role, prompt if part is preprocess.text else "", size, shards, tally):
                yield piece._replace(rows=rows[piece.rows])
        return
    items = preprocess.prompted(items, prompt) if prompt else items
    whole = -(-size // shards) * shards
    for start in range(0, len(items), size):
        part = items[start : start + size]
        arrays = preprocess(part, role)
        tally.rows += len(part)
        yield Piece(np.arange(start, start + len(part)), {name: filled(x, whole) for name, x in arrays.items()})


def texts_in_pieces(preprocess: PretrainedText, items: Items, prompt: str, size: int, shards: int, tally: Tally) -> Iterator[Piece]:
    """The longest first: what does not fit into memory fails at once. Few shapes, little padding, and as many tokens in a batch
    whatever the length of its texts."""
    texts = np.empty(len(items), object)
    texts[:] = items
    lengths = np.fromiter((len(t) if isinstance(t, str) else 0 for t in texts), np.int64, len(texts))
    tally.prompt_tokens = 0 if preprocess.include_prompt else preprocess.prompt_length(prompt)
    yield from _in_pieces(preprocess, lengths, lambda rows: preprocess.cut(texts[rows].tolist(), prompt, rows), size, shards, tally)


def ids_in_pieces(preprocess: PretrainedText, cut: Cut, prompt: str, size: int, shards: int, tally: Tally) -> Iterator[Piece]:
    """The same of texts that are ids already, with those of a prompt before them."""
    tally.prompt_tokens = 0 if preprocess.include_prompt else preprocess.prompt_length(prompt)
    yield from _in_pieces(preprocess, cut.lengths, lambda rows: compact(cut, rows), size, shards, tally)


def _in_pieces(
    preprocess: PretrainedText,
    lengths: Int[np.ndarray, " n"],
    ids: Callable[[np.ndarray], Cut],
    size: int,
    shards: int,
    tally: Tally,
) -> Iterator[Piece]:
    order = np.argsort(-lengths, kind="stable")
    left, rows = None, order[:0]
    for window, last in windows(order, lengths[order]):
        cut = ids(window)
        if left is not None:
            cut, window = cut.after(left), np.concatenate([rows, window])
        total = preprocess.lengths(cut)
        by_length = np.argsort(-total, kind="stable")
        cut, rows, total = cut.rows(by_length), window[by_length], total[by_length]
        start = 0
        while start < len(rows):
            width = preprocess.bucket(int(total[start]))
            most = max(size * TOKENS.get(platform(), 128) // width // shards, 1) * shards
            if not last and len(rows) - start < most:
                break
            few = (len(rows) - start) * width <= FEW
            alike = len(rows) - start if few else int(np.searchsorted(-total[start:], -SPREAD * total[start], side="right"))
            count = round_up(min(alike, most), shards, most)
            part = np.arange(start, min(start + count, len(rows)))
            arrays = preprocess.padded(cut, part, width, tally.prompt_tokens, "right")
            tally.add(cut.rows(part), total[part], count * width)
            yield Piece(rows[part], {name: filled(x, count) for name, x in arrays.items()})
            start += len(part)
        rest = np.arange(start, len(rows))
        left, rows = compact(cut, rest), rows[rest]


def windows(order: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " n"]) -> Iterator[tuple[np.ndarray, bool]]:
    """(rows, whether they are the last) of some `CHARACTERS`."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(order):
        before = ends[start] - lengths[start]
        stop = max(int(np.searchsorted(ends, before + CHARACTERS, side="right")), start + 1)
        stop = min(stop, start + TEXTS)
        yield order[start:stop], stop >= len(order)
        start = stop


def compact(cut: Cut, rows: np.ndarray) -> Cut:
    """Some of the texts, and only their ids."""
    if not len(rows):
        return Cut(cut.ids[:0], cut.starts[:0], cut.lengths[:0], cut.lost[:0])
    part = cut.rows(rows)
    ids = np.concatenate([cut.ids[s : s + n] for s, n in zip(part.starts, part.lengths, strict=True)])
    return Cut(ids, np.cumsum(part.lengths) - part.lengths, part.lengths, part.lost)


def round_up(count: int, shards: int, most: int) -> int:
    """A number of rows of which few are ever compiled: 1, 2, 4, 8, ... for each of the devices."""
    each = -(-count // shards)
    return min(2 ** (each - 1).bit_length() * shards, most)


def filled(x: np.ndarray, rows: int) -> np.ndarray:
    """With rows that are no one's, to a whole batch: copies of the last one."""
    return x if len(x) == rows else np.concatenate([x, np.repeat(x[-1:], rows - len(x), axis=0)])


def ahead(items: Iterator[Any], count: int = 2) -> Generator[Any, None, None]:
    """The same items, made by a thread that is `count` ahead. Its errors are raised here."""
    done: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(count)
    stop = threading.Event()

    def put(found: tuple[Any, BaseException | None]) -> None:
        while not stop.is_set():
            try:
                return done.put(found, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stop.is_set():
                    return
            put((END, None))
        except BaseException as e:
            put((END, e))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = done.get()
            if error is not None:
                raise error
            if item is END:
                return
            yield item
    finally:
        stop.set()
        thread.join()


END: Any = object()
