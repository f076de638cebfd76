"""A trained SeqPE whose positions are looked up: what it costs is then what a learned table costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxemb.ops.grid import cells as grid_cells
from jaxemb.posemb.seqpe import SeqPE


def table(encoder: Any, params: dict, grid: tuple[int, ...]) -> tuple[Any, dict]:
    """(encoder, parameters) of a trained encoder with SeqPE, whose positions on this grid are looked up from now on.

    What enters attention is computed here once, for each layer where each has its own projection; the digit encoder and the
    projections are gone. It then costs what a learned table costs.
    """
    pos: SeqPE = encoder.pos
    own, width = params["pos"], encoder.width
    cells = jnp.asarray(grid_cells(grid), jnp.int32)
    e: Any = pos.apply({"params": own}, cells, width, method="embeddings")
    rows = jnp.concatenate([own["prefix"]["rows"], e]) if "prefix" in own else e
    new = {name: value for name, value in params.items() if name != "pos"}

    def project(layer: dict) -> dict:
        return {"table": rows @ layer["kernel"] + jnp.expand_dims(layer["bias"], -2)}

    if pos.way == "input" or pos.project == "none":
        new["pos"] = {"table": rows}
    elif pos.project == "single":
        new["pos"] = project(own["to_qk"])
    else:
        for name in [n for n in params if n.startswith("block")]:
            new[name] = _with_table(params[name], project)
    return encoder.clone(pos=pos.clone(stored=tuple(grid))), new


def _with_table(block: dict, project: Callable[[dict], dict]) -> dict:
    """A block, or a period of blocks that are scanned, whose positional embeddings have tables for their projections."""
    if "attention" not in block:
        return {name: _with_table(part, project) for name, part in block.items()}
    attention = block["attention"]
    return block | {"attention": attention | {"pos": project(attention["pos"]["to_qk"])}}
