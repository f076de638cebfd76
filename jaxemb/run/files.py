"""Reading and writing in a run folder, here or in a bucket (`gs://`, `s3://`, ...): bounded, whole, and with clear errors.

A run may come from a stranger or a full disk. What is read is a regular file of a bounded size that holds what it should; all
else is a `RunError`. What is written follows no link that stands in its place.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
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
        path.write_text(text)
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


def append(path: Where, text: str) -> None:
    """At the end of a file. Objects of a bucket cannot grow: there it is written anew, so let the files be small."""
    if is_local(path):
        with open(path, "a", opener=_no_link, encoding="utf-8", errors="backslashreplace") as f:
            f.write(text)
        return
    path, before = epath.Path(path), ""
    with contextlib.suppress(FileNotFoundError):
        before = path.read_text()
    path.write_text(before + text)


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
