"""How the tensors of a folder fit the parameters of a model, and the arrays that are cut out of them, each device its own part."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from jaxemb.config import MANY
from jaxemb.io.tensors import FLOATS, TensorFiles
from jaxemb.nn.hf.base import Part, Port, Source, Take, Towers
from jaxemb.tensor_file import DTYPES, Tensor, WeightsError, aligned, listed, name_of

STACKED = re.compile(r"^(?P<before>(?:.*/)?)blocks/block_(?P<at>\d+)/(?P<rest>.*)$")
"""A parameter of all layers of a kind, with a leading axis, as `Layers` with scan=True has it."""
VOCABULARY = re.compile(r"(^|/)stem/embedding$")
TIED = {
    "shared.weight": ("encoder.embed_tokens.weight",),
    "embed_tokens.weight": ("lm_head.weight",),
    "embeddings.word_embeddings.weight": ("cls.predictions.decoder.weight", "lm_head.decoder.weight"),
}
"""Tensors that a file may hold once under one of several names."""


class Filled(NamedTuple):
    """Where one of our arrays comes from."""

    layers: tuple[tuple[Take, ...], ...]
    """Of each layer the tensors that are summed; without a leading axis of layers a single entry."""
    stacked: bool

    def takes(self) -> Iterator[Take]:
        for layer in self.layers:
            yield from layer


@dataclasses.dataclass(frozen=True)
class Fit:
    """How the tensors of a folder fit the arrays that are wanted."""

    files: TensorFiles
    prefix: str
    """What the names of the folder all begin with."""
    found: dict[str, Filled]
    """By our paths."""
    unknown: list[str]
    """Our paths that no table of names holds."""
    missing: list[str]
    """Tensors that should be there, in the words of the file."""
    wrong: list[str]
    """Lines that say which tensor does not have the shape or the dtype that is wanted."""
    unexpected: list[str]
    left: list[str]
    """Tensors of heads and buffers, which nothing here needs."""
    unused: list[str]
    """Tensors of the model that none of the wanted arrays comes from."""
    cut: list[str]
    """Lines that say of which tables the last rows are left out."""

    def lacking(self, paths: Iterable[str]) -> list[str]:
        """Which of our paths get nothing."""
        return [path for path in paths if path not in self.found]

    def complaint(self, *, strict: bool) -> str:
        """All that is wrong, an empty text if nothing is. Where it is not strict, only shapes are."""
        text = _lines(f"{len(self.wrong)} of another shape or dtype", self.wrong)
        if strict:
            text += _lines(f"{len(self.missing)} missing there", self.missing)
            text += _lines(f"{len(self.unknown)} parameters that no tensor is known for", self.unknown)
            text += _lines(f"{len(self.unexpected)} unexpected, not in this model", self.unexpected)
        return text


def fit(
    files: TensorFiles,
    parts: Mapping[str, Part],
    shapes: Mapping[str, Any],
    whole: Port | Towers | None = None,
    ignored: Sequence[str] = (),
) -> Fit:
    """How the folder fits `shapes`, {path: anything with a shape}; the paths of a part begin with its key, "encoder/...".

    `whole`: the model that the folder holds, of which `parts` may be a part: its other tensors are not unexpected."""
    names = {f"{key}/{path}" if key else path: source for key, part in parts.items() for path, source in part.names.items()}
    every = {t.name for source in (*names.values(), *_sources(whole)) for t in takes_of(source)}
    prefix = _prefix(files, every, _ports(whole))
    names = {path: tuple(_located(t, files, prefix) for t in takes_of(source)) for path, source in names.items()}
    found = _found(names, shapes)
    missing = dict.fromkeys(t.name for f in found.values() for t in f.takes() if t.name not in files)
    there = {path: f for path, f in found.items() if all(t.name in files for t in f.takes())}
    checks = {path: _check(files, path, f, shapes[path]) for path, f in there.items()}
    used = {_located(Take(name), files, prefix).name for name in every}
    patterns = (*ignored, *(r for port in _ports(whole) for r in port.ignored))
    left, unexpected = [], []
    for name in files:
        if name in used:
            continue
        idle = not name.startswith(prefix) or files[name].dtype not in FLOATS or _is_tied(name.removeprefix(prefix), every)
        idle = idle or any(re.search(r, n) for r in patterns for n in (name, name.removeprefix(prefix)))
        (left if idle else unexpected).append(name)
    return Fit(
        files,
        prefix,
        {path: f for path, f in there.items() if checks[path] in ("", None)},
        [path for path in shapes if path not in found],
        list(missing),
        [line for line in checks.values() if line],
        unexpected,
        left,
        sorted(used & set(files) - {t.name for f in found.values() for t in f.takes()}),
        [_cut(files, path, f, shapes[path]) for path, f in there.items() if checks[path] is None],
    )


def read(files: TensorFiles, filled: Filled, like: Any) -> jax.Array:
    """The array on the devices, in the shape, the dtype and the place of `like` (a ShapeDtypeStruct; the first device if it names
    none). Every device reads its own part, once where several hold the same one."""
    parts: dict[Any, np.ndarray] = {}

    def part(index: Any) -> np.ndarray:
        bounds = tuple(slice(*s.indices(n)) for s, n in zip(index, like.shape, strict=True))
        key = tuple((s.start, s.stop) for s in bounds)
        if key not in parts:
            parts[key] = _part(files, filled, bounds, np.dtype(like.dtype))
        return parts[key]

    place = like.sharding if like.sharding is not None else SingleDeviceSharding(jax.devices()[0])
    # Waiting keeps the host from holding what is still on its way to the devices while the next tensor is read.
    return jax.block_until_ready(jax.make_array_from_callback(like.shape, place, part))


def _part(files: TensorFiles, filled: Filled, bounds: tuple[slice, ...], dtype: np.dtype) -> np.ndarray:
    out = aligned(tuple(s.stop - s.start for s in bounds), dtype)
    if not filled.stacked:
        _fill(files, filled.layers[0], out, bounds)
    else:
        for row, layer in enumerate(filled.layers[bounds[0]]):
            _fill(files, layer, out[row, ...], bounds[1:])
    return out


def _fill(files: TensorFiles, takes: tuple[Take, ...], out: np.ndarray, index: tuple[slice, ...]) -> None:
    if len(takes) == 1:
        files.copy(takes[0].name, out, index, takes[0].of)
        return
    total, term = np.zeros(out.shape, np.float64), np.empty(out.shape, np.float64)
    for take in takes:
        files.copy(take.name, term, index, take.of)
        total += term
    out[...] = total.astype(out.dtype)  # rounded once


# ---- a take ----------------------------------------------------------------------------------------------------------------------


def taken(take: Take, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of what a take makes of a tensor of this shape; None where it cannot."""
    if take.rows is not None:
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
        if not shape or take.rows[1] > shape[0]:
            return None
        shape = (take.rows[1] - take.rows[0], *shape[1:])
    if take.shape is not None:
        if math.prod(take.shape) != math.prod(shape):
            return None
        shape = take.shape
    if take.order is not None:
        if len(take.order) != len(shape):
            return None
        shape = tuple(shape[i] for i in take.order)
    return shape


