"""TrAct where a parameter path names it: layers are watched from outside, and know nothing of it (`ops/tract.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen as nn

from jaxemb.config import ConfigError
from jaxemb.ops.paths import parameter_paths
from jaxemb.ops.tract import MOMENTS, conv_moment, deferred, dense_moment


def watched(apply: Callable, layers: Mapping[str, float]) -> Callable:
    """`apply` of a module, in which the layers at these paths leave X^T X / r + lambda I of their inputs in `MOMENTS`."""

    def look(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        layer = context.module
        bound = layer.scope is not None and context.method_name == "__call__"
        lam = layers.get("/".join(layer.path)) if bound else None
        if lam is None or not layer.is_mutable_collection(MOMENTS):
            return call(*args, **kwargs)
        # The inverse of a small lambda blows up what a matmul unit cuts off float32 in the product X^T G.
        with jax.default_matmul_precision("float32"):
            out = call(*args, **kwargs)
        layer.sow(MOMENTS, "kernel", jax.lax.stop_gradient(_moment(layer, args[0], lam)))
        return out

    def inside(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(look):
            return apply(*args, **kwargs)

    return inside if layers else apply


def solved(grads: Any, moments: Any, layers: Mapping[str, float]) -> Any:
    """The gradients with M X^T G in the place of each kernel's. `moments`: what `watched` left, means over micro-batches."""
    sown = {path.rsplit("/", 2)[0] for path in parameter_paths(moments)}  # "encoder/stem/kernel/0", a tuple entry
    for path in layers:
        if path not in sown:
            there = ", ".join(p[:-7] for p in parameter_paths(grads) if p.endswith("/kernel"))
            raise ConfigError(
                f"optim.tract: {path!r} is no layer with a kernel that runs in the loss, once and in no scan; there are {there}"
            )
    return deferred(grads, moments)


def _moment(layer: nn.Module, x: jax.Array, lam: float) -> jax.Array:
    """By the kernel: of a dense layer or of a convolution with `stride` and `padding`."""
    kernel = layer.variables.get("params", {}).get("kernel")
    path = "/".join(layer.path)
    if kernel is None or kernel.ndim not in (2, 4):
        raise ConfigError(f"optim.tract: {path!r} has no kernel of a dense layer or a convolution")
    dtype = getattr(layer, "dtype", None)
    if kernel.ndim == 2:
        return dense_moment(x, lam, dtype=dtype)
    if kernel.shape[2] != x.shape[-1]:
        raise ConfigError(f"optim.tract: {path!r} is a grouped convolution; TrAct is defined for groups=1 alone")
    strides, padding = getattr(layer, "stride", 1), getattr(layer, "padding", "SAME")
    return conv_moment(x, kernel.shape[:2], lam, strides=strides, padding=padding, dtype=dtype)
