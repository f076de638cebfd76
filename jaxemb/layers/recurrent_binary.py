"""The binariser of BEBR: a small network that turns vectors of any model into codes of a few bits a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, within
from jaxemb.layers.dense import Dense
from jaxemb.layers.projector import Projector
from jaxemb.ops.dtypes import wide
from jaxemb.ops.recurrent_binary import MOST_ROUNDS, Binarised, binarised


class RecurrentBinary(nn.Module):
    """f (n d) -> b (n m) of 2^(rounds+1) levels a number (Gan et al. 2023; the rule in `ops/recurrent_binary.py`).

        W_t(x) = x A_t + MLP_t(x),   R_t(b) = MLP'_t(b),   MLP = [Linear, batch norm, ReLU] for each hidden width, then Linear

    each of its own. The paper describes W with the skip A, the released code has none, and R as W turned round, `back=hidden`.
    In training batch norm sees the batch, served its running statistics: a code must not depend on what stands beside it.

    Parameters: `binarise_t`, `reconstruct_t` (as a `Projector`'s), `skip_t` (kernel (d, m)).
    """

    width: int = 512
    """Numbers of a code (m); m (rounds + 1) bits."""
    rounds: int = 1
    """After the first (u): a bit more of every number each."""
    hidden: tuple[int, ...] = (2048,)
    """Hidden widths of W; none: a matrix and a bias."""
    back: tuple[int, ...] = ()
    """Hidden widths of R; none: a matrix."""
    norm: bool = True
    """Batch norm after the hidden layers."""
    skip: bool = True
    """The linear skip of W, where that has hidden layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, width=(1, 2**20), rounds=(0, MOST_ROUNDS))
        if self.width * (2 ** (self.rounds + 1) - 1) ** 2 >= 2**31:
            raise ConfigError(f"RecurrentBinary: width={self.width} with rounds={self.rounds}: products of codes pass 32 bits")
        for name in ("hidden", "back"):
            if any(n < 1 for n in getattr(self, name)):
                raise ConfigError(f"RecurrentBinary.{name} must be numbers of at least 1, are {getattr(self, name)}")

    @nn.compact
    def __call__(self, f: Float[Array, "n d"], *, train: bool = False) -> Binarised:
        f = f.astype(wide(f))

        def binarise(t: int, x: Array) -> Array:
            y = Projector((*self.hidden, self.width), norm=self.norm, bias=True, name=f"binarise_{t}")(x, train=train)
            if self.skip and self.hidden:
                y = y + Dense(self.width, use_bias=False, kernel_init="xavier", name=f"skip_{t}")(x)
            return y

        def reconstruct(t: int, b: Array) -> Array:
            return Projector((*self.back, f.shape[1]), norm=self.norm, name=f"reconstruct_{t}")(b, train=train)

        return binarised(f, binarise, reconstruct, self.rounds)


def of_variables(variables: Mapping[str, Any]) -> RecurrentBinary:
    """The binariser that has these variables, told by their names and shapes."""
    params = variables["params"]
    first = params["binarise_0"]
    rounds = sum(name.startswith("binarise_") for name in params) - 1

    def hidden(part: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(part[f"dense_{i}"]["kernel"].shape[1] for i in range(sum(name.startswith("dense_") for name in part)))

    back = hidden(params["reconstruct_0"]) if rounds else ()
    norm = "norm_0" in first or "norm_0" in params.get("reconstruct_0", {})
    return RecurrentBinary(first["out"]["kernel"].shape[1], rounds, hidden(first), back, norm, "skip_0" in params)
