"""An experiment whose learned positions go on from a shorter table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax

from jaxemb.config import ConfigError
from jaxemb.posemb.extended import Extended
from jaxemb.train.init import Init, Say


@dataclasses.dataclass(frozen=True)
class Grown(Init):
    """What `of` gives, with its table of positions cut into the rows that are trained and those that stay as they are.

        encoder = replace(architecture(folder).encoder.module, pos=Extended(original=512, factor=8))
        init = Grown(FromPretrained(folder), encoder.pos)
        optim = Optim(freeze=("^(?!.*pos/rows)",))

    This is the tuning of LongEmbed: the whole network and the original rows are frozen, weight decay included, and short texts
    stand at random places for long ones (`Extended.skip`).
    """

    of: Init
    """Where the trained model comes from; it has a table of `extend.original` rows."""
    extend: Extended
    """As it is in the experiment."""
    path: str = "encoder/pos"
    """Where the positional embedding is in the experiment."""

    def __call__(self, shapes: Mapping[str, jax.ShapeDtypeStruct], say: Say = print) -> Mapping[str, jax.Array]:
        rows, constants, table = f"params/{self.path}/rows", f"constants/{self.path}/table", f"params/{self.path}/table"
        if lost := [path for path in (rows, constants) if path not in shapes]:
            raise ConfigError(
                f"init: Grown is for an experiment with Extended positions under {self.path}, and it has no {lost[0]}"
            )
        wanted, width = shapes[constants], shapes[constants].shape[-1]
        if (wanted.shape[0], shapes[rows].shape[0]) != (self.extend.original, self.extend.original * (self.extend.factor - 1)):
            raise ConfigError(
                f"init: Grown.extend has original={self.extend.original} and factor={self.extend.factor}; the experiment's has "
                f"{wanted.shape[0]} rows and {shapes[rows].shape[0]} new ones"
            )
        asked = {path: x for path, x in shapes.items() if path not in (rows, constants)}
        found = dict(self.of(asked | {table: jax.ShapeDtypeStruct(wanted.shape, wanted.dtype, sharding=wanted.sharding)}, say))
        if table not in found:
            raise ConfigError(f"init: what Grown begins with has no table {self.path}/table of {width} numbers a row")
        parts = self.extend.variables_from(found.pop(table))
        new = {rows: parts["params"]["rows"], constants: parts["constants"]["table"]}
        return found | {path: jax.device_put(x.astype(shapes[path].dtype), shapes[path].sharding) for path, x in new.items()}
