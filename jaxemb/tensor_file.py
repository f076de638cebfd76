"""A safetensors file: its header read and checked, its tensors written one at a time.

A file is 8 bytes (the length N of the header, little endian), N bytes of JSON, {name: {dtype, shape, data_offsets}}, and the bytes
of the tensors, row-major and little endian.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxemb.config import MANY
from jaxemb.files import printable, read_bytes

DTYPES: dict[str, Any] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": ml_dtypes.bfloat16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
"""What is read, by the names of the format; others (float8, ...) are refused where they are wanted."""
LONGEST_HEADER = 100_000_000
"""Bytes, as in the format's own library."""


LARGE, MAPPED = 2**18, 2**25
"""Bytes of an array from which on pages of its own cost nothing, and from which on malloc takes such pages itself."""


class WeightsError(ValueError):
    """Weights that are not there, are damaged, or do not fit a model; the message names the file and what to do."""


class Stored(NamedTuple):
    """A tensor in a file."""

    file: Path
    name: str
    """As it is called there."""
    dtype: str
    shape: tuple[int, ...]
    start: int
    """Byte of the file at which it begins."""


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file, checked against its length."""
    shown, size = printable(file), os.stat(file).st_size
    try:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, LONGEST_HEADER):
                raise WeightsError(
                    f"{shown} is no safetensors file, or its beginning is damaged: {size} bytes cannot hold its header of {length}"
                    + ("; it is a pointer of git-lfs: run `git lfs pull` in its folder" if _is_pointer(file) else "")
                )
            doc = json.loads(stream.read(length))
    except OSError as e:
        raise WeightsError(f"{shown} cannot be read: {e.strerror or e}") from e
    except (ValueError, RecursionError) as e:
        if isinstance(e, WeightsError):
            raise
        raise WeightsError(f"{shown} is damaged: its header is no JSON: {str(e)[:200]}") from e
    if not isinstance(doc, dict):
        raise WeightsError(f"{shown} is damaged: its header is a {type(doc).__name__}")
    doc.pop("__metadata__", None)
    found = {name: _entry(file, name, entry, 8 + length) for name, entry in doc.items()}
    ends = {name: 8 + length + doc[name]["data_offsets"][1] for name in doc}
    if cut := [name for name, end in ends.items() if end > size]:
        raise WeightsError(
            f"{shown} is cut off: {size} bytes of {max(ends.values())}, and {len(cut)} of {len(doc)} tensors end beyond; "
            "download it again"
        )
    return found


@contextmanager
def mapped(tensor: Stored) -> Iterator[np.ndarray]:
    """A tensor as the file holds it, without reading it. Nothing of it may outlive the block: copy what is to stay."""
    shown = printable(tensor.file)
    if tensor.dtype not in DTYPES:
        raise WeightsError(f"{tensor.name} of {shown} has the dtype {tensor.dtype}; read are {', '.join(DTYPES)}")
    dtype = np.dtype(DTYPES[tensor.dtype])
    if not math.prod(tensor.shape):
        yield np.zeros(tensor.shape, dtype)
        return
    try:
        yield np.memmap(tensor.file, dtype, "r", tensor.start, tensor.shape)
    except (OSError, ValueError) as e:
        raise WeightsError(f"{shown} cannot be read: {e}") from e


def _entry(file: Path, name: str, entry: Any, data: int) -> Stored:
    """One tensor of a header."""
    damaged = WeightsError(f"{printable(file)} is damaged: its header says of {printable(name)!r} {printable(entry)}")
    try:
        dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, ValueError, KeyError):
        raise damaged from None
    if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)) or not isinstance(dtype, str) or start > stop:
        raise damaged
    if dtype in DTYPES and (given := math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize) != stop - start:
        raise WeightsError(
            f"{printable(file)} is damaged: {printable(name)} of shape {shape} and dtype {dtype} has {given} bytes, its place "
            f"holds {stop - start}"
        )
    return Stored(file, name, dtype, shape, data + start)


def _is_pointer(file: Path) -> bool:
    return os.stat(file).st_size < 1024 and read_bytes(file).startswith(b"version https://git-lfs")


# ---- writing ---------------------------------------------------------------------------------------------------------------------


class Tensor(NamedTuple):
    """What `write_tensors` writes: made when its turn comes, so that one is in memory."""

    shape: tuple[int, ...]
    dtype: str
    """By the name of the format, "F32"."""
    make: Callable[[], np.ndarray]


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, in one piece: a reader never sees half of it."""
    header, at = {}, 0
    for name, t in tensors.items():
        end = at + math.prod(t.shape) * np.dtype(DTYPES[t.dtype]).itemsize
        header[name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    temporary = file.with_name(f"{file.name}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for name, t in tensors.items():
                made = t.make()
                if made.shape != t.shape:
                    raise WeightsError(f"{name} was announced with the shape {t.shape}, and has {made.shape}")
                # As bytes: what has a dtype of ml_dtypes is nothing that a stream takes.
                flat = np.ascontiguousarray(made, np.dtype(DTYPES[t.dtype])).reshape(-1)
                stream.write(flat.view(np.uint8).data)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def name_of(dtype: Any) -> str:
    """How the format calls a dtype."""
    for name, known in DTYPES.items():
        if np.dtype(known) == np.dtype(dtype):
            return name
    raise WeightsError(f"safetensors are written in {', '.join(DTYPES)}, not in {np.dtype(dtype)}")


# ---- memory ----------------------------------------------------------------------------------------------------------------------


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array whose bytes begin where JAX can take them over as they are on a CPU: its copy would be a second one. The memory of a
    large one goes back to the system with it."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not hasattr(mmap, "MAP_PRIVATE"):
        room = np.empty(size + 64, np.uint8)
        start = -room.ctypes.data % 64
        return room[start : start + size].view(dtype).reshape(shape)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # of a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8).view(dtype).reshape(shape)


def apart(a: Any) -> Any:
    """A block that is to be held for a while, where its memory goes back to the system with it. What malloc gives for less than 32
    MiB lies between blocks that stay, and is kept. Other things, and views of something larger, are left as they are."""
    root = a
    while isinstance(getattr(root, "base", None), np.ndarray):
        root = root.base
    own = isinstance(root, np.ndarray) and root.base is None and root.nbytes == a.nbytes
    if not own or not LARGE <= a.nbytes < MAPPED:
        return a
    found = aligned(a.shape, a.dtype)
    found[...] = a
    return found


def listed(names: Iterable[str]) -> str:
    """Names in a line, not pages of them."""
    names = [printable(n) for n in names]
    return ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")
