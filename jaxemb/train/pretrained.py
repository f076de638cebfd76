"""Experiments that start from a pretrained folder."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxemb.config import ConfigError
from jaxemb.files import printable
from jaxemb.hub import resolve
from jaxemb.io.assemble import heads_of
from jaxemb.io.origin import Origin
from jaxemb.io.pretrained import CONFIG, read_config
from jaxemb.io.sentence_transformers import Chain, is_chain, read_chain
from jaxemb.io.takes import Fit, fit, read
from jaxemb.io.tensors import TensorFiles
from jaxemb.nn.hf.base import Part, Port, Towers, port
from jaxemb.tensor_file import WeightsError, listed
from jaxemb.train.init import Init, Say, SourceError, check_renames


class Source(NamedTuple):
    """What is in a folder."""

    home: Path
    """Where its config.json and the weights of its encoder are."""
    files: TensorFiles
    config: dict[str, Any]
    whole: Port | Towers
    chain: Chain | None
    """Of a folder of sentence-transformers."""


@dataclasses.dataclass(frozen=True)
class FromPretrained(Init):
    """The weights of a pretrained folder or hub id: those of its encoder under "encoder/...", those of its pooling (or of its
    pooler, which Hugging Face calls `pooler_output`) under "pooling/...", those of the layers after it under "heads_0/...", those
    of a masked autoencoder's decoder under "decoder/...", where the experiment has such.

    The experiment's encoder, pooling and heads are usually those of `model_of("folder")` (`io/assemble.py`). The encoder may be
    changed in whatever leaves its parameters alone (dropout, scan, remat, positions beyond the table). What the folder lacks stays
    as initialised and what it has beyond is left behind: the log names both. An array of another shape is refused. Of a model of
    images and texts the tower is taken that has most of the experiment's parameters.
    """

    path: str
    """A folder, or a hub id "org/name"."""
    revision: str | None = None
    """Of a hub id: a branch, a tag or a commit."""
    renames: tuple[tuple[str, str], ...] = ()
    """(regex, replacement) on the folder's paths: ("^encoder/", "student/encoder/")."""
    into: str = "params"
    """Where in the state: "guide/model" of the guide of `Pairs`, which is no part of the parameters."""

    def __post_init__(self) -> None:
        check_renames(self.renames)

    def __call__(self, shapes: Mapping[str, jax.ShapeDtypeStruct], say: Say = print) -> Mapping[str, jax.Array]:
        source = self._source()
        files, whole = source.files, source.whole
        prefix = f"{self.into}/"
        wanted = {path.removeprefix(prefix): s for path, s in shapes.items() if path.startswith(prefix)}
        if not wanted:
            raise ConfigError(f"init.into={self.into!r}: the experiment has no arrays there; it has {listed(_places(shapes))}")
        towers = (whole.text, whole.image) if isinstance(whole, Towers) else (whole,)
        every = [self._fit(files, tower, wanted, whole) for tower in towers]
        best = max(every, key=lambda f: (len(f.found), -len(f.wrong)))
        fits = [best, *self._heads(source.chain, wanted)]
        found = {path: (f.files, filled) for f in fits for path, filled in f.found.items()}
        if (complaint := "".join(f.complaint(strict=False) for f in fits)) or not best.found:
            nothing = "" if complaint else f": no path is the same; it has {listed(self._paths(towers[0]))}"
            raise ConfigError(f"init: {self.path} does not fit{nothing}{complaint}")
        say(f"{len(found)} of {len(wanted)} parameters from {self.path}")
        beyond = sorted({*best.unexpected, *best.left, *best.unused})
        for what, names in (
            ("as initialised", [p for p in wanted if p not in found]),
            ("left behind", beyond),
            ("left out", best.cut),
        ):
            if names:
                say(f"{what}: {listed(names)}")
        return {f"{prefix}{path}": read(where, filled, wanted[path]) for path, (where, filled) in found.items()}

    def keep(self, run: Any) -> None:
        if self.into != "params":  # the run says what it was trained on from, not what it was trained with
            return
        try:
            home, files, config, whole, _ = self._source()
        except SourceError:  # said when the first state is made; a run that is gone on with needs it no more
            return
        Origin.of(self.path, home, config, files, whole).save(run)

    def _source(self) -> Source:
        try:
            folder = resolve(self.path, self.revision)
            chain = read_chain(folder) if is_chain(folder) else None
            home = folder if chain is None else chain.transformer
            config = read_config(home)
            return Source(home, TensorFiles(home), config, port(config, where=printable(home / CONFIG)), chain)
        except WeightsError as e:
            raise SourceError(f"init: {e}") from e

    def _heads(self, chain: Chain | None, wanted: Mapping[str, Any]) -> list[Fit]:
        """What comes after the pooling and has weights, each in a folder of its own."""
        placed = {} if chain is None else heads_of(chain)
        own = {key: {path: s for path, s in wanted.items() if path.startswith(f"{key}/")} for key in placed}
        return [
            fit(TensorFiles(p.folder), {key: p.part}, own[key]) for key, p in placed.items() if p.folder is not None and own[key]
        ]

    def _fit(self, files: TensorFiles, tower: Port, wanted: Mapping[str, Any], whole: Port | Towers) -> Fit:
        """Of the architecture's own pooling and its pooler the one that has more of the experiment's parameters."""
        poolings = [p for p in (tower.pooling, tower.pooler) if p is not None]
        every = [fit(files, {"": self._renamed(tower, pooling)}, wanted, whole) for pooling in poolings]
        return max(every, key=lambda f: (len(f.found), -len(f.wrong)))

    def _renamed(self, tower: Port, pooling: Part) -> Part:
        """All parts under the names that the experiment has for them."""
        parts = {"encoder": tower.encoder, "pooling": pooling, "decoder": tower.decoder}
        names = {f"{key}/{path}": s for key, part in parts.items() if part is not None for path, s in part.names.items()}
        for regex, replacement in self.renames:
            if not any(re.search(regex, path) for path in names):
                raise ConfigError(f"init.renames: {regex!r} finds nothing in {self.path}: {listed(names)}")
            names = {re.sub(regex, replacement, path): source for path, source in names.items()}
        return Part(None, names)

    def _paths(self, tower: Port) -> Iterable[str]:
        return self._renamed(tower, tower.pooling).names


def _places(shapes: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(path.rpartition("/")[0].partition("/encoder")[0] for path in shapes))
