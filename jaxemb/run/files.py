"""Reading and writing in a run folder, here or in a bucket (`gs://`): bounded, whole, and with clear errors.

A run may come from a stranger or a full disk. What is read is a regular file of a bounded size that holds what it should; all
else is a `RunError`. What is written follows no link that stands in its place.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from typing import IO, Any

from etils import epath

from jaxemb import files
from jaxemb.files import is_local

Where = str | os.PathLike[str]
"""A path as a user gives it."""


class RunError(ValueError):
    """A run folder that is none, belongs to another config, is in use, is damaged, or cannot be written."""


def absolute(path: Where) -> epath.Path:
    """The same place from whatever folder."""
    return epath.Path(os.path.abspath(path) if is_local(path) else path)


def run_place(path: Where) -> epath.Path:
    """The path of a run folder; refused where no checkpoint can lie."""
    scheme = "" if is_local(path) else os.fspath(path).partition("://")[0]
    if scheme not in ("", "gs"):
        raise RunError(
            f"{files.printable(path)}: a run folder is on a file system or in gs://, where Orbax can write checkpoints, not in "
            f"{files.printable(scheme)}://. Mount the bucket (mount-s3, s3fs, rclone mount), or train in a folder and copy it"
        )
    return epath.Path(path)


def walked(folder: epath.Path) -> list[epath.Path]:
    """All files below a folder. In a bucket `walk` yields names that have lost their scheme."""
    head, tail = os.fspath(folder).partition("://")[:2] if not is_local(folder) else ("", "")
    places = ((os.fspath(root), names) for root, _, names in folder.walk())
    whole = ((root if not tail or tail in root else f"{head}{tail}{root.lstrip('/')}", names) for root, names in places)
    return sorted(epath.Path(root) / name for root, names in whole for name in names)


def size(path: epath.Path) -> int:
    """Bytes of a file."""
    return os.stat(path).st_size if is_local(path) else path.stat().length


def read_json(path: Where) -> dict[str, Any]:
    """A JSON object of a run folder."""
    try:
        found = files.read_json(epath.Path(path))
    except files.FileError as e:
        raise RunError(str(e)) from e
    if not isinstance(found, dict):
        raise RunError(f"{files.printable(path)} is damaged: it holds a {type(found).__name__} instead of an object")
    return found


def write_text(path: Where, text: str, *, sync: bool = False) -> None:
    """In one piece: a reader never sees half of it. `sync`: on the disk when this returns."""
    path = epath.Path(path)
    if not is_local(path):  # an object appears whole
        with path.open("wb") as f:
            f.write(text.encode("utf-8", "backslashreplace"))  # pyright: ignore[reportArgumentType]
        return
    temporary = f"{os.fspath(path)}.tmp"
    with open(temporary, "w", opener=_no_link) as f:
        f.write(text)
        if sync:
            f.flush()
            os.fsync(f.fileno())
    os.replace(temporary, path)


def write_json(path: Where, doc: Any) -> None:
    """In one piece."""
    write_text(path, json.dumps(doc, indent=2) + "\n")


EVERY = 30.0
"""Seconds between two times that a file which grows is written to a bucket."""


class Growing:
    """A text file that lines are added to: at once on a file system. Objects of a bucket cannot grow: there the text is written
    anew, at most every `EVERY` seconds, and by `flush`."""

    def __init__(self, path: Where, clock: Callable[[], float] = time.monotonic):
        self.path, self._clock = epath.Path(path), clock
        self._text: str | None = None
        self._waiting, self._written = False, -EVERY

    def begin(self, text: str) -> None:
        """From here on the file holds this and what is added."""
        write_text(self.path, text)
        self._text, self._waiting, self._written = text, False, self._clock()

    def add(self, text: str) -> None:
        if is_local(self.path):
            with open(self.path, "a", opener=_no_link, encoding="utf-8", errors="backslashreplace") as f:
                f.write(text)
            return
        if self._text is None:
            self._text = files.read_text(self.path, 2**31) if files.exists(self.path) else ""
        self._text, self._waiting = self._text + text, True
        if self._clock() - self._written >= EVERY:
            self.flush()

    def flush(self) -> None:
        """What was added is in the file."""
        if self._waiting and self._text is not None:
            self._waiting, self._written = False, self._clock()
            write_text(self.path, self._text)


def locked(path: Where) -> IO[str]:
    """A file that this process alone holds until it is closed or the process ends; BlockingIOError where another one does."""
    lock = open(path, "a", opener=_no_link)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        lock.close()
        raise
    return lock


def _no_link(path: str, flags: int) -> int:
    """Opens for writing what is no link, and does not wait where it is a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
