"""The product of tokens and a matrix, with the gradient of the matrix in the form that XLA on CPU multiplies fast."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from jaxemb.ops.whole import on_cpu, whole


def product(x: Float[Array, "n i"], w: Float[Array | np.ndarray, "i o"], *, shared: bool = False) -> Float[Array, "n o"]:
    """x w. `shared`: x has products with other matrices too.

    The gradient of w is x^T g, a sum over tokens. XLA:CPU hands it to a routine that walks through both arrays across their rows:
    at 100 GFLOP/s where x w reaches 160 (ViT-Ti, one core of a Xeon). With one of the two transposed in memory before it reaches
    150; the narrower one is the cheaper to transpose, and a shared x is transposed once. On other devices nothing changes.
    """
    return _of_shared(x, jnp.asarray(w)) if shared else _product(x, jnp.asarray(w))  # parameters may be numpy's


@jax.custom_jvp
def _product(x: Array, w: Array) -> Array:
    return x @ w


@jax.custom_jvp
def _of_shared(x: Array, w: Array) -> Array:
    return x @ w


# The rules are of forward mode, so that both modes work; the comments say what their transposes are.


def _by_input(x: Array, dw: Array) -> Array:
    """x dw; gradient: (x^T) g."""
    return _apart(whole(x).T).T @ dw


def _by_output(x: Array, dw: Array) -> Array:
    """x dw; gradient: (g^T x)^T, all three in memory: the update would read a transposed gradient across its rows."""
    return _apart(_apart(whole(dw).T) @ x.T).T


def _apart(x: Array) -> Array:
    return on_cpu(jax.lax.optimization_barrier, x)  # XLA would make one product of a transpose and the product of it


def _jvp(shared: bool, primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, w), (dx, dw) = primals, tangents
    form = _by_input if shared or w.shape[0] < w.shape[1] else _by_output
    if isinstance(dw, SymbolicZero):
        return x @ w, dx @ w
    dy = form(x, dw)
    return x @ w, dy if isinstance(dx, SymbolicZero) else dx @ w + dy


_product.defjvp(lambda *x: _jvp(False, *x), symbolic_zeros=True)
_of_shared.defjvp(lambda *x: _jvp(True, *x), symbolic_zeros=True)
