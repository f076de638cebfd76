"""Start some parameters as copies of others."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax

from jaxemb.config import ConfigError
from jaxemb.train.init import Init, Say, check_renames


@dataclasses.dataclass(frozen=True)
class Copied(Init):
    """What another `Init` gives, and copies of some of it under other names: a decoder that starts as a layer of the encoder.

    Copied(FromPretrained("folder"), copies=(("^encoder/block_0/", "decoder/block_0/"),))
    """

    of: Init
    copies: tuple[tuple[str, str], ...]
    """(regex, replacement) on the paths of parameters that `of` gives."""

    def __post_init__(self) -> None:
        check_renames(self.copies)

    def __call__(self, shapes: Mapping[str, jax.ShapeDtypeStruct], say: Say = print) -> Mapping[str, Any]:
        found = dict(self.of(shapes, say))
        for regex, replacement in self.copies:
            copies = {}
            for path, x in found.items():
                collection, name = path.split("/", 1)
                if re.search(regex, name) and (new := f"{collection}/{re.sub(regex, replacement, name)}") in shapes:
                    if shapes[new].shape != x.shape:
                        raise ConfigError(f"init.copies: {name} has shape {x.shape}, and its copy {new} {shapes[new].shape}")
                    copies[new] = x
            if not copies:
                raise ConfigError(f"init.copies: {regex!r} -> {replacement!r} gives no parameter that this experiment has")
            say(f"{len(copies)} parameters start as copies: {replacement}")
            found |= copies
        return found

    def keep(self, run: Any) -> None:
        self.of.keep(run)
