"""Strings as the token ids of a pretrained model: its tokenizer.json, its longest text, its padding, its prompts."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from jaxemb import files
from jaxemb.config import ConfigError, choices
from jaxemb.preprocess.base import ArraySpec, DataError, Items, Preprocess, Spec
from jaxemb.preprocess.text import FILE, LARGEST

log = logging.getLogger("jaxemb")


class Cut(NamedTuple):
    """Texts as ids, one after the other, without special tokens and no longer than the model takes."""

    ids: Int32[np.ndarray, " t"]
    starts: Int[np.ndarray, " n"]
    """Where in `ids` the text of a row begins."""
    lengths: Int[np.ndarray, " n"]
    """Tokens of each text that are kept."""
    lost: Int[np.ndarray, " n"]
    """Tokens of each text that are not."""

    def rows(self, rows: Int[np.ndarray, " k"]) -> Cut:
        """Some of the texts. Their ids are not copied."""
        return Cut(self.ids, self.starts[rows], self.lengths[rows], self.lost[rows])

    def after(self, other: Cut) -> Cut:
        """These texts after those of another one."""
        starts = np.concatenate([other.starts, self.starts + len(other.ids)])
        both = (np.concatenate(pair) for pair in ((other.lengths, self.lengths), (other.lost, self.lost)))
        return Cut(np.concatenate([other.ids, self.ids]), starts, *both)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainedText(Preprocess):
    """A string as the ids that a tokenizer.json gives, special tokens around them, cut on the right, padded to a few lengths.

    Arrays: `tokens` int32; `mask`, False where a token is padding; `pooled`, where a prompt is left out of the pooling: False on
    its tokens as well; `types`, where the tokenizer gives others than 0. The text is taken as it is, not stripped.
    """

    length: int
    """Tokens at most, the special ones included: longer texts are cut, which the log says once."""
    side: str = "right"
    """Where padding goes, "right" or "left"."""
    pad: int = 0
    """The id of padding."""
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Text that goes before the texts of a role: {"query": "query: "}."""
    include_prompt: bool = True
    """Whether the tokens of a prompt count in the pooling; they are seen by the others in any case."""
    lower: bool = False
    """Whether texts become lower case before anything else."""
    strict: bool = False
    """Whether a text that is too long is an error."""
    shortest: int = 8
    """Tokens that every row is padded to at least: the more, the fewer lengths are compiled."""
    full: bool = False
    """Whether every row is padded to `length` and padding is looked at as if it were text, as SigLIP was trained."""
    vocabulary: int | None = None
    """Rows of the model's table, where known: ids beyond it are an error, not another row."""
    learned: str | None = dataclasses.field(default=None, repr=False)
    """The content of tokenizer.json."""

    def __post_init__(self) -> None:
        choices(self, side=("right", "left"))
        if self.learned is not None and self.length <= (specials := sum(map(len, self._around[:2]))):
            raise ConfigError(f"length={self.length} leaves no room for text beside {specials} special tokens")

    @property
    def spec(self) -> Spec:
        return {"tokens": ArraySpec((self.length,), "int32"), "mask": ArraySpec((self.length,), "bool")}

    def __call__(self, items: Items, role: str = "document", prompt: str | None = None) -> dict[str, np.ndarray]:
        """`prompt` None: the one of the role."""
        prompt = self.prompts.get(role, "") if prompt is None else prompt
        cut = self.cut(items, prompt)
        if cut.lost.any():
            say_cut(self.length, f"a text of {cut.lost.max() + self.length} tokens was cut")
        longest = int(self.lengths(cut).max(initial=0))
        return self.padded(cut, np.arange(len(items)), self.bucket(longest), self.prompt_length(prompt))

    @property
    def ids(self) -> int:
        """How many ids the tokenizer gives."""
        return self._opened.get_vocab_size(with_added_tokens=True)

    # ---- from strings to ids -----------------------------------------------------------------------------------------------------

    def cut(self, items: Items, prompt: str = "", rows: Sequence[int] | np.ndarray | None = None) -> Cut:
        """The ids of texts with a prompt before them. `rows`: what errors call them, where they are not 0, 1, 2, ..."""
        name = range(len(items)) if rows is None else rows
        texts = strings(items, name)
        if prompt or self.lower:
            texts = [(prompt + text).lower() if self.lower else prompt + text for text in texts]
        try:
            found = self._opened.encode_batch_fast(texts, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError, ValueError) as e:
            raise DataError(_broken(texts, name) or f"the tokenizer does not take these texts: {e}") from e
        whole = np.fromiter(map(len, found), np.int64, len(found))
        room = self.length - sum(map(len, self._around[:2]))
        kept = np.minimum(whole, room)
        if self.strict and (long := np.flatnonzero(whole > room)).size:
            raise DataError(
                f"row {name[long[0]]} has {whole[long[0]] + self.length - room} tokens, more than length={self.length}, and "
                "strict=True refuses to cut it"
            )
        ids = np.fromiter(
            itertools.chain.from_iterable(e.ids if n <= room else e.ids[:room] for e, n in zip(found, whole, strict=True)),
            np.int32,
            int(kept.sum()),
        )
        if self.vocabulary is not None and ids.size and ids.max() >= self.vocabulary:
            at = int((ids >= self.vocabulary).argmax())
            row = name[int(np.searchsorted(np.cumsum(kept), at, side="right"))]
            raise DataError(
                f"the tokenizer gives row {row} the id {ids[at]}, but the model's table has {self.vocabulary} rows: the tokenizer "
                "belongs to other weights"
            )
        return Cut(ids, np.cumsum(kept) - kept, kept, whole - kept)

    def lengths(self, cut: Cut) -> Int[np.ndarray, " n"]:
        """Tokens of each row with the special ones."""
        return cut.lengths + sum(map(len, self._around[:2]))

    def prompt_length(self, prompt: str) -> int:
        """Tokens at the beginning of a row that are the prompt's, for those who leave it out; the special tokens before it, too."""
        if not prompt:
            return 0
        before, after, special = self._around
        cut = self.cut([prompt])
        last = after[-1] if len(after) else int(cut.ids[-1]) if cut.ids.size else -1
        return len(before) + int(cut.lengths[0]) + len(after) - int(last in special)

    # ---- from ids to arrays ------------------------------------------------------------------------------------------------------

    def bucket(self, length: int) -> int:
        """The smallest length that fits, of those that are compiled: multiples of 8 up to 64, then four an octave."""
        if self.full:
            return self.length
        length = max(length, self.shortest, 1)
        step = max(8, 2 ** ((length - 1).bit_length() - 1) // 4)
        return min(-(-length // step) * step, self.length)

    def padded(
        self, cut: Cut, rows: Int[np.ndarray, " k"], length: int, prompt: int = 0, side: str | None = None
    ) -> dict[str, np.ndarray]:
        """Rows of cut texts as arrays (k length), special tokens around them. `prompt`: what `prompt_length` says."""
        before, after, _ = self._around
        lengths = cut.lengths[rows]
        total = lengths + len(before) + len(after)
        left = (length - total if (side or self.side) == "left" else np.zeros_like(total))[:, None]
        place = np.arange(length)[None] - left  # counted from the first token of a row
        mask = (place >= 0) & (place < total[:, None])
        text = mask & (place >= len(before)) & (place < (len(before) + lengths)[:, None])
        tokens = np.full((len(rows), length), self.pad, np.int32)
        tokens[text] = cut.ids[(cut.starts[rows][:, None] + place - len(before))[text]]
        for at, ids in ((np.zeros_like(total), before), (len(before) + lengths, after)):
            for i, special in enumerate(ids):
                np.put_along_axis(tokens, left + at[:, None] + i, special, 1)
        arrays = {"tokens": tokens, "mask": np.ones_like(mask) if self.full else mask}
        if prompt and not self.include_prompt:
            arrays["pooled"] = mask & (place >= prompt)
        return arrays

    # ---- the tokenizer -----------------------------------------------------------------------------------------------------------

    @property
    def _opened(self) -> Any:
        if self.learned is None:
            raise DataError(f"this preprocessing was saved without its tokenizer: {FILE} is missing")
        return opened(self.learned)

    @property
    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...], frozenset[int]]:
        if self.learned is None:
            raise DataError(f"this preprocessing was saved without its tokenizer: {FILE} is missing")
        return special_tokens(self.learned)

    # ---- a family's own ----------------------------------------------------------------------------------------------------------

    def read(self, path: Path) -> tuple[list[str], list[str]]:
        """The lines of a text file, empty ones too; they have no names."""
        try:
            lines = files.read_lines(path, LARGEST)
        except files.FileError as e:
            raise DataError(str(e)) from e
        if not lines:
            raise DataError(f"{files.printable(path)} has no line")
        return lines, []

    def prompted(self, items: Items, prompt: str) -> Items:
        return [f"{prompt}{item}" for item in strings(items, range(len(items)))]

    def state(self) -> dict[str, bytes]:
        return {} if self.learned is None else {FILE: self.learned.encode()}

    def stateless(self) -> PretrainedText:
        return dataclasses.replace(self, learned=None)

    def with_state(self, files: Mapping[str, bytes]) -> PretrainedText:
        if FILE not in files:
            raise DataError(f"this preprocessing was saved without its tokenizer: {FILE} is missing")
        return dataclasses.replace(self, learned=files[FILE].decode())


@functools.lru_cache(8)
def opened(content: str) -> Any:
    """A tokenizer.json as the library's object, without the truncation and padding that may be written in it."""
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_str(content)
    except Exception as e:  # the library raises nothing more precise
        raise DataError(f"this is no {FILE}: {e}") from e
    found.no_truncation()
    found.no_padding()
    return found


@functools.lru_cache(8)
def special_tokens(content: str) -> tuple[tuple[int, ...], tuple[int, ...], frozenset[int]]:
    """(ids before a text, ids after it, all that are special)."""
    tokenizer = opened(content)
    special = frozenset(i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special)
    for probe in ("a", "the", "0", ""):
        whole, bare = (tokenizer.encode(probe, add_special_tokens=s).ids for s in (True, False))
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare and (bare or probe == ""):
                at = at if bare else next((i for i, t in enumerate(whole) if t in special and i), len(whole))
                return tuple(whole[:at]), tuple(whole[at + len(bare) :]), special
    raise DataError(f"this {FILE} puts its special tokens neither before nor after a text")


@functools.lru_cache(64)
def say_cut(length: int, text: str) -> None:
    log.warning("%s: this model takes %d tokens, and its vector knows nothing of the rest", text, length)


def strings(items: Any, names: Sequence[int] | np.ndarray) -> Sequence[str]:
    """The items, if all are strings; else says which is not."""
    texts = items.tolist() if isinstance(items, np.ndarray) else items
    if set(map(type, texts)) <= {str}:
        return texts
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"row {names[i]} is {_shown(text)}; a text is a string")
    return [str(text) for text in texts]  # NumPy's


def _shown(x: Any) -> str:
    return "None" if x is None else f"a {type(x).__name__} ({str(x)[:40]!r})"


SURROGATE = re.compile("[\ud800-\udfff]")


def _broken(texts: Sequence[str], names: Sequence[int] | np.ndarray) -> str:
    """What is wrong with a text that is no Unicode."""
    for i, text in enumerate(texts):
        if found := SURROGATE.search(text):
            return (
                f"row {names[i]} has half of a surrogate pair (U+{ord(found[0]):04X}) at character {found.start()}: it was cut or "
                "decoded wrongly; text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace') mends it"
            )
    return ""
