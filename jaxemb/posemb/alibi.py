"""Attention with linear biases: the further a key, the lower its logit."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.posemb.base import Places, PosEmb
from jaxemb.types import Paper


class ALiBi(PosEmb):
    """Lowers the logit of a key with its distance, in each head at a slope of its own.

        bias = -m_i |p_q - p_k|      m_i = 2^(-8 i / h), i = 1 ... h

    For h not a power of two: the slopes of the next lower power, then every second one of twice as many heads, as published.
    Distances go both ways; with `causal` the visible keys get what the paper gives them. Positions may be any real numbers; with
    several axes the distance is Euclidean (a choice: the paper has sequences alone). No parameters. The bias is not divided by
    sqrt(e). (SeqPE's code does so in its ALiBi baseline, which weakens the slopes 8 times at e = 64.)
    """

    paper: ClassVar[Paper | None] = Paper("Train Short, Test Long", 2021, "arxiv.org/abs/2108.12409")

    def bias(self, q: Places, k: Places, heads: int) -> Float[Array, "#b h n m"]:
        apart = (q.pos[:, :, None] - k.pos[:, None, :]).astype(jnp.result_type(float))
        distance = jnp.abs(apart[..., 0]) if apart.shape[-1] == 1 else jnp.sqrt((apart**2).sum(-1))
        return -jnp.asarray(slopes(heads), distance.dtype)[None, :, None, None] * distance[:, None]


def slopes(heads: int) -> list[float]:
    """m_i of each head."""
    power = 1 << (heads.bit_length() - 1)
    first = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    return first + [2 ** (-4 * i / power) for i in range(1, 2 * (heads - power), 2)]
