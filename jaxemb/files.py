"""Files that may come from strangers: regular ones alone, up to a size, and JSON without traps.

A FIFO would wait for ever and a device never ends, so what is no regular file is not opened. Anything wrong is a `FileError`
that names the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from typing import Any

LARGEST = 64 * 2**20
"""Bytes of a config, a manifest or a line of figures; real ones are a thousandth of it."""
DEEPEST = 60
"""Levels of a JSON document; those of the largest models are about twelve."""


class FileError(ValueError):
    """A file that is not there, is none, is too large, or does not hold what it should."""


def is_local(path: Any) -> bool:
    """Whether a path is on a file system of this machine, and in no bucket (`gs://`): locks and flushes exist only there."""
    return "://" not in os.fspath(path)


BUCKETS = {
    "gs": ("gcsfs", "gcs", "gcloud auth application-default login"),
    "s3": ("s3fs", "s3", "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
}
"""Schemes: the package that reads them, the extra that installs it, where credentials come from."""


@contextlib.contextmanager
def reaching(path: Any) -> Iterator[None]:
    """What is done at `path`; a bucket that cannot be reached is a `FileError` that says what it takes."""
    if is_local(path):
        yield
        return
    package, extra, login = BUCKETS.get(
        os.fspath(path).partition("://")[0], ("a package that is not here", "gcs", "see its manual")
    )
    try:
        yield
    except ImportError as e:
        raise FileError(f"{printable(path)} needs {package}: pip install 'jaxemb[{extra}]' ({_first_line(e)})") from e
    except FileNotFoundError:
        raise
    except Exception as e:
        if isinstance(e, PermissionError) or re.search("credential|unauthor|forbidden|denied", f"{type(e).__name__} {e}", re.I):
            raise FileError(f"{printable(path)} is refused: {_first_line(e)}; credentials: {login}") from e
        raise


def _first_line(e: Exception) -> str:
    return printable((str(e).strip() or type(e).__name__).splitlines()[0])


def is_regular(file: Any) -> bool:
    """Whether there is a file with bytes of its own: no folder, FIFO, socket or device; no for names that cannot be."""
    if not is_local(file):
        with reaching(file):
            return bool(file.is_file())
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except (OSError, ValueError):  # a name with a null, or of 5000 characters
        return False


def is_folder(path: Any) -> bool:
    """Whether there is a folder; no for names that cannot be."""
    if not is_local(path):
        with reaching(path):
            return bool(path.is_dir())
    try:
        return os.path.isdir(path)
    except (OSError, ValueError):
        return False


def read_bytes(file: Any, limit: int = LARGEST) -> bytes:
    """The bytes of a regular file."""
    if not is_regular(file):
        raise FileError(f"{printable(file)} is not a regular file" if exists(file) else f"there is no file {printable(file)}")
    try:
        if is_local(file):
            with open(file, "rb") as stream:
                long = os.fstat(stream.fileno()).st_size > limit
                found = b"" if long else stream.read(limit + 1)
        else:
            with reaching(file), file.open("rb") as stream:
                found = stream.read(limit + 1)
                long = False
    except OSError as e:
        raise FileError(f"{printable(file)} cannot be read: {e.strerror or e}") from e
    if long or len(found) > limit:
        raise FileError(f"{printable(file)} is larger than {limit // 2**20} MiB, which no such file is")
    return found


def digest(file: Any) -> str:
    """blake2b of a file's bytes, 128 bits."""
    new = hashlib.blake2b(digest_size=16)
    with open(file, "rb") if is_local(file) else file.open("rb") as f:
        while piece := f.read(2**20):
            new.update(piece)  # pyright: ignore[reportArgumentType]
    return new.hexdigest()


def read_text(file: Any, limit: int = LARGEST) -> str:
    """The text of a regular file. Bytes that are no UTF-8 become marks, so that a damaged line does not take the others along."""
    return read_bytes(file, limit).decode("utf-8", "replace")


def read_lines(file: Any, limit: int = LARGEST) -> list[str]:
    """The lines of a regular file in UTF-8, empty ones too, without their ends."""
    try:
        lines = read_bytes(file, limit).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as e:
        line = e.object[: e.start].count(b"\n") + 1
        raise FileError(f"{printable(file)}, line {line}: this is no UTF-8: {e.reason}") from e
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def read_json(file: Any, limit: int = LARGEST) -> Any:
    """The document of a JSON file."""
    text = read_text(file, limit)
    try:
        return parse_json(text)
    except ValueError as e:
        raise FileError(f"{printable(file)} is damaged: {e}") from e


def parse_json(text: str) -> Any:
    """`json.loads` that refuses what is too deep, and integers beyond 64 bits, in words: a ValueError in any case."""
    if (deep := depth(text)) > DEEPEST:
        raise ValueError(f"it is nested {deep} deep, more than {DEEPEST}")
    return json.loads(text, parse_int=_integer)


def depth(text: str) -> int:
    """The most brackets that are open at once. Those in strings count as well: no config holds as many."""
    level = deepest = 0
    for c in re.findall(r"[\[{(\]})]", text):
        level += 1 if c in "[{(" else -1
        deepest = max(deepest, level)
    return deepest


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"the integer {digits[:20]}{'...' * (len(digits) > 20)} needs more than 64 bits")
    return int(digits)


def escape(text: str) -> str:
    """Line ends, what steers terminals, and bytes that are no UTF-8, as Python writes them in a string."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable(x: Any) -> str:
    """A name as it can be shown in one line of any terminal, and not pages of it."""
    text = escape(str(x))
    return text if len(text) <= 300 else f"{text[:150]}...{text[-100:]}"


def exists(file: Any) -> bool:
    """Whether something has this name, be it a file or not."""
    if not is_local(file):
        with reaching(file):
            return bool(file.exists())
    try:
        return os.path.lexists(file)
    except (OSError, ValueError):
        return False
