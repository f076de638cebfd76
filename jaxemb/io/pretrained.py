"""Pretrained folders: what architecture they hold, and their weights on the devices."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxemb.files import FileError, is_regular, printable, read_json
from jaxemb.hub import resolve
from jaxemb.io.takes import fit, read, takes_of
from jaxemb.io.tensors import TensorFiles
from jaxemb.nn.hf.base import Part, Port, Towers, port
from jaxemb.nn.stem import Tokens
from jaxemb.ops.paths import by_path, nested
from jaxemb.tensor_file import WeightsError
from jaxemb.train.initialised import initialiser
from jaxemb.train.rules import Rules
from jaxemb.train.scanned import scanned_paths
from jaxemb.train.sharding import make_mesh, shardings

CONFIG = "config.json"
Where = str | os.PathLike[str]


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder."""
    file = folder / CONFIG
    if not is_regular(file):
        adapter = is_regular(folder / "adapter_config.json")
        what = "; it holds an adapter: name the folder of the model that it belongs to" if adapter else ""
        raise WeightsError(f"{printable(folder)} has no {CONFIG}, which says what its weights are{what}")
    try:
        found = read_json(file)
    except FileError as e:
        raise WeightsError(str(e)) from e
    if not isinstance(found, dict):
        raise WeightsError(f"{printable(file)} is damaged: it holds a {type(found).__name__} instead of an object")
    return found


def architecture(model: Where, *, causal: bool | None = None, revision: str | None = None) -> Port | Towers:
    """What a folder or a hub id becomes, by its config.json alone: `architecture("folder").encoder.module` is an encoder to train.

    `causal`: of decoders, whether a token sees those before it alone (None: as the model was trained)."""
    folder = resolve(model, revision)
    return port(read_config(folder), causal=causal, where=printable(folder / CONFIG))


def example(tower: Port) -> dict[str, Any]:
    """A batch of one input of the right kinds, for `parameter_shapes`."""
    encoder = tower.encoder.module
    if isinstance(encoder.stem, Tokens):
        count = min(8, tower.window or 8)
        return {"tokens": np.zeros((1, count), np.int32), "mask": np.ones((1, count), bool)}
    (kernel, *_), size = takes_of(tower.encoder.names["stem/proj/kernel"]), encoder.stem.size
    grid = getattr(encoder.pos, "shape", (2, 2))
    channels = math.prod(kernel.shape or (0,)) // (encoder.width * size**2) or 3
    return {"images": np.zeros((1, *(size * n for n in grid), channels), np.float32)}


def parameter_shapes(
    module: Any, batch: Any, *, dtype: str | None = None, mesh: Mesh | None = None, sharding: Rules = "replicate"
) -> dict[str, jax.ShapeDtypeStruct]:
    """The parameters of a module by path, in `dtype` (None: as initialised) and in their places on the devices (`mesh`, None: all
    devices side by side); `batch` is any input of the right kinds. Nothing is computed."""
    mesh = make_mesh({"data": -1}) if mesh is None else mesh
    shapes = initialiser(module).shapes(batch).get("params", {})
    placed = by_path(shardings(shapes, sharding, mesh, scanned_paths(module, batch))) if jax.tree.leaves(shapes) else {}
    return {path: jax.ShapeDtypeStruct(x.shape, dtype or x.dtype, sharding=placed[path]) for path, x in by_path(shapes).items()}


def load(
    files: TensorFiles,
    parts: Mapping[str, Part],
    shapes: Mapping[str, Any],
    *,
    whole: Port | Towers | None = None,
    ignore: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Parameters as a nested dict, each array in the shape, dtype and place that `shapes` says (`parameter_shapes`).

    `parts`: by the first names of their paths, {"encoder": port.encoder, "pooling": port.pooling}; `whole` is what the folder holds
    of which they are a part. All tensors that are missing, unexpected or of another shape are named at once; `ignore` are regular
    expressions of tensors that may be there for other purposes."""
    found = fit(files, parts, shapes, whole, ignore)
    if complaint := found.complaint(strict=True):
        where = printable(files.folder)
        hint = "\n  Tensors that are of no use here can be named in `ignore`, as regular expressions." if found.unexpected else ""
        raise WeightsError(f"{where} does not fit the model that its {CONFIG} describes{complaint}{hint}")
    for line in found.cut:
        say(f"left out: {line}")
    return nested({path: read(files, filled, shapes[path]) for path, filled in found.found.items()})
