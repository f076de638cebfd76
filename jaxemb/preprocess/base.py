"""The family of preprocessing: raw inputs become arrays, with a state that is saved beside a run or an export."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxemb import files
from jaxemb.config import ConfigError, DataError, from_json, to_json
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """Shape (without the batch axis) and dtype of one array of an example."""

    shape: tuple[int, ...]
    dtype: str = "float32"


Items = Sequence[Any] | np.ndarray
"""Raw inputs, one after the other."""
Spec = Mapping[str, Any]
"""Arrays by name, `ArraySpec`; of data with two towers nested, {"query": {...}, "document": {...}}."""

DESCRIPTION, CHECKSUMS = "preprocess.json", "checksums.json"
LARGEST = 2**28
"""Bytes of a file of a state; the tokenizer of the largest vocabularies is an eighth of it."""


@dataclasses.dataclass(frozen=True)
class Preprocess(abc.ABC):
    """Turns raw inputs into the arrays that a model reads. Fields are its description; what is fitted to data is its state.

    A data set has one (`data.preprocess`). A run saves it in its folder `assets` and reads it from there ever after, so that a
    corpus that has changed, or is gone, changes nothing about a trained model.
    """

    paper: ClassVar[Paper | None] = None

    @property
    @abc.abstractmethod
    def spec(self) -> Spec:
        """The arrays of one example; those of the largest, where examples differ in length."""

    @abc.abstractmethod
    def __call__(self, items: Items, role: str = "document") -> dict[str, np.ndarray]:
        """Arrays with a row an item. `role` is what the items are in a search, "query" or "document": most have no use for it."""

    def read(self, path: Path) -> tuple[Any, list[str]]:
        """(items, their names) of a file or a folder of a user; no names where rows have none."""
        raise DataError(f"{type(self).__name__} reads no files: pass the inputs to Embedder.encode")

    def prompted(self, items: Items, prompt: str) -> Items:
        """The items with a prompt before them."""
        raise ConfigError(f"a prompt goes before text; {type(self).__name__} takes none")

    # ---- state -------------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, bytes]:
        """What was fitted to data, as files by name."""
        return {}

    def stateless(self) -> Preprocess:
        """The description alone."""
        return self

    def with_state(self, files: Mapping[str, bytes]) -> Preprocess:
        """The reverse of `state`."""
        return self

    def save(self, folder: Any) -> None:
        """Writes the description, the state and their checksums into a folder (a `pathlib.Path` or its like)."""
        folder = Path(folder) if isinstance(folder, str) else folder
        content = {DESCRIPTION: (json.dumps(to_json(self.stateless()), indent=2) + "\n").encode(), **self.state()}
        sums = {name: _sum(found) for name, found in content.items()}
        folder.mkdir(parents=True, exist_ok=True)
        for name, found in {**content, CHECKSUMS: (json.dumps(sums, indent=2) + "\n").encode()}.items():
            temporary = folder / f".{name}.tmp"  # a reader never sees half of a file
            temporary.write_bytes(found)
            temporary.replace(folder / name)

    @staticmethod
    def load(folder: Any) -> Preprocess:
        """What `save` wrote; refused where a file is missing or has changed."""
        state = saved(folder)
        try:
            found = from_json(files.parse_json(state[DESCRIPTION].decode("utf-8", "replace")))
        except ValueError as e:
            raise DataError(f"{folder}/{DESCRIPTION} is damaged: {e}") from e
        if not isinstance(found, Preprocess):
            raise DataError(f"{folder}/{DESCRIPTION} describes no preprocessing but a {type(found).__name__}")
        return found.with_state(state)


def saved(folder: Any) -> dict[str, bytes]:
    """The files of a saved preprocessing by name, after their checksums have been compared."""
    folder = Path(folder) if isinstance(folder, str) else folder
    if not files.exists(folder / CHECKSUMS):
        raise DataError(
            f"{files.printable(folder)} holds no preprocessing ({CHECKSUMS} is missing): copy the folder of the run whole"
        )
    try:
        sums = files.read_json(folder / CHECKSUMS)
    except files.FileError as e:
        raise DataError(str(e)) from e
    if not isinstance(sums, dict):
        raise DataError(f"{files.printable(folder / CHECKSUMS)} is damaged: it holds no checksums by name")
    if outside := [name for name in sums if name in ("", "..") or Path(name).name != name]:
        raise DataError(f"{files.printable(folder / CHECKSUMS)} names {outside[0]!r}, which is no file of the folder")
    content = {}
    for name, expected in {DESCRIPTION: None, **sums}.items():
        file = folder / name
        if not files.exists(file):
            raise DataError(f"{files.printable(file)} is missing: copy the folder of the run whole")
        try:
            content[name] = files.read_bytes(file, LARGEST)
        except files.FileError as e:
            raise DataError(str(e)) from e
        if _sum(content[name]) != expected:
            raise DataError(
                f"{files.printable(file)} has changed since it was saved: what the model was trained with is gone; restore it"
            )
    return content


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
