"""Array files, .npy and .npz, that may be damaged or made to harm: no pickles, no header that asks for more than there is."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxemb import files
from jaxemb.preprocess.base import DataError

HEADER = 10_000
"""Bytes of a header that are parsed."""


class ArrayFile(NamedTuple):
    """What an array file holds."""

    single: np.ndarray | None
    """The array of an .npy."""
    arrays: dict[str, np.ndarray]
    """Those of an .npz that were asked for."""
    names: list[str]
    """All that the .npz has."""


def read_array_file(path: Path, wanted: Sequence[str]) -> ArrayFile:
    """The contents tell what an array file is, not its ending."""
    if not files.is_regular(path):
        raise DataError(f"{files.printable(path)} is not a regular file")
    try:
        with open(path, "rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                stream.seek(0)
                return ArrayFile(_read(stream, os.fstat(stream.fileno()).st_size), {}, [])
            with zipfile.ZipFile(stream) as archive:
                members = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
                found = {}
                for name in [n for n in wanted if n in members]:
                    with archive.open(members[name]) as member:
                        found[name] = _read(member, members[name].file_size)
                return ArrayFile(None, found, list(members))
    except Exception as e:  # NumPy, its tokenizer and zipfile raise whatever they meet in a broken file
        why = "; ".join(str(e).split("\n")) or type(e).__name__
        raise DataError(f"{files.printable(path)} cannot be read: {files.printable(why)}") from e


def _read(stream: Any, size: int) -> np.ndarray:
    """One array; its header is read first, and compared with the bytes that are there and with the memory."""
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ValueError(f"version {version} of the format is none of (1, 0) and (2, 0)")
    shape, _, dtype = read_header(stream, max_header_size=HEADER)
    if dtype.hasobject:
        raise ValueError("it holds Python objects (a pickle), which are not read: they could run code")
    if any(n < 0 for n in shape):
        raise ValueError(f"its shape is {shape}")
    needed = math.prod(shape) * dtype.itemsize
    if needed > size - stream.tell():
        raise ValueError(f"its header asks for {needed} bytes, there are {size - stream.tell()}")
    if needed > memory() // 2:
        raise ValueError(f"it needs {needed / 2**30:.1f} GiB, more than half of the memory of this machine")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False, max_header_size=HEADER)


def memory() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not told here
        return 2**40
