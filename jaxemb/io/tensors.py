"""Tensors of a safetensors folder, one file or several with an index (`tensor_file.py` reads one), a part at a time.

A read maps one tensor, copies the part that is asked for and drops the map: what the host holds is the parts that were asked for
and at most one tensor more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.files import FileError, is_folder, is_regular, printable, read_json
from jaxemb.hub import stays_there
from jaxemb.tensor_file import DTYPES, LONGEST_HEADER, Stored, WeightsError, listed, mapped, read_header

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
OTHERS = (".h5", ".msgpack", ".onnx", ".gguf")
LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""How the first BERT checkpoints called the parameters of a norm."""


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

    def mapped(self, name: str) -> AbstractContextManager[np.ndarray]:
        """A tensor as the file holds it, without reading it. Nothing of it may outlive the block: copy what is to stay."""
        return mapped(self[name])

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


def _today(name: str) -> str:
    for old, new in LEGACY.items():
        if name == old or name.endswith(f".{old}"):
            return name.removesuffix(old) + new
    return name


def _no_weights(folder: Path) -> str:
    if not is_folder(folder):
        return f"there is no folder {printable(folder)}"
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
