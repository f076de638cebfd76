"""TrAct: the weights of a first layer move as if its pre-activations were what is trained.

For z = X W + b with inputs X (r n), weights W (n m) and G = dL/dz (r m), L a mean over the batch (Petersen et al. 2024):

    dL/dW  becomes  M X^T G,   M = (X^T X / r + lambda I)^-1

the least-squares change of W, with a ridge of lambda r |dW|^2, that best makes the step -G r of the pre-activations. The forward
pass, dL/dX and dL/db are those of the plain layer. r counts rows: examples times tokens, or times the places of a convolution.
The second moment is not centred. M is a constant of the backward pass, so that neither forward mode nor a second derivative is
defined.

The optimiser sees M X^T G in the place of the gradient: momentum, clipping, Adam and the logged `grad_norm` act on it, and it can
be up to 1 / lambda times larger; decoupled weight decay acts on W and is not multiplied by M.

Under `jax.jit` the rows are those of the global batch, whatever the devices (X^T X is summed over them). Where the released code
runs on k devices each has an M of its own, sum_k M_k X_k^T G_k: which of the two the paper used on several devices is not stated.

Where an update runs over micro-batches, M is that of all of them. It depends on the inputs alone, so that no second pass is needed:
the layers give plain gradients and, in the collection `MOMENTS`, their matrices (`dense_moment`, `conv_moment`); the training step
takes means of both and solves once (`deferred`).

Inputs should be standardised: beside pixels of 0 .. 255 a lambda of 0.1 is nothing, and the layer hardly moves. Where the second
moment is not finite the gradient is NaN, all of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.ops.dtypes import wide

MOMENTS = "tract_moments"
"""The collection of X^T X / r + lambda I by the path of the kernel. Where it is mutable, layers leave the solve to the step."""

Padding = str | int | tuple[tuple[int, int], tuple[int, int]]
Pair = int | tuple[int, int]


def tract_dense(x: Array, kernel: Float[Array, "n m"], lam: float, *, dtype: str | None = None) -> Float[Array, "*b m"]:
    """x (*b n) times kernel, computed in `dtype`; all leading axes are rows."""
    return _product(_matmul, _rows, lam, floating(x).astype(dtype or x.dtype), kernel)


def tract_conv(
    x: Array,
    kernel: Float[Array, "kh kw i o"],
    lam: float,
    *,
    strides: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    dtype: str | None = None,
) -> Float[Array, "b h w o"]:
    """Convolution of images x (b H W c); the rows are all patches, borders of zeros included, flattened as (row, column, channel).

    The backward pass holds the patches: kh kw / (stride stride) times the memory of the images.
    """
    height, width, inputs = kernel.shape[:3]
    if inputs != x.shape[-1]:
        raise ConfigError(
            f"tract: a kernel for {inputs} of {x.shape[-1]} channels is a grouped convolution; TrAct is defined for groups=1 alone"
        )
    geometry = _geometry((height, width), x.shape[1:3], strides, padding, dilation)
    forward = functools.partial(jax.lax.conv_general_dilated, **geometry, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    rows = functools.partial(_patches, (height, width), geometry)
    return _product(forward, rows, lam, floating(x).astype(dtype or x.dtype), kernel)


def dense_moment(x: Array, lam: float, *, dtype: str | None = None) -> Float[Array, "n n"]:
    """X^T X / r + lambda I of x (*b n) in `dtype`; all leading axes are rows."""
    return _moment(_rows(floating(x).astype(dtype or x.dtype)), lam)


def conv_moment(
    x: Array,
    size: tuple[int, int],
    lam: float,
    *,
    strides: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    dtype: str | None = None,
) -> Float[Array, "n n"]:
    """X^T X / r + lambda I of the patches of x (b H W c) under a kernel of this size; n counts as in the flattened kernel."""
    geometry = _geometry(size, x.shape[1:3], strides, padding, dilation)
    return _moment(_patches(size, geometry, floating(x).astype(dtype or x.dtype)), lam)


def deferred(grads: Any, moments: Any) -> Any:
    """Plain gradients, with M X^T G in the place of each kernel's that has its matrix in `moments` (see `MOMENTS`).

    Means of both over micro-batches make it that of the whole batch.
    """
    for name, inner in moments.items():
        if isinstance(inner, tuple):
            if len(inner) != 1:
                raise ConfigError(f"optim.tract: a layer runs {len(inner)} times in one loss, where M is defined for once")
            g = grads[name]
            solved = _ridge_solve(inner[0], g.reshape(len(inner[0]), -1).astype(inner[0].dtype))
            grads = {**grads, name: solved.reshape(g.shape).astype(g.dtype)}
        else:
            grads = {**grads, name: deferred(grads[name], inner)}
    return grads


def weight_gradient(x: Float[Array, "r n"], g: Float[Array, "r m"], lam: float) -> Float[Array, "n m"]:
    """M X^T G, in float32 or better."""
    dtype = wide(x)
    rows, n = x.shape
    if rows < n:  # the same by the push-through identity, with a smaller matrix: X^T (X X^T / r + lambda I)^-1 G
        gram = _exact(x, x.T, dtype) / rows + lam * jnp.eye(rows, dtype=dtype)
        return _exact(x.T.astype(dtype), _ridge_solve(gram, g.astype(dtype)))
    return _ridge_solve(_moment(x, lam), _exact(x.T, g, dtype))


def realised_cosine(x: Float[Array, "*b n"], grad_w: Float[Array, "n m"], grad_z: Float[Array, "*b m"]) -> Float[Array, ""]:
    """cos(X dW, -G) for the change dW = -grad_w: how well the step of the weights realises the one that z asked for.

    Scale-free. At most |P G| / |G|, with P the projection on the columns of X, which TrAct reaches as lambda goes to 0.
    """
    dtype = wide(x)
    return cosine(_exact(_rows(x).astype(dtype), grad_w.astype(dtype)), _rows(grad_z))


def cosine(a: Float[Array, "*s"], b: Float[Array, "*s"]) -> Float[Array, ""]:
    """Of two whole arrays, in float32 or better."""
    a, b = a.astype(wide(a)), b.astype(wide(b))
    return (a * b).sum() / jnp.sqrt((a * a).sum() * (b * b).sum())


# ---- the backward pass -----------------------------------------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _product(forward: Callable, rows: Callable, lam: float, x: Array, kernel: Array) -> Array:
    """A bilinear map of inputs x and a kernel; `rows` unfolds x into the rows that the flattened kernel multiplies."""
    return forward(x, kernel.astype(x.dtype))


def _forward(forward: Callable, rows: Callable, lam: float, x: Array, kernel: Array) -> tuple[Array, Any]:
    return forward(x, kernel.astype(x.dtype)), (x, kernel)


def _backward(forward: Callable, rows: Callable, lam: float, saved: Any, grad: Array) -> tuple[Array, Array]:
    x, kernel = saved
    (grad_x,) = jax.vjp(lambda x: forward(x, kernel.astype(x.dtype)), x)[1](grad)
    moved = weight_gradient(rows(x), _rows(grad), lam)
    return grad_x, moved.reshape(kernel.shape).astype(kernel.dtype)


_product.defvjp(_forward, _backward)


def _moment(x: Array, lam: float) -> Array:
    """X^T X / r + lambda I"""
    rows, n = x.shape
    return _exact(x.T, x, wide(x)) / rows + lam * jnp.eye(n, dtype=wide(x))


def _ridge_solve(moment: Array, g: Array) -> Array:
    """moment^-1 g by Cholesky; NaN where the moment is not finite (an infinite one would give zeros)."""
    return jnp.where(jnp.isfinite(jnp.trace(moment)), cho_solve((jnp.linalg.cholesky(moment), True), g), jnp.nan)


def _exact(a: Array, b: Array, dtype: Any = None) -> Array:
    """The inverse of a small lambda blows up what a matmul unit cuts off float32 inputs."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST, preferred_element_type=dtype)


