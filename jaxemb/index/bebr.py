"""BEBR: codes of a few bits a number, made by a binariser that was trained on vectors of the same model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, UInt8, UInt32

from jaxemb.config import ConfigError, choices, within
from jaxemb.files import is_folder, printable
from jaxemb.index.base import Index, Tree
from jaxemb.index.built import Built
from jaxemb.layers.recurrent_binary import of_variables
from jaxemb.ops.bits import pack
from jaxemb.ops.paths import by_path, nested
from jaxemb.ops.recurrent_binary import (
    MOST_ROUNDS,
    Binarised,
    binarised,
    integers,
    inverse_norm,
    numbers,
    plane_products,
    planes,
)
from jaxemb.preprocess.base import DataError
from jaxemb.tensor_file import Tensor, WeightsError, mapped, name_of, read_header, write_tensors
from jaxemb.types import Paper

EXPORTED = "model.safetensors"
"""Of an exported folder."""
FIRST = "binarise_0/out/kernel"
"""The array by which a binariser is found among others."""


@dataclasses.dataclass(frozen=True)
class BEBR(Index):
    """s(q, x) = <b(q), b(x)> / (|b(q)| |b(x)|), b a sum of u + 1 vectors of signs with the weights 1, 1/2, 1/4, ...

    The product of codes is one of integers, exact, of planes of bits whose differences are counted; a row keeps its planes, of
    m (u + 1) bits, and above u = 0 the number 1 / |b(x)|. With u = 0 it is 1 - 2 Hamming / m. A query is compared as its code too.

    The parameters of the binariser are kept in the index: what is saved and loaded needs their file no more.
    """

    paper: ClassVar[Paper | None] = Paper("Binary Embedding-based Retrieval at Tencent", 2023, "arxiv.org/abs/2302.08714")

    path: str | None = None
    """A file that `write_binariser` wrote, or an exported folder of a trained `BinaryPairs`. None: nothing is learned, W and R are
    the vector itself: signs of coordinates, and of what they leave."""
    rounds: int = 1
    """u where there is no file; a file says its own."""
    width: int | None = None
    """The first numbers of a code are compared alone; None: all. See `renewed`."""

    def __post_init__(self) -> None:
        choices(self, similarity=("cosine",))
        within(self, rounds=(0, MOST_ROUNDS))
        if self.width is not None and self.width < 1:
            raise ConfigError(f"BEBR.width={self.width}: a code has at least 1 number")

    @property
    def sample(self) -> int:
        return int(self.path is not None)  # a row, whose width the parameters must fit

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        if self.path is None:
            return {}
        learned = read_binariser(self.path)
        wanted = taken(learned)
        if wanted != x.shape[1]:
            raise DataError(f"rows of {x.shape[1]} numbers, and the binariser of {printable(self.path)} takes {wanted}")
        return learned

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        return jax.tree.map(np.asarray, _rows(self, learned, x))

    def axes(self, rows: Tree) -> Tree:
        return {"bits": 2, "inverse_norm": 0} if "inverse_norm" in rows else {"bits": 2}  # side by side: see `ops/bits.py`

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b d"]) -> Float[Array, "b m"]:
        code, rounds = self.codes(learned, q)
        width = code.shape[1]
        inner = plane_products(words(code, rounds), rows["bits"], width).astype(q.dtype)
        of_q = inverse_norm(integers(code, rounds), rounds).astype(q.dtype)[:, None] / 4**rounds
        of_x = rows["inverse_norm"][None] if rounds else 1 / width**0.5
        return inner * of_q * of_x

    def codes(self, learned: Tree, x: Float[Array, "n d"]) -> tuple[UInt8[Array, "n m"], int]:
        """(numbers, rounds) of prepared rows."""
        if learned:
            model = of_variables(learned)
            found, rounds = cast(Binarised, model.apply(learned, x)), model.rounds
        else:
            found, rounds = binarised(x, lambda _, x: x, lambda _, b: b, self.rounds), self.rounds
        code = numbers(found.parts)
        if self.width is not None and self.width > code.shape[1]:
            raise ConfigError(f"BEBR.width={self.width}: the codes have {code.shape[1]} numbers")
        return code[:, : self.width], rounds


@functools.partial(jax.jit, static_argnums=0)
def _rows(index: BEBR, learned: Tree, x: Any) -> Tree:
    code, rounds = index.codes(learned, x)
    rows = {"bits": jnp.moveaxis(words(code, rounds), 0, -1)}
    return rows | ({"inverse_norm": inverse_norm(integers(code, rounds), rounds).astype(x.dtype)} if rounds else {})


def words(code: UInt8[Array, "n m"], rounds: int) -> UInt32[Array, "n t w"]:
    """The planes of codes, each packed."""
    bits = planes(code, rounds)
    return pack(bits.reshape(-1, code.shape[1])).reshape(len(code), rounds + 1, -1)


def renewed(built: Built, path: str) -> Built:
    """The index whose queries and new rows are made by another binariser, rows that are there staying: for one that was trained to
    be compatible with the codes of the old one (`BinaryPairs` with `old` codes). A wider code is cut to the old width."""
    if not isinstance(built.index, BEBR):
        raise ConfigError(f"renewed: an index of BEBR codes, not {type(built.index).__name__}")
    old, before, learned = built.index, built.kept.learned, read_binariser(path)
    rounds = of_variables(before).rounds if before else old.rounds
    width = jax.eval_shape(lambda x: old.codes(before, x)[0], jnp.zeros((1, built.width))).shape[1]
    new, takes = of_variables(learned), taken(learned)
    if takes != built.width or new.rounds != rounds or new.width < width:
        raise DataError(
            f"{printable(path)} makes {new.width} numbers of {new.rounds + 1} bits from vectors of {takes}; rows of this index "
            f"have {width} of {rounds + 1} bits from vectors of {built.width}: as many bits and no fewer numbers are needed"
        )
    mesh = built.kept.mesh
    learned = jax.device_put(learned, None if mesh is None else NamedSharding(mesh, P()))
    index = dataclasses.replace(old, path=path, width=width)
    return dataclasses.replace(built, index=index, kept=built.kept._replace(learned=learned))


# ---- files of parameters ---------------------------------------------------------------------------------------------------------


def write_binariser(file: Any, variables: Mapping[str, Any]) -> None:
    """The variables of a `RecurrentBinary`, {"params": ..., "batch_stats": ...}, or of a model that has one, as safetensors."""
    arrays = {path: np.asarray(x) for path, x in by_path(dict(variables)).items()}
    write_tensors(Path(file), {path: Tensor(a.shape, name_of(a.dtype), lambda a=a: a) for path, a in arrays.items()})


def read_binariser(path: Any) -> dict[str, Any]:
    """The variables of the binariser in a file, or in an exported folder; other arrays are left out."""
    file = Path(path).expanduser()
    file = file / EXPORTED if is_folder(file) else file
    try:
        stored = read_header(file)
    except (WeightsError, OSError) as e:
        raise DataError(f"no binariser can be read from {printable(path)}: {e}") from e
    above = [
        name.removeprefix("params/").removesuffix(FIRST) for name in stored if name.startswith("params/") and name.endswith(FIRST)
    ]
    if len(above) != 1:
        raise DataError(f"{printable(file)} holds {len(above)} binarisers, with params/.../{FIRST}, and one is wanted")
    flat = {}
    for name, tensor in stored.items():
        for collection in ("params", "batch_stats"):
            if name.startswith(start := f"{collection}/{above[0]}"):
                with mapped(tensor) as found:
                    flat[f"{collection}/{name.removeprefix(start)}"] = np.array(found)
    return nested(flat)


def taken(learned: Tree) -> int:
    """Numbers of a vector that a binariser takes."""
    first = learned["params"]["binarise_0"]
    return (first["dense_0"] if "dense_0" in first else first["out"])["kernel"].shape[0]
