"""Tensors of a safetensors folder, one file or several with an index, read a part at a time and written a tensor at a time.

A file is 8 bytes (the length N of the header, little endian), N bytes of JSON, {name: {dtype, shape, data_offsets}}, and the bytes
of the tensors, row-major and little endian. A read maps one tensor, copies the part that is asked for and drops the map: what the
host holds is the parts that were asked for and at most one tensor more.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxemb.config import MANY
from jaxemb.files import FileError, is_folder, is_regular, printable, read_bytes, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
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
FLOATS = ("F64", "F32", "F16", "BF16")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
OTHERS = (".h5", ".msgpack", ".onnx", ".gguf")
LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""How the first BERT checkpoints called the parameters of a norm."""
LONGEST_HEADER = 100_000_000
"""Bytes, as in the format's own library."""


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


class TensorFiles:
    """The tensors of a folder, or of one file, by name, `found["encoder.layer.0.output.dense.weight"]`; their bytes are read by
    `read` alone.

    Norms of old checkpoints, `LayerNorm.gamma` and `LayerNorm.beta`, stand under the names of today.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.found: dict[str, Stored] = {}
        for name, tensor in self._stored():
            self.found[_today(name)] = tensor

    def __getitem__(self, name: str) -> Stored:
        if name not in self.found:
            raise WeightsError(f"{printable(self.folder)} holds no tensor {name!r}")
        return self.found[name]

    def __contains__(self, name: str) -> bool:
        return name in self.found

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def bytes(self) -> int:
        """Of all tensors together."""
        return sum(math.prod(t.shape) * np.dtype(DTYPES[t.dtype]).itemsize for t in self.found.values() if t.dtype in DTYPES)

    @contextmanager
    def mapped(self, name: str) -> Iterator[np.ndarray]:
        """A tensor as the file holds it, without reading it. Nothing of it may outlive the block: copy what is to stay."""
        tensor = self[name]
        if tensor.dtype not in DTYPES:
            raise WeightsError(f"{name} of {printable(tensor.file)} has the dtype {tensor.dtype}; read are {', '.join(DTYPES)}")
        dtype = np.dtype(DTYPES[tensor.dtype])
        if not math.prod(tensor.shape):
            yield np.zeros(tensor.shape, dtype)
            return
        try:
            yield np.memmap(tensor.file, dtype, "r", tensor.start, tensor.shape)
        except (OSError, ValueError) as e:
            raise WeightsError(f"{printable(tensor.file)} cannot be read: {e}") from e

    def copy(self, name: str, out: np.ndarray, index: tuple[Any, ...] = (), view: Callable[..., Any] | None = None) -> None:
        """Fills `out` with a part of a tensor: `index` of what `view` makes of it (a reshape, a transposition)."""
        with self.mapped(name) as whole:
            np.copyto(out, (whole if view is None else view(whole))[index], casting="unsafe")
            del whole

    def read(self, name: str, dtype: Any = None) -> np.ndarray:
        """A whole tensor, in `dtype` (None: its own)."""
        tensor = self[name]
        found = np.empty(tensor.shape, np.dtype(DTYPES.get(tensor.dtype, "f4") if dtype is None else dtype))
        self.copy(name, found)
        return found

    # ---- the files ---------------------------------------------------------------------------------------------------------------

    def _stored(self) -> Iterator[tuple[str, Stored]]:
        if is_regular(self.folder):
            yield from read_header(self.folder).items()
        elif is_regular(self.folder / SINGLE):
            yield from read_header(self.folder / SINGLE).items()
        elif is_regular(self.folder / INDEX):
            yield from self._sharded()
        else:
            raise WeightsError(_no_weights(self.folder))

    def _sharded(self) -> Iterator[tuple[str, Stored]]:
        try:
            index = read_json(self.folder / INDEX, LONGEST_HEADER)
        except FileError as e:
            raise WeightsError(str(e)) from e
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not names:
            raise WeightsError(f"{printable(self.folder / INDEX)} is damaged: it holds no weight_map")
        if bad := [f for f in names.values() if not isinstance(f, str) or f != Path(f).name or f.startswith(".")]:
            raise WeightsError(f"{printable(self.folder / INDEX)} names {printable(bad[0])!r}, which is no file of its folder")
        shards = sorted(set(names.values()))
        if missing := [f for f in shards if not is_regular(self.folder / f)]:
            raise WeightsError(
                f"{printable(self.folder)}: {len(missing)} of {len(shards)} files that {INDEX} names are not there: "
                f"{listed(missing)}; download the folder again, or the files that are missing"
            )
        headers = {f: read_header(self.folder / f) for f in shards}
        if lost := [name for name, f in names.items() if name not in headers[f]]:
            raise WeightsError(f"{printable(self.folder / INDEX)} names tensors that its files do not hold: {listed(lost)}")
        for name, file in names.items():
            yield name, headers[file][name]


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


def _today(name: str) -> str:
    for old, new in LEGACY.items():
        if name == old or name.endswith(f".{old}"):
            return name.removesuffix(old) + new
    return name


def _is_pointer(file: Path) -> bool:
    return os.stat(file).st_size < 1024 and read_bytes(file).startswith(b"version https://git-lfs")


def _no_weights(folder: Path) -> str:
    if not is_folder(folder):
        return f"there is no folder {printable(folder)}"
    from jaxemb.io.hub import stays_there  # which needs the errors of this module

    files = sorted({p.name for p in folder.iterdir() if p.is_file()} | {*stays_there(folder)})
    if pickled := [f for f in files if f.endswith(PICKLES)]:
        return (
            f"{printable(folder)} holds its weights as a pickle ({listed(pickled)}), which can run any code when it is opened and "
            f"is never read here. Make {SINGLE} of it where you trust it: with transformers, AutoModel.from_pretrained(folder)."
            "save_pretrained(folder, safe_serialization=True), or take the copy that the hub converts (revision='refs/pr/...')"
        )
    if others := [f for f in files if f.endswith(OTHERS)]:
        return f"{printable(folder)} holds weights of another kind ({listed(others)}) and no {SINGLE}; read is safetensors alone"
    loose = [f for f in files if f.endswith(".safetensors")]
    beside = f"; it holds {listed(loose)}: rename a whole file to {SINGLE}, or add the index" if loose else ""
    return f"{printable(folder)} holds no weights: neither {SINGLE} nor {INDEX}{beside}"


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
    """An array whose bytes begin where JAX can take them over as they are on a CPU: its copy would be a second one."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def listed(names: Iterable[str]) -> str:
    """Names in a line, not pages of them."""
    names = [printable(n) for n in names]
    return ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")
