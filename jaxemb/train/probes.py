"""What is measured in the middle of a training step, on the very numbers that the optimiser sees.

`Experiment.probes` names them; their figures stand in metrics.jsonl as "name_figure".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxemb.config import ConfigError
from jaxemb.ops.paths import parameter_paths
from jaxemb.ops.tract import wide
from jaxemb.train.state import TrainState

Loss = Callable[[Any], Array]
"""The share of a micro-batch in the loss of the update, as a function of the parameters alone."""


class Seen(NamedTuple):
    """A training step, before its update."""

    objective: Any
    state: TrainState
    grads: Any
    """What the optimiser gets: of all micro-batches, preconditioned, not yet clipped."""
    over_parts: Callable[[Callable[[Loss], Any]], Any]
    """The sum over the micro-batches of a function of their losses, which have the targets, the weights and the random numbers of
    the step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """Abstract. Costs nothing at the steps that are not looked at."""

    every: int = 1
    """Lines of metrics.jsonl from one look to the next."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every must be at least 1, is {self.every}")

    def __call__(self, seen: Seen) -> Mapping[str, Array]:
        """Scalars by name; traced with the step."""
        raise TypeError(f"{type(self).__name__} does not define __call__")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Realised(Probe):
    """How well a step of a linear layer's weights realises the step that its outputs ask for (what TrAct improves).

        cosine = cos(change of z by the gradient step of the kernel, -dL/dz),   z the outputs of the layer

    Scale-free, of the whole batch; the gradient is the one that the optimiser gets, with TrAct or without. Any layer serves that is
    linear in its `kernel`: "encoder/stem/proj" of `Transformer` on `Patches`, "encoder/stem" of `MLP`, `CNN` and `ResNet`. Costs a
    training step and a half.
    """

    layer: str = "encoder/stem/proj"
    """The path of the layer."""

    def __call__(self, seen: Seen) -> Mapping[str, Array]:
        params = seen.state.params
        if (pieces := getattr(seen.objective, "pieces", None)) is not None:
            raise ConfigError(
                f"probes: layer={self.layer!r} runs in pieces={pieces} of the batch, one after the other, and its step is defined "
                "for all rows at once; set pieces=None for this measurement"
            )
        if f"{self.layer}/kernel" not in (paths := parameter_paths(params)):
            there = ", ".join(p[:-7] for p in paths if p.endswith("/kernel"))
            raise ConfigError(f"probes: layer={self.layer!r} has no kernel; there are {there}")
        # With the gradient in the place of the kernel, and no bias, the outputs are the change: no need to know how inputs unfold.
        moved = jax.tree_util.tree_map_with_path(self._step_alone, params, seen.grads)

        def one(loss: Loss) -> Array:
            z = jax.eval_shape(lambda: self._outputs(loss, params, jnp.zeros(()))[1])
            grad_z = jax.grad(lambda shift: self._outputs(loss, params, shift)[0])(jnp.zeros(z.shape, z.dtype))
            change = self._outputs(loss, moved, jnp.zeros(()))[1]
            change, grad_z = change.astype(wide(change)), grad_z.astype(wide(grad_z))
            return jnp.stack([(change * grad_z).sum(), jnp.square(change).sum(), jnp.square(grad_z).sum()])

        dot, squared_change, squared_grad = seen.over_parts(one)
        return {"cosine": dot / jnp.sqrt(squared_change * squared_grad)}

    def _step_alone(self, path: Any, p: Array, grad: Array) -> Array:
        name = "/".join(k.key for k in path)
        inside = name.startswith(f"{self.layer}/")
        return grad if name == f"{self.layer}/kernel" else jnp.zeros_like(p) if inside else p

    def _outputs(self, loss: Loss, params: Any, shift: Array) -> tuple[Array, Array]:
        """(loss, outputs of the layer before `shift` is added to them)."""
        found = []

        def shifted(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            out = call(*args, **kwargs)
            called = context.module.scope is not None and context.method_name == "__call__"
            if not called or "/".join(context.module.path) != self.layer:
                return out
            found.append(out)
            return out + shift.astype(out.dtype)

        with nn.intercept_methods(shifted):
            value = loss(params)
        if len(found) != 1:
            raise ConfigError(f"probes: layer={self.layer!r} runs {len(found)} times in one loss; its step is defined for once")
        return value, found[0]
