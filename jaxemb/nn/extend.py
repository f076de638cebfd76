"""A trained encoder read at longer inputs: its positional embedding wrapped in an extension, its parameters as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxemb.config import ConfigError
from jaxemb.nn.base import Encoder
from jaxemb.nn.block import Block
from jaxemb.nn.transformer import Transformer
from jaxemb.posemb.base import PosEmb
from jaxemb.posemb.extended import Extended
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.none import NoPos
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.wrapper import _Wrapper

WINDOWS = "ParallelWindows"
ANY = ("Interpolated", "Grouped", "Recurrent", "LogitScale", WINDOWS)
TABLE = ("Interpolated", "Grouped", "Recurrent", "Extended", "LogitScale", WINDOWS)
ROTARY = ("Interpolated", "NTK", "DynamicNTK", "YaRN", "SelfExtend", "Grouped", "Recurrent", "LogitScale", WINDOWS)


def extended(encoder: Encoder, extend: Any, window: int | None = None) -> Transformer:
    """The encoder with `extend` around its positions: what `extend` wraps is replaced by the encoder's own embedding.

        extended(bert, Grouped(factor=None, original=512))           learned positions: a factor for each text, from its own length
        extended(llama, LogitScale(of=SelfExtend(group=9, window=64, original=512), original=512))

    Where blocks have positions of their own, each of these is wrapped, but in blocks of local attention, where no distance is
    longer than in training. Wrappers have no parameters, so those of the encoder fit; `Extended` has, see `extended_variables`.

    `window`: positions that the encoder reads as they are (of a learned table its rows, whatever is given here). An `original`
    below them is refused: texts would be changed, or cut off, that the encoder reads without any extension.
    """
    if not isinstance(encoder, Transformer):
        raise ConfigError(
            f"positions are extended in a Transformer, and {type(encoder).__name__} is none: {WINDOWS} fits any model"
        )
    if not isinstance(extend, _Wrapper | Extended):
        raise ConfigError(f"extend={type(extend).__name__} is no extension; valid: {', '.join(sorted({*TABLE, *ROTARY}))}")
    own = [b.attention.pos for b in encoder.blocks]
    blocks = tuple(_extended_block(b, extend, window) for b in encoder.blocks)
    if isinstance(encoder.pos, NoPos):
        if blocks == encoder.blocks:
            what = "local attention" if any(p is not None for p in own) else "positions that nothing tells"
            raise ConfigError(f"extend={type(extend).__name__} would change nothing in an encoder with {what}; it takes: {WINDOWS}")
        return encoder.clone(blocks=blocks)
    return encoder.clone(pos=_around(extend, encoder.pos, window), blocks=blocks)


def extended_variables(extend: Any, variables: Mapping[str, Any], path: tuple[str, ...] = ("encoder",)) -> dict[str, Any]:
    """The variables of a model whose encoder, under `path`, is now `extended` by `extend`: of `Extended` the table is cut into the
    rows that are trained and those that stay as they are; otherwise `variables` themselves."""
    if not isinstance(extend, Extended):
        return dict(variables)
    table = _at(variables["params"], (*path, "pos"))["table"]
    parts = extend.variables_from(
        jnp.asarray(table)[max(len(table) - extend.original, 0) :]
    )  # `Learned.first` rows that no token reads
    params = _put(variables["params"], (*path, "pos"), parts["params"])
    constants = _put(variables.get("constants", {}), (*path, "pos"), parts["constants"])
    return {**variables, "params": params, "constants": constants}


def _extended_block(block: Block, extend: PosEmb, window: int | None) -> Block:
    attention = block.attention
    if attention.pos is None or isinstance(attention.pos, NoPos) or attention.window is not None:
        return block
    return block.clone(attention=attention.clone(pos=_around(extend, attention.pos, window)))


def _around(extend: PosEmb, own: PosEmb, window: int | None) -> PosEmb:
    """`extend` around the positions of a model; refused where it does not fit, with what does."""
    try:
        return _wrapped(extend, own, rows(own) if isinstance(own, Learned) else window)
    except ConfigError as e:
        raise ConfigError(f"{e}; the positions of this model are {_takes(own)}") from e


def _wrapped(extend: PosEmb, own: PosEmb, window: int | None) -> PosEmb:
    if isinstance(extend, Extended):
        if not isinstance(own, Learned) or rows(own) != extend.original:
            raise ConfigError(f"Extended(original={extend.original}) grows a learned table of so many rows")
        return extend
    assert isinstance(extend, _Wrapper)
    of = _wrapped(extend.of, own, window) if isinstance(extend.of, _Wrapper | Extended) else own
    around = extend.clone(of=of, name=None)  # without the name that it got inside another wrapper: all are named anew
    name, original = type(extend).__name__, getattr(extend, "original", None)
    original = original[0] if isinstance(original, tuple) else original
    if original is None or window is None:
        return around
    if isinstance(own, Learned) and original > window:
        raise ConfigError(f"{name}.original={original} is more than the {window} rows of the table")
    if original < window:
        raise ConfigError(
            f"{name}.original={original} is less than the {window} positions that the model reads without it: it would change or "
            f"cut off texts that need no extension; write {name}(original={window})"
        )
    return around


def rows(own: Learned) -> int:
    """How many positions along the first axis a table has rows for."""
    return own.shape[0] - own.first


def _takes(own: PosEmb) -> str:
    names = TABLE if isinstance(own, Learned) else ROTARY if isinstance(own, Rotary) else ANY
    shown = f"Learned, {rows(own)} rows" if isinstance(own, Learned) else type(own).__name__
    around = f" around {type(own.of).__name__}" if isinstance(own, _Wrapper) else ""
    return f"{shown}{around}, which takes: {', '.join(names)}"


def _at(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        if name not in tree:
            raise ConfigError(f"Extended grows the table {'/'.join(path)}/table, and the parameters have no {name!r} there")
        tree = tree[name]
    return tree


def _put(tree: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {**tree, first: _put(tree.get(first, {}), tuple(rest), value) if rest else value}
