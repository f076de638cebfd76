"""Pairs of texts of a file of one's own: pairs, triplets, scored pairs, labelled texts."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxemb.config import ConfigError
from jaxemb.data.base import ArraySpec, Data, DataError, Spec, Split
from jaxemb.data.pair_order import PairStream
from jaxemb.data.pair_records import Pair, Wanted, found_file, read_pairs
from jaxemb.data.pair_splits import check_labels, check_tasks, parts
from jaxemb.data.split import SPLITS, check_share, check_split, none_held_out
from jaxemb.data.text import learned_from
from jaxemb.hub import HubError, resolve
from jaxemb.preprocess.hf_folder import read_text_preprocess, tokenizer_folder
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.preprocess.text import Bytes, TextPreprocess, Tokenizer


@dataclasses.dataclass(frozen=True)
class TextPairs(Data):
    """Records of a query and its positive, one a row of a .jsonl, .csv, .tsv or .parquet file or of a folder that Hugging Face's
    datasets saved, and what else a record may hold. Of a collection in BEIR's layout the file is qrels/train.tsv.

        {"query": "how to sort", "positive": "sorted(x)"}                                 pairs
        {"query": ..., "positive": ..., "negatives": ["random(x)"]}                       triplets, with `negatives=1` or more
        {"sentence1": ..., "sentence2": ..., "score": 4.2}                                scored pairs, with `scores=(0, 5)`
        {"text": ..., "label": "sport"}                                                   labelled texts, with `labelled=True`
        {..., "task": "code"}                                                             several tasks, with `tasks=True`

    Fields go by the usual names ("anchor", "question", "answer", "sentence1", "negative_1" ...), or `columns`. Arrays: `query`,
    `positive` and `negatives`, each with `tokens` and `mask`; `query_id`, `positive_id`, `negative_id`, equal for equal texts;
    `present`, False where a row lacks a negative; `scores`, brought to [0, 1]; `labels`; `task`; `teacher`: what `Pairs` reads.

    Where there are several tasks, one of them may have no scores (NaN then) or no labels (-1), for losses by task such as `ByTask`.

    A labelled text without a positive gets another one of its label, drawn anew each time in training, the next one in a split. Of
    tasks a batch holds one, drawn in proportion to (its rows)^(1 / temperature). Splits are of queries: no query is in two of them,
    nor is a text held out that would be the only one of its label there, or leave but one to train on.
    """

    path: str = ""
    """The file with the training pairs."""
    _: dataclasses.KW_ONLY
    test_path: str | None = None
    """A file with the test pairs; None: some of `path`."""
    test_share: float = 0.1
    valid_share: float = 0.1
    """Of the training queries, evenly spaced."""
    negatives: int = 0
    """Hard negatives a row: the first ones of its list. Rows may have fewer."""
    scores: tuple[int | float, int | float] | None = None
    """The range of the scores; None: none are read."""
    labelled: bool = False
    tasks: bool = False
    temperature: float = 1.0
    """1: tasks as often as they have rows; above: small ones more often; 1e6: all alike. A batch above the rows of its task repeats
    them, which the ids say: what a row is told from becomes less."""
    teacher: bool = False
    """Whether `teacher` is read, a list of scores of the positive and of each negative."""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """What the file calls a field, where that is not one of the usual names: {"query": "title"}."""
    header: bool = True
    """Whether the first line of a .csv or .tsv names its columns; without, they are query, positive and, with `scores`, score."""
    length: int = 128
    """Tokens of a text at most."""
    query_length: int | None = None
    """Tokens of a query at most; None: `length`."""
    buckets: tuple[int, ...] = ()
    """Rising lengths, the last of them `length`: a batch has the smallest that fits its longest text, and each is compiled once.
    Empty: all batches have `length`."""
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """Text that goes before the texts of a role: {"query": "query: ", "document": "passage: "}."""
    include_prompt: bool = True
    """Whether the tokens of a prompt count in the pooling; of a `folder` alone."""
    tokenizer: Tokenizer = Bytes()
    """How texts are cut, where there is no `folder`."""
    folder: str | None = None
    """A pretrained folder, or an id "org/name" of the Hugging Face hub, whose tokenizer cuts the texts."""
    guide: str | None = None
    """The folder or the id of a guide, whose tokenizer cuts the texts a second time, into `guide` of each role; None: no guide, or
    one that reads the same tokens."""
    guide_length: int = 128
    """Tokens that the guide reads of a text at most."""

    def __post_init__(self) -> None:
        check_share(self.valid_share, self.test_share)
        if self.query_length is not None and not 1 <= self.query_length <= self.length:
            raise ConfigError(f"query_length must lie in 1 to length={self.length}, not {self.query_length}")
        if self.negatives < 0:
            raise ConfigError(f"negatives is a number of texts, not {self.negatives}")
        if self.scores is not None and not self.scores[0] < self.scores[1]:
            raise ConfigError(f"scores={self.scores} must be (lowest, highest)")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature must be above 0, is {self.temperature}, and finite: 1e6 draws all tasks alike")
        if wrong := [role for role in self.prompts if role not in ("query", "document")]:
            raise ConfigError(f"prompts: {wrong[0]!r} is no role; valid: query, document")
        if not self.include_prompt and self.folder is None:
            raise ConfigError("include_prompt=False needs the tokenizer of a folder, which says where a prompt ends")
        if self.teacher and not self.negatives:
            raise ConfigError("teacher=True: scores of the positive alone say nothing; set negatives")
        TextPreprocess(length=self.length, buckets=self.buckets)  # checks the buckets

    # ---- what it looks like ------------------------------------------------------------------------------------------------------

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        if self.folder is None:
            return self.tokenizer.ids
        found = self.preprocess
        assert isinstance(found, PretrainedText)
        return found.ids

    @property
    def preprocess(self) -> PretrainedText | TextPreprocess:
        if self.folder is not None:
            return _of_folder(self.folder, self.length, self.include_prompt, tuple(self.prompts.items()))
        learned = self.tokenizer.state(lambda: "\n".join(self._texts("train")).encode())
        own = {"tokenizer": self.tokenizer, "buckets": self.buckets, "prompts": dict(self.prompts), "learned": learned}
        return TextPreprocess(length=self.length, **own)

    def restored(self, assets: Any) -> TextPairs:
        """With the tokenizer that the run was trained with, whatever has become of the texts since."""
        return dataclasses.replace(self, tokenizer=learned_from(self.tokenizer, assets))

    @property
    def spec(self) -> Spec:
        return self.specs[-1]

    @property
    def specs(self) -> tuple[Spec, ...]:
        return tuple(self._spec(n) for n in self.buckets or (self.length,))

    def _spec(self, bucket: int) -> Spec:
        k, found = self.negatives, {}
        for role in self._roles:
            rows = (k,) if role == "negatives" else ()
            own = self._of_role(role)
            found[role] = _tokens(rows, min(bucket, self._length(role)), bool(self.prompts.get(own)) and not self.include_prompt)
            if self.guide is not None:
                found[role]["guide"] = _tokens(rows, self.guide_length, False)
        ids = {"query_id": (), "positive_id": ()} | ({"negative_id": (k,)} if k else {})
        found |= {name: ArraySpec(shape, "int32") for name, shape in ids.items()}
        found |= {"present": ArraySpec((k,), "bool")} if k else {}
        found |= {"scores": ArraySpec((), "float32")} if self.scores is not None else {}
        found |= {"labels": ArraySpec((), "int32")} if self.labelled else {}
        found |= {"task": ArraySpec((), "int32")} if self.tasks else {}
        return found | ({"teacher": ArraySpec((1 + k,), "float32")} if self.teacher else {})

    @property
    def _roles(self) -> tuple[str, ...]:
        return ("query", "positive") + ("negatives",) * (self.negatives > 0)

    @staticmethod
    def _of_role(role: str) -> str:
        return "query" if role == "query" else "document"

    def _length(self, role: str) -> int:
        return self.length if role != "query" or self.query_length is None else self.query_length

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        if not {"labels": self.labelled, "task": self.tasks}.get(label, False):
            return ()
        every = [pair for name in SPLITS for pair in self._pairs(name, strict=False)]
        return tuple(sorted({pair.label if label == "labels" else pair.task for pair in every} - {""}))

    def pairs(self, name: str) -> tuple[Pair, ...]:
        """The records of a split as the file has them."""
        return self._pairs(name)

    # ---- rows --------------------------------------------------------------------------------------------------------------------

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> PairStream:
        table = self._table("train")
        if self.labelled and table.partners:
            check_labels(table.pairs)
        if self.tasks:
            check_tasks(table.pairs)
        return PairStream(table, size, seed=seed, shard=shard, temperature=self.temperature)

    def split(self, name: str) -> Split:
        table = self._table(name)
        if self.labelled and table.partners:
            check_labels(table.pairs, batches=False)
        return Split(lambda ids: table.rows(ids, table.next_of(ids), None), len(table))

    def _table(self, name: str) -> PairTable:
        sides = {role: self._side(role) for role in self._roles}
        guide = None if self.guide is None else _of_folder(self.guide, self.guide_length, True, ())
        names = {label: self.label_names(label) for label in ("labels", "task")}
        return PairTable(self._pairs(name), sides, guide, names, self)

    def _side(self, role: str) -> PretrainedText | TextPreprocess:
        found = self.preprocess
        short = {"length": self._length(role)} | ({} if isinstance(found, PretrainedText) else {"buckets": ()})
        return dataclasses.replace(found, **short)

    def _texts(self, name: str) -> list[str]:
        pairs = self._pairs(name)
        return [text for p in pairs for text in (p.query, p.positive, *p.negatives) if text is not None]

    def _pairs(self, name: str, strict: bool = True) -> tuple[Pair, ...]:
        check_split(name)
        wanted = Wanted(
            self.negatives, self.scores, self.labelled, self.tasks, self.teacher, tuple(sorted(self.columns.items())), self.header
        )
        if name == "test" and self.test_path is not None:
            return read_pairs(*found_file(self.test_path, "test_path"), wanted)
        share = 0.0 if self.test_path is not None else self.test_share
        found = parts(*found_file(self.path, "path"), wanted, share, self.valid_share)[name]
        if strict and not found:
            field = "valid_share" if name == "valid" else "test_share"
            raise (
                none_held_out(self.path, self.valid_share)
                if name == "valid"
                else DataError(f"{self.path}: no row is held out for the split {name!r}; set data.{field} higher")
            )
        return found


class Texts(NamedTuple):
    """Different texts, prepared."""

    lengths: Int[np.ndarray, " t"]
    read: Any
    """(rows, length) -> arrays."""


class PairTable:
    """The pairs of a split, with every text tokenised once."""

    def __init__(self, pairs: tuple[Pair, ...], sides: Mapping[str, Any], guide: Any, names: Mapping[str, Any], data: TextPairs):
        self.pairs, self._data, self._sides, self._guide = pairs, data, sides, guide
        number: dict[str, int] = {}
        k = data.negatives
        self.partners = any(p.positive is None for p in pairs)

        def of(text: str) -> int:
            return number.setdefault(text, len(number))

        self._query = np.array([of(p.query) for p in pairs], np.int32)
        self._positive = np.array([of(p.query if p.positive is None else p.positive) for p in pairs], np.int32)
        negatives = [[of(text) for text in p.negatives] for p in pairs]
        self._negatives = np.array([[*row, *[-1] * (k - len(row))] for row in negatives], np.int32).reshape(len(pairs), k)
        self.texts = list(number)
        self._labels = (
            np.array([names["labels"].index(p.label) if p.label else -1 for p in pairs], np.int32) if data.labelled else None
        )
        self.task = (
            np.array([names["task"].index(p.task) for p in pairs], np.int32) if data.tasks else np.zeros(len(pairs), np.int32)
        )
        self._members = {} if self._labels is None else {g: np.flatnonzero(self._labels == g) for g in np.unique(self._labels)}

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def digest(self) -> int:
        """A number of what the pairs are, by which a stream that goes on knows them again."""
        return functools.reduce(lambda found, pair: zlib.crc32(repr(pair[1:]).encode(), found), self.pairs, 0)

    def other_of(self, row: int, rng: np.random.Generator) -> int:
        """Another row of the same label whose text is another one; -1: the row has a positive."""
        if self._labels is None or self.pairs[row].positive is not None:
            return -1
        own = self._members[self._labels[row]]
        others = own[self._query[own] != self._query[row]]
        return int(others[rng.integers(len(others))])

    def next_of(self, ids: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"] | None:
        """Of each row the next one of its label with another text; -1: the row has a positive. None: all have."""
        if not self.partners or self._labels is None:
            return None
        return np.array([self._next(int(i), self._members[self._labels[i]]) for i in ids], np.int64)

    def _next(self, row: int, own: Int[np.ndarray, " k"]) -> int:
        if self.pairs[row].positive is not None:
            return -1
        turned = np.roll(own, -1 - int(np.searchsorted(own, row)))
        return int(turned[np.argmax(self._query[turned] != self._query[row])])

    def bucket(self, ids: Int[np.ndarray, " k"], partners: Int[np.ndarray, " k"] | None) -> int:
        """The smallest length that fits the texts of all these rows."""
        buckets = self._data.buckets
        if not buckets:
            return self._data.length
        numbers = self._numbers(ids, partners)
        longest = max(int(self._prepared(role).lengths[x[x >= 0]].max(initial=0)) for role, x in numbers.items())
        return next(b for b in buckets if b >= longest)

    def rows(self, ids: Int[np.ndarray, " k"], partners: Int[np.ndarray, " k"] | None, bucket: int | None) -> dict[str, Any]:
        """The arrays of some rows; texts padded to `bucket`, None: to the longest."""
        data, numbers = self._data, self._numbers(ids, partners)
        arrays: dict[str, Any] = {role: self._arrays(role, x, bucket or data.length) for role, x in numbers.items()}
        arrays |= {"query_id": numbers["query"], "positive_id": numbers["positive"]}
        if data.negatives:
            arrays |= {"negative_id": numbers["negatives"], "present": numbers["negatives"] >= 0}
        if data.scores is not None:
            low, high = data.scores
            arrays["scores"] = np.array([(self.pairs[i].score - low) / (high - low) for i in ids], np.float32)
        if self._labels is not None:
            arrays["labels"] = self._labels[ids]
        if data.tasks:
            arrays["task"] = self.task[ids]
        if data.teacher:
            given = [self.pairs[i].teacher for i in ids]
            arrays["teacher"] = np.array([[*x, *[0.0] * (1 + data.negatives - len(x))] for x in given], np.float32)
        return arrays

    def _numbers(self, ids: Int[np.ndarray, " k"], partners: Int[np.ndarray, " k"] | None) -> dict[str, np.ndarray]:
        """The texts of each role; -1: there is none."""
        drawn = np.full(len(ids), -1) if partners is None else partners
        positive = np.where(drawn >= 0, self._query[drawn], self._positive[ids])
        found = {"query": self._query[ids], "positive": positive, "negatives": self._negatives[ids]}
        return {role: found[role] for role in self._sides}

    def _arrays(self, role: str, numbers: np.ndarray, bucket: int) -> dict[str, Any]:
        length = min(bucket, self._sides[role].length)
        flat = np.maximum(numbers.reshape(-1), 0)
        found = self._prepared(role).read(flat, length)
        if self._guide is not None:
            found["guide"] = self._read_by_guide.read(flat, self._guide.length)

        def shaped(x: Any) -> Any:
            if isinstance(x, Mapping):
                return {name: shaped(y) for name, y in x.items()}
            # A text that is not there is a row of the first text, of which nothing is looked at: no row is padding alone.
            return x.reshape(*numbers.shape, x.shape[-1])

        return {name: shaped(x) for name, x in found.items()}

    @functools.cached_property
    def _cache(self) -> dict[tuple[str, int], Texts]:
        return {}

    def _prepared(self, role: str) -> Texts:
        side = self._sides[role]
        key = (self._data._of_role(role), side.length)
        if key not in self._cache:
            self._cache[key] = _prepared(side, self.texts, self._data.prompts.get(key[0], ""))
        return self._cache[key]

    @functools.cached_property
    def _read_by_guide(self) -> Texts:
        return _prepared(self._guide, self.texts, "")


def _prepared(side: PretrainedText | TextPreprocess, texts: list[str], prompt: str) -> Texts:
    if isinstance(side, PretrainedText):
        cut, before = side.cut(texts, prompt), side.prompt_length(prompt)
        return Texts(side.lengths(cut), lambda rows, length: side.padded(cut, rows, length, before))
    found = [side.ids(f"{prompt}{text}".encode())[: side.length] for text in texts]
    lengths = np.array([len(x) for x in found], np.int64)
    return Texts(lengths, lambda rows, length: dataclasses.replace(side, length=length).padded([found[i] for i in rows]))


def _tokens(rows: tuple[int, ...], length: int, pooled: bool) -> dict[str, Any]:
    names = {"tokens": "int32", "mask": "bool"} | ({"pooled": "bool"} if pooled else {})
    return {name: ArraySpec((*rows, length), dtype) for name, dtype in names.items()}


@functools.lru_cache(8)
def _of_folder(folder: str, length: int, include_prompt: bool, prompts: tuple[tuple[str, str], ...]) -> PretrainedText:
    try:
        path = resolve(Path(folder).expanduser())
    except HubError as e:
        raise DataError(f"no tokenizer to cut the texts with: {e}") from e
    how = {"include_prompt": include_prompt, "prompts": dict(prompts)}
    return read_text_preprocess(tokenizer_folder(path), window=None, max_length=length, **how)
