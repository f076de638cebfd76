"""How well a step of the first layer's weights realises the step that its pre-activations ask for (what TrAct improves).

Logged as `first_layer_cosine` where `Experiment.first_layer` names the layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxemb.config import ConfigError
from jaxemb.ops.paths import parameter_paths
from jaxemb.ops.tract import cosine
from jaxemb.train.state import TrainState
from jaxemb.types import Batch, Now


def first_layer_cosine(objective: Any, state: TrainState, batch: Batch, layer: str = "encoder/stem/proj") -> Array:
    """cos(change of z by the gradient step of the kernel, -dL/dz), for z the outputs of the linear layer at this path.

    Scale-free, of the batch as a whole; the gradient is the one that the optimiser gets, with TrAct or without. Any layer serves
    that is linear in its `kernel`: "encoder/stem/proj" of `Transformer` on `Patches`, "encoder/stem" of `MLP`, `CNN` and `ResNet`.
    Costs a training step and a half. To be jitted.
    """
    params, variables = state.params, state.variables("params")
    if f"{layer}/kernel" not in (paths := parameter_paths(params)):
        there = ", ".join(p[:-7] for p in paths if p.endswith("/kernel"))
        raise ConfigError(f"first_layer={layer!r} has no kernel; there are {there}")
    dropout, shared = jax.random.split(jax.random.fold_in(state.key, state.step))
    now = Now(state.step, 1, shared)
    targets = jax.lax.stop_gradient(objective.apply(state.variables("ema"), batch, now, method="targets"))

    def loss(params: Any, shift: Array) -> tuple[Array, Array]:
        found = []

        def shifted(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            out = call(*args, **kwargs)
            if context.method_name != "__call__" or "/".join(context.module.path) != layer:
                return out
            found.append(out)
            return out + shift.astype(out.dtype)

        with nn.intercept_methods(shifted):
            mutable = [*(name for name in variables if name != "params"), "losses"]
            out, _ = objective.apply(
                {**variables, "params": params}, batch, targets, now, method="loss", rngs={"dropout": dropout}, mutable=mutable
            )
        if len(found) != 1:
            raise ConfigError(f"first_layer={layer!r} runs {len(found)} times in one loss; its step is defined for once")
        return out.value, found[0]

    z = jax.eval_shape(loss, params, jnp.zeros(()))[1]
    shift = jnp.zeros(z.shape, z.dtype)
    grads, grad_z = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, shift)[0]

    def step_alone(path: Any, p: Array, grad: Array) -> Array:
        name = "/".join(k.key for k in path)
        inside = name.startswith(f"{layer}/")
        return grad if name == f"{layer}/kernel" else jnp.zeros_like(p) if inside else p

    # With the gradient in the place of the kernel, and no bias, the outputs are the change: no need to know how inputs unfold.
    change = loss(jax.tree_util.tree_map_with_path(step_alone, params, grads), shift)[1]
    return cosine(change, grad_z)