def tensor_shapes(files: TensorFiles, whole: Port | Towers) -> dict[str, tuple[int, ...]]:
    """Of the tensors of a model that are there, by names without their prefix."""
    every = {t.name for source in _sources(whole) for t in takes_of(source)}
    prefix = _prefix(files, every, _ports(whole))
    located = {name: _located(Take(name), files, prefix).name for name in sorted(every)}
    return {name: files[there].shape for name, there in located.items() if there in files}


def cut_back(names: Mapping[str, Source], arrays: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors that `arrays`, by our paths, were cut out of, in the dtype of the arrays: the reverse of `read`.

    What was a sum is written whole in its first tensor, and zeros in the others: the sum is the same."""
    pieces: dict[str, list[tuple[Any, int | None, Take | None]]] = {}
    vocabulary: dict[str, int] = {}
    for path, filled in _found({path: takes_of(source) for path, source in names.items()}, arrays).items():
        for i, takes in enumerate(filled.layers):
            for j, take in enumerate(takes):
                pieces.setdefault(take.name, []).append((arrays[path], i if filled.stacked else None, None if j else take))
                if VOCABULARY.search(path):  # which may have lost the rows that nothing reads
                    vocabulary[take.name] = arrays[path].shape[0]
    if lost := [name for name in pieces if name not in shapes]:
        raise WeightsError(f"of these tensors no shape is known: {listed(lost)}")

    def make(name: str, shape: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(shape, pieces[name][0][0].dtype)
        for array, layer, take in pieces[name]:
            if take is not None:  # a view, which hands on what is written into it
                take.of(out)[...] = np.asarray(array if layer is None else array[layer])
        return out

    found = {}
    for name in sorted(pieces):
        shape = (vocabulary[name], *shapes[name][1:]) if name in vocabulary else tuple(shapes[name])
        found[name] = Tensor(shape, name_of(pieces[name][0][0].dtype), functools.partial(make, name, shape))
    return found


# ---- names -----------------------------------------------------------------------------------------------------------------------


def takes_of(source: Source) -> tuple[Take, ...]:
    """What is summed."""
    return (source,) if isinstance(source, Take) else source


def _ports(whole: Port | Towers | None) -> tuple[Port, ...]:
    return () if whole is None else (whole.text, whole.image) if isinstance(whole, Towers) else (whole,)


def _sources(whole: Port | Towers | None) -> Iterator[Source]:
    for port in _ports(whole):
        for part in (port.encoder, port.pooling, port.pooler, port.decoder):
            yield from () if part is None else part.names.values()
    if isinstance(whole, Towers):
        yield from (take for take in (whole.scale, whole.bias) if take is not None)


def _prefix(files: TensorFiles, names: Iterable[str], ports: Sequence[Port]) -> str:
    """Under which prefix most of the names are there; of several the one that the family knows, then the shortest."""
    names = set(names)
    known = tuple(p for port in ports for p in port.prefixes)
    votes = Counter({"": 0})
    for name in files:
        starts = [0, *(m.end() for m in re.finditer(r"\.", name))]
        votes.update(name[:i] for i in starts if name[i:] in names)
    return max(votes, key=lambda p: (votes[p], p in known, -len(p)))


def _located(take: Take, files: TensorFiles, prefix: str) -> Take:
    """The take by the name that the tensor has in these files."""
    others = (prefix + take.name, *(p + other for other in TIED.get(take.name, ()) for p in (prefix, "")))
    return take._replace(name=next((n for n in others if n in files), prefix + take.name))


def _is_tied(name: str, wanted: set[str]) -> bool:
    return any(name in others for first, others in TIED.items() if first in wanted)


def _found(names: Mapping[str, tuple[Take, ...]], paths: Iterable[str]) -> dict[str, Filled]:
    """Where each path comes from; those that no table holds are left out."""
    stacked = {path: m for path in paths if (m := STACKED.match(path))}
    period: dict[str, int] = {}
    for m in stacked.values():
        period[m["before"]] = max(period.get(m["before"], 0), int(m["at"]) + 1)
    found = {path: Filled((names[path],), False) for path in paths if path in names}
    for path, m in stacked.items():
        layers, i = [], int(m["at"])
        while (one := f"{m['before']}block_{i}/{m['rest']}") in names:
            layers.append(names[one])
            i += period[m["before"]]
        if layers:
            found[path] = Filled(tuple(layers), True)
    return found


# ---- shapes ----------------------------------------------------------------------------------------------------------------------


def _check(files: TensorFiles, path: str, filled: Filled, like: Any) -> str | None:
    """A line if the tensors do not fit; None if they do with rows to spare."""
    wanted = tuple(like.shape[1:] if filled.stacked else like.shape)
    spare = False
    for take in filled.takes():
        tensor = files[take.name]
        shape = taken(take, tensor.shape)
        if tensor.dtype not in FLOATS:
            why = "" if tensor.dtype in DTYPES else " (no dtype that is read here)"
            return f"{take.name}: {tensor.dtype}{why} there, floats wanted ({', '.join(FLOATS)})"
        if shape != wanted:
            spare = shape is not None and VOCABULARY.search(path) is not None and shape[1:] == wanted[1:] and shape[0] > wanted[0]
            if not spare:
                rows = "" if take.rows is None else f", rows {take.rows[0]} to {take.rows[1]}"
                return f"{take.name}{rows}: {tensor.shape} there, {_of(take, wanted)} wanted for {path}"
    if filled.stacked and len(filled.layers) != like.shape[0]:
        return f"{path}: {len(filled.layers)} layers there, {like.shape[0]} wanted"
    return None if spare else ""


def _of(take: Take, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, in the layout of the file, that would have given `wanted`; `wanted` itself where a reshape hides it."""
    if take.shape is not None or take.order is None or len(take.order) != len(wanted):
        return wanted
    return tuple(wanted[take.order.index(i)] for i in range(len(wanted)))


def _cut(files: TensorFiles, path: str, filled: Filled, like: Any) -> str:
    take = filled.layers[0][0]
    rows = files[take.name].shape[0]
    return f"{take.name}: the last {rows - like.shape[0]} of {rows} rows, beyond the vocabulary"


def _lines(what: str, lines: Sequence[str]) -> str:
    shown = "".join(f"\n    {line}" for line in lines[:MANY])
    more = f"\n    and {len(lines) - MANY} more" if len(lines) > MANY else ""
    return f"\n  {what}:{shown}{more}" if lines else ""
