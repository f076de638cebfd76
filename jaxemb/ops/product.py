"""The product of tokens and a matrix, with the gradient of the matrix in the form that XLA on CPU multiplies fast."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from jaxemb.ops.whole import on_cpu


def product(x: Float[Array, "n i"], w: Float[Array | np.ndarray, "i o"]) -> Float[Array, "n o"]:
    """x w.

    The gradient of w is a sum over tokens: x^T g, or the transpose of g^T x. XLA:CPU is fast where the first of the two is the
    narrower: of 4 096 tokens with 384 and 1 536 features at 145 GFLOP/s, the other way at 115 (one core of a Xeon). What is
    transposed is then of the size of w; the tokens stay as they are. On other devices nothing changes.
    """
    w = jnp.asarray(w)  # parameters may be numpy's
    return x @ w if w.shape[0] <= w.shape[1] else _narrowing(x, w)


@jax.custom_jvp
def _narrowing(x: Array, w: Array) -> Array:
    return x @ w


# The rule is of forward mode, so that both modes work; the comment says what its transpose is.


def _jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, w), (dx, dw) = primals, tangents
    if isinstance(dw, SymbolicZero):
        return x @ w, dx @ w
    # x dw; gradient: (g^T x)^T, which is g^T x in memory before it is transposed.
    dy = (_apart(dw.T) @ x.T).T
    return x @ w, dy if isinstance(dx, SymbolicZero) else dx @ w + dy


def _apart(x: Array) -> Array:
    return on_cpu(jax.lax.optimization_barrier, x)  # XLA would make one product of a transpose and the product of it


_narrowing.defjvp(_jvp, symbolic_zeros=True)
