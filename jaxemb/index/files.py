"""An index in a folder: `index.safetensors` holds its arrays, `index.json` all else, and the checksums of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxemb.config import from_json, to_json
from jaxemb.files import FileError, digest, is_folder, printable, read_json
from jaxemb.index.base import Index, Tree
from jaxemb.index.built import Built, placed
from jaxemb.index.tags import Column
from jaxemb.ops.paths import nested
from jaxemb.tensor_file import Tensor, WeightsError, aligned, mapped, name_of, read_header, write_tensors

DESCRIPTION, ARRAYS = "index.json", "index.safetensors"


def save(built: Built, folder: Any) -> None:
    """Writes an index into a folder, which is made where it is not there."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as e:
        raise FileError(f"an index is saved into a folder, and {printable(folder)} is a file or lies in one") from e
    arrays = {"learned": built.kept.learned, "rows": built.host_rows(), "tags": {}}
    for i, c in enumerate(built.tags.values()):  # whose names may hold anything, as the path of an array may not
        arrays["tags"][str(i)] = {"values": c.values} if c.starts is None else {"values": c.values, "starts": c.starts}
    if built.ids is not None:
        arrays["ids"] = built.ids
    every = dict(leaves(arrays))
    flat = {name: np.asarray(a) for name, a in every.items() if not isinstance(a, dict)}
    write_tensors(folder / ARRAYS, {name: Tensor(a.shape, name_of(a.dtype), lambda a=a: a) for name, a in flat.items()})
    doc = {
        "index": to_json(built.index),
        "rows": len(built),
        "width": built.width,
        "next_id": built.next_id,
        "tags": [[name, None if c.names is None else list(c.names)] for name, c in built.tags.items()],
        "empty": sorted(every.keys() - flat.keys()),
        "arrays": digest(folder / ARRAYS),
    }
    temporary = folder / f".{DESCRIPTION}.tmp"  # a reader never sees half of it
    temporary.write_text(json.dumps({**doc, "checksum": checksum(doc)}, indent=2) + "\n")
    temporary.replace(folder / DESCRIPTION)


def load_index(folder: Any, *, mesh: Mesh | None = None) -> Built:
    """What `save` wrote; a `FileError` where a file is missing, cut off or has changed."""
    folder = Path(folder)
    if not is_folder(folder):
        raise FileError(f"there is no folder {printable(folder)}")
    doc = read_json(folder / DESCRIPTION)
    if not isinstance(doc, dict) or doc.pop("checksum", None) != checksum(doc):
        raise FileError(f"{printable(folder / DESCRIPTION)} has changed since it was saved: save the index again")
    try:
        stored = read_header(folder / ARRAYS)
    except WeightsError as e:  # which names the file, and takes it for one that was downloaded
        raise FileError(f"{str(e).removesuffix('; download it again')}: save the index again") from e
    except OSError as e:
        raise FileError(f"{printable(folder / ARRAYS)}: {e}") from e
    if digest(folder / ARRAYS) != doc["arrays"]:
        raise FileError(f"{printable(folder / ARRAYS)} has changed since {DESCRIPTION} was saved: save the index again")
    flat = {}
    for name, tensor in stored.items():
        with mapped(tensor) as found:
            flat[name] = aligned(found.shape, found.dtype)
            flat[name][...] = found
    arrays = nested({**flat, **{name: {} for name in doc["empty"]}})
    index = from_json(doc["index"])
    assert isinstance(index, Index)
    if mesh is not None:
        index.check_mesh()
    tags = {}
    for i, (name, names) in enumerate(doc["tags"]):
        tags[name] = Column(**arrays["tags"][str(i)], names=None if names is None else tuple(names))
    kept = placed(index, arrays["learned"], arrays["rows"], doc["rows"], mesh)
    return Built(index, kept, doc["width"], arrays.get("ids"), doc["next_id"], tags)


def checksum(doc: Mapping[str, Any]) -> str:
    """Of a description, however it is laid out."""
    return hashlib.blake2b(json.dumps(doc, sort_keys=True).encode(), digest_size=16).hexdigest()


def leaves(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, array) of a tree of dicts; (path, {}) where a dict holds nothing."""
    if not isinstance(tree, Mapping) or not tree:
        yield path, tree
        return
    for name, below in tree.items():
        yield from leaves(below, f"{path}/{name}" if path else name)