# ---- rows ------------------------------------------------------------------------------------------------------------------------


def _matmul(x: Array, kernel: Array) -> Array:
    return (_rows(x) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _geometry(size: tuple[int, int], shape: tuple[int, ...], strides: Pair, padding: Padding, dilation: Pair) -> dict[str, Any]:
    """Arguments of `conv_general_dilated`."""
    strides, dilation = _pair(strides), _pair(dilation)
    window = tuple((k - 1) * step + 1 for k, step in zip(size, dilation, strict=True))
    return {"window_strides": strides, "padding": _pads(padding, shape, window, strides), "rhs_dilation": dilation}


def _patches(size: tuple[int, int], geometry: dict[str, Any], x: Array) -> Array:
    """The patches under a kernel as rows (b h w, kh kw c), by slices: a convolution with unit vectors would round them."""
    strides, pads, dilation = (geometry[name] for name in ("window_strides", "padding", "rhs_dilation"))
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)])
    b, height, width, c = x.shape
    lasts = [  # of each axis the last start of a patch
        (length - (k - 1) * step - 1) // stride * stride
        for length, k, step, stride in zip((height, width), size, dilation, strides, strict=True)
    ]
    places = [(i * dilation[0], j * dilation[1]) for i in range(size[0]) for j in range(size[1])]
    cut = [x[:, i : i + lasts[0] + 1 : strides[0], j : j + lasts[1] + 1 : strides[1]] for i, j in places]
    return jnp.stack(cut, axis=3).reshape(-1, len(places) * c)


def _pads(padding: Padding, shape: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, int]) -> Any:
    """((top, bottom), (left, right))"""
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ConfigError(f"tract: padding={padding!r}; valid: SAME, VALID, a number, ((top, bottom), (left, right))")
        return tuple(jax.lax.padtype_to_pads(shape, window, strides, padding))
    return ((padding, padding),) * 2 if isinstance(padding, int) else padding


def _pair(x: Pair) -> tuple[int, int]:
    return (x, x) if isinstance(x, int) else x


def floating(x: Array) -> Array:
    """x, which must be of floating-point numbers."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ConfigError(f"tract: inputs must be floating-point numbers, best standardised (mean 0, deviation 1), not {x.dtype}")
    return x
