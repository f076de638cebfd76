"""From what the devices give, batch by batch and in any order, to the arrays that a user gets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxemb.config import ConfigError, suggest
from jaxemb.io.feeding import Piece
from jaxemb.ops.quantize import PRECISIONS, quantize_embeddings
from jaxemb.ops.similarity import unit


class Finish:
    """What happens to embeddings after the model: the first entries, then length 1, then fewer bytes."""

    def __init__(self, precision: str, ranges: Any, normalize: bool, truncate: int | None):
        choose("precision", precision, PRECISIONS)
        if ranges is not None and precision not in ("int8", "uint8"):
            raise ConfigError(f"ranges are for the precisions int8 and uint8, not {precision}")
        if truncate is not None:
            whole_number("truncate_dim", truncate)
        self.precision: str = precision
        self.ranges, self.normalize, self.truncate = ranges, normalize, truncate
        self.width = 0
        """Of an embedding before it is packed, once one was seen."""

    @property
    def finds_ranges(self) -> bool:
        """Whether all embeddings have to be there before the first is in its bytes."""
        return self.precision in ("int8", "uint8") and self.ranges is None

    def __call__(self, z: np.ndarray) -> np.ndarray:
        if self.truncate is not None and not 1 <= self.truncate <= z.shape[-1]:
            raise ConfigError(f"truncate_dim must lie in 1 to {z.shape[-1]}, the width of the embeddings, not {self.truncate}")
        z = np.asarray(z[..., : self.truncate], np.float32)
        self.width = z.shape[-1]
        z = unit(z) if self.normalize else z
        return z if self.finds_ranges else quantize_embeddings(z, self.precision, self.ranges)

    def whole(self, z: Any) -> Any:
        """All embeddings."""
        if not self.finds_ranges:
            return z
        return quantize_embeddings(z, self.precision) if len(z) else z.astype(self.precision)

    def none(self, width: int) -> np.ndarray:
        """No embeddings, where the model's have this width."""
        return self.whole(self(np.zeros((0, width), np.float32)))


def fetched(piece: Piece, out: Any, finish: Finish) -> tuple[np.ndarray, Any]:
    """(rows, their embeddings): an array, or a list of arrays where each token has a vector."""
    tokens = getattr(out, "tokens", out)
    z = np.asarray(jax.device_get(tokens))[: len(piece.rows)]
    if z.ndim == 2:
        return piece.rows, finish(z)
    if finish.finds_ranges:
        raise ConfigError(
            f"precision={finish.precision!r} of a vector a token needs `ranges`: give the smallest and largest of each"
        )
    there = getattr(out, "mask", None) if tokens is not out else piece.arrays.get("pooled", piece.arrays.get("mask"))
    there = None if "chunks" in piece.arrays and tokens is out else there  # a vector a chunk
    there = np.ones(z.shape[:2], bool) if there is None else np.asarray(there)[: len(z)]
    return piece.rows, [finish(x[m]) for x, m in zip(z, there, strict=True)]


def collect(found: Iterable[tuple[np.ndarray, Any]], count: int) -> Any:
    """Rows in the order of the inputs: one array, or a list where each token has a vector. None without any."""
    out: Any = None
    for rows, z in found:
        if isinstance(z, list):
            out = [None] * count if out is None else out
            for row, x in zip(rows, z, strict=True):
                out[row] = x
            continue
        out = np.empty((count, *z.shape[1:]), z.dtype) if out is None else out
        out[rows] = z
    return out


def placed(x: np.ndarray, place: Any) -> jax.Array:
    """On the devices: every process holds all rows and gives its devices theirs."""
    if place.is_fully_addressable:
        return jax.device_put(x, place)
    return jax.make_array_from_callback(x.shape, place, lambda index: x[index])


@contextlib.contextmanager
def progress(count: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar of rows, to be moved on by some."""
    if not shown:
        yield lambda n: None
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task("encoding", total=count)
        yield lambda n: bar.advance(task, n)


def whole_number(name: str, given: Any) -> None:
    """Refuses what is no number of things, of which there is at least one."""
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise ConfigError(f"{name} is a whole number, not {given!r}")
    if given < 1:
        raise ConfigError(f"{name} must be at least 1, not {given}")


def refuse_packed(codes: Any, width: int) -> None:
    """Refuses bytes that may each hold eight dimensions, of embeddings of `width`: as numbers they say nothing of what is alike."""
    codes = np.asarray(codes)
    if codes.dtype not in (np.int8, np.uint8) or codes.shape[-1] == width or codes.shape[-1] > -(-width // 8):
        return
    raise ConfigError(
        f"embeddings of {codes.shape[-1]} bytes ({codes.dtype}) of a model of {width} dimensions are packed bits (precision "
        "'binary' or 'ubinary'), which have no cosine: compare them by the bits that differ, or give float32, int8 or uint8; int8 "
        "or uint8 codes of so few dimensions are compared after .astype('float32')"
    )


def choose(name: str, given: Any, valid: Iterable[str]) -> None:
    """Refuses a word that is none of these."""
    if given not in (valid := tuple(valid)):
        raise ConfigError(f"{name}={given!r}{suggest(str(given), valid)}")
