"""Functional interpolation for relative positions: a small network reads the bias off a share of the text."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError
from jaxemb.layers.dense import Dense
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.types import Paper

EPS = 1e-6
"""Keeps the division finite where c is 0."""


class FIRE(PosEmb):
    """Adds a trained function of the distance to the logits, as a share of what lies before the query: none is beyond 1.

        bias = f(psi(p_q - p_k) / psi(max(L, p_q)))      psi(x) = log(|c| x + 1)      f(s) = W_2 relu(W_1 s + b_1) + b_2

    L is the length from which on distances are squeezed; below it the bias is that of the distance alone. With `causal` this is the
    paper's. Keys ahead are a choice, since the paper has causal text alone: their share is negative, and max goes over both
    positions, so that shares lie in [-1, 1]. Sequences alone; positions may be real numbers and count from the start of each text.
    The bias is not divided by sqrt(e). Parameters, one set for all layers: `c` (), `stretch` (), of L, `up` (1, hidden), `down`
    (hidden, h). Defaults and the first values of c and L are those of copies of the released code; how its layers are drawn is a
    choice. (Written from memory of the paper: unverified.)
    """

    paper: ClassVar[Paper | None] = Paper(
        "Functional Interpolation for Relative Positions Improves Long Context Transformers", 2024, "arxiv.org/abs/2310.04418"
    )
    axes: ClassVar[int] = 1

    hidden: int = 32
    """Features of the network's middle layer."""
    length: float = 512.0
    """L at the start of training, in positions; trained as |stretch| length."""
    c: float = 0.1
    """c at the start: distances well below 1/c are told apart linearly, those above by their logarithm."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1 or self.length <= 0 or self.c <= 0:
            raise ConfigError(f"FIRE needs hidden >= 1, length > 0 and c > 0, not {self.hidden}, {self.length} and {self.c}")

    @nn.compact
    def bias(self, q: Places, k: Places, heads: int) -> Float[Array, "#b h n m"]:
        if q.pos.shape[-1] != 1:
            raise ConfigError(f"FIRE was given positions of {q.pos.shape[-1]} numbers; it is for sequences, of 1")
        c = self.param("c", nn.initializers.constant(self.c), (), jnp.float32)
        stretch = self.param("stretch", nn.initializers.ones, (), jnp.float32)
        s = share(q.pos[..., 0], k.pos[..., 0], c, self.length * stretch)
        y = nn.relu(Dense(self.hidden, kernel_init="lecun", name="up")(s[..., None]))
        return jnp.moveaxis(Dense(heads, kernel_init="lecun", name="down")(y), -1, 1)


def share(q: Num[Array, "#b n"], k: Num[Array, "#b m"], c: Float[Array, ""], length: Float[Array, ""]) -> Float[Array, "#b n m"]:
    """How far before the query a key is, of what there is before it, or of the length below which nothing is squeezed."""
    at, of = q.astype(c.dtype)[:, :, None], k.astype(c.dtype)[:, None, :]
    whole = jnp.maximum(jnp.maximum(at, of), jnp.abs(length))
    back, c = at - of, jnp.abs(c)
    return jnp.sign(back) * jnp.log1p(c * jnp.abs(back)) / (jnp.log1p(c * whole) + EPS)
