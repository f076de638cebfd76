"""An index together with what its rows are, in a folder: what is searched a second time is not encoded again."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from jaxemb.config import ConfigError
from jaxemb.files import FileError, digest, exists, is_folder, is_regular, printable, read_json
from jaxemb.index.built import Built
from jaxemb.index.files import ARRAYS, DESCRIPTION, checksum, load_index

TEXTS, ORIGIN = "texts.jsonl", "search.json"


class Hit(NamedTuple):
    """A row that was found."""

    score: float
    row: int
    where: str
    """What it is called: file:line, an id, a file."""
    text: str
    """"" where it is none."""


@dataclasses.dataclass(frozen=True)
class Searchable:
    """Vectors that can be searched, and the texts that they are of."""

    built: Built
    where: Sequence[str]
    """Of each row, by its id."""
    texts: Sequence[str] = ()
    """Of each row; empty where rows are no texts."""
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What is needed to search it again: the model, the prompt, what the corpus was."""

    def search(self, q: Any, k: int, allow: Any = None) -> list[list[Hit]]:
        """The hits of each query, best first: fewer than k where fewer rows are allowed."""
        found = self.built.search(q, k, allow)
        return [[self.hit(float(s), int(i)) for s, i in zip(*row, strict=True) if i >= 0] for row in zip(*found, strict=True)]

    def hit(self, score: float, row: int) -> Hit:
        return Hit(score, row, self.where[row], self.texts[row] if self.texts else "")

    def save(self, folder: Any) -> None:
        """Into a folder that is new, empty, or has an index that is then another one. It is written beside it and takes its place
        when it is whole: where saving ends early what was there stays."""
        check_place(folder)
        place = Path(folder).resolve()
        new, old = (place.with_name(f".{place.name}.{which}") for which in ("new", "old"))
        shutil.rmtree(new, ignore_errors=True)
        try:
            self._write(new)
            shutil.rmtree(old, ignore_errors=True)
            if place.exists():
                place.rename(old)
            new.rename(place)
        except BaseException:
            if exists(old) and not exists(place):
                old.rename(place)
            shutil.rmtree(new, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        self.built.save(folder)
        with open(folder / TEXTS, "w", encoding="utf-8") as file:
            for i, where in enumerate(self.where):
                file.write(json.dumps([where, self.texts[i]] if self.texts else [where], ensure_ascii=False) + "\n")
        doc = {"origin": self.origin, "texts": digest(folder / TEXTS), "index": digest(folder / DESCRIPTION)}
        (folder / ORIGIN).write_text(json.dumps({**doc, "checksum": checksum(doc)}, indent=2) + "\n")


def check_place(folder: Any) -> None:
    """Refuses a folder into which no index can be saved: what is in it would be lost."""
    folder = Path(folder)
    if exists(folder):
        there = {file.name for file in folder.iterdir()} if is_folder(folder) else {folder.name}
        if there and (there - {DESCRIPTION, ARRAYS, TEXTS, ORIGIN} or not there & {DESCRIPTION, ARRAYS}):
            raise ConfigError(f"{printable(folder)} holds other things than an index: name a new folder")
        if os.path.ismount(folder):
            raise ConfigError(
                f"{printable(folder)} is where a disk begins, which no index can take the place of: name a folder in it"
            )
    parent = folder.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))


def is_saved(path: Any) -> bool:
    """Whether a folder holds an index."""
    return is_regular(Path(path) / DESCRIPTION)


def load_searchable(folder: Any, *, mesh: Mesh | None = None) -> Searchable:
    """What `save` wrote, or an index alone, whose rows are called by their numbers; a `FileError` where a file is missing, cut off
    or was edited. `mesh`: over whose devices the rows are cut."""
    folder = Path(folder)
    built = load_index(folder, mesh=mesh)
    if not is_regular(folder / ORIGIN):
        if is_regular(folder / TEXTS):
            raise FileError(f"{printable(folder / ORIGIN)} is missing: the index was not saved to its end, save it again")
        return Searchable(built, numbered(built.next_id))
    doc = read_json(folder / ORIGIN)
    if not isinstance(doc, dict) or doc.pop("checksum", None) != checksum(doc):
        raise FileError(f"{printable(folder / ORIGIN)} has changed since it was saved: save the index again")
    for name, what in ((TEXTS, "texts"), (DESCRIPTION, "index")):
        if not is_regular(folder / name) or digest(folder / name) != doc[what]:
            raise FileError(f"{printable(folder / name)} has changed since the index was saved: save it again")
    with open(folder / TEXTS, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return Searchable(built, [row[0] for row in rows], [row[1] for row in rows if len(row) == 2], doc["origin"])


def numbered(rows: int) -> list[str]:
    """What rows are called that nothing is known of."""
    return [f"row {i}" for i in range(rows)]
