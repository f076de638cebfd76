"""Pretrained folders: what architecture they hold, their weights on the devices, and experiments that start from them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxemb.config import ConfigError
from jaxemb.files import FileError, is_regular, printable, read_json
from jaxemb.io.hub import resolve
from jaxemb.io.takes import Fit, fit, read
from jaxemb.io.tensors import TensorFiles, WeightsError, listed
from jaxemb.nn.hf.base import Part, Port, Towers, port
from jaxemb.ops.paths import by_path
from jaxemb.train.init import Init, Say, SourceError
from jaxemb.train.scanned import scanned_paths
from jaxemb.train.sharding import Rules, make_mesh, shardings

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


def parameter_shapes(
    module: Any, batch: Any, *, dtype: str | None = None, mesh: Mesh | None = None, sharding: Rules = ((".*", "replicate"),)
) -> dict[str, jax.ShapeDtypeStruct]:
    """The parameters of a module by path, in `dtype` (None: as initialised) and in their places on the devices (`mesh`, None: all
    devices side by side); `batch` is any input of the right kinds. Nothing is computed."""
    mesh = make_mesh({"data": -1}) if mesh is None else mesh
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    shapes = jax.eval_shape(lambda b: module.init(keys, b), batch).get("params", {})
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


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of dicts from paths."""
    tree: dict[str, Any] = {}
    for path, x in arrays.items():
        *inner, last = path.split("/")
        at = tree
        for name in inner:
            at = at.setdefault(name, {})
        at[last] = x
    return tree


# ---- experiments -----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FromPretrained(Init):
    """The weights of a pretrained folder or hub id: those of its encoder under "encoder/...", those of its pooling (or of its
    pooler, which Hugging Face calls `pooler_output`) under "pooling/..." where they fit.

    The experiment's encoder is usually `architecture("folder").encoder.module`, which may be changed in whatever leaves its
    parameters alone (dropout, scan, remat, positions beyond the table). What the folder lacks stays as initialised and what it has
    beyond is left behind: the log names both. An array of another shape is refused. Of a model of images and texts the tower is
    taken that has most of the experiment's parameters.
    """

    path: str
    """A folder, or a hub id "org/name"."""
    revision: str | None = None
    """Of a hub id: a branch, a tag or a commit."""
    renames: tuple[tuple[str, str], ...] = ()
    """(regex, replacement) on the folder's paths: ("^encoder/", "student/encoder/")."""

    def __post_init__(self) -> None:
        for regex, _ in self.renames:
            try:
                re.compile(regex)
            except re.error as e:
                raise ConfigError(f"init.renames: {regex!r} is no regular expression: {e}") from None

    def __call__(self, shapes: Mapping[str, jax.ShapeDtypeStruct], say: Say = print) -> Mapping[str, jax.Array]:
        try:
            folder = resolve(self.path, self.revision)
            files, whole = TensorFiles(folder), port(read_config(folder), where=printable(folder / CONFIG))
        except WeightsError as e:
            raise SourceError(f"init: {e}") from e
        wanted = {path.removeprefix("params/"): s for path, s in shapes.items() if path.startswith("params/")}
        towers = (whole.text, whole.image) if isinstance(whole, Towers) else (whole,)
        every = [self._fit(files, tower, wanted, whole) for tower in towers]
        best = max(every, key=lambda f: (len(f.found), -len(f.wrong)))
        if (complaint := best.complaint(strict=False)) or not best.found:
            nothing = "" if complaint else f": no path is the same; it has {listed(self._paths(towers[0]))}"
            raise ConfigError(f"init: {self.path} does not fit{nothing}{complaint}")
        say(f"{len(best.found)} of {len(wanted)} parameters from {self.path}")
        beyond = sorted({*best.unexpected, *best.left, *best.unused})
        for what, names in (("as initialised", best.lacking(wanted)), ("left behind", beyond), ("left out", best.cut)):
            if names:
                say(f"{what}: {listed(names)}")
        return {f"params/{path}": read(files, filled, wanted[path]) for path, filled in best.found.items()}

    def _fit(self, files: TensorFiles, tower: Port, wanted: Mapping[str, Any], whole: Port | Towers) -> Fit:
        """Of the architecture's own pooling and its pooler the one that has more of the experiment's parameters."""
        poolings = [p for p in (tower.pooling, tower.pooler) if p is not None]
        every = [fit(files, {"": self._renamed(tower.encoder, pooling)}, wanted, whole) for pooling in poolings]
        return max(every, key=lambda f: (len(f.found), -len(f.wrong)))

    def _renamed(self, encoder: Part, pooling: Part) -> Part:
        """Both under the names that the experiment has for them."""
        names = {f"{key}/{path}": s for key, part in (("encoder", encoder), ("pooling", pooling)) for path, s in part.names.items()}
        for regex, replacement in self.renames:
            if not any(re.search(regex, path) for path in names):
                raise ConfigError(f"init.renames: {regex!r} finds nothing in {self.path}: {listed(names)}")
            names = {re.sub(regex, replacement, path): source for path, source in names.items()}
        return Part(None, names)

    def _paths(self, tower: Port) -> Iterable[str]:
        return self._renamed(tower.encoder, tower.pooling).names
