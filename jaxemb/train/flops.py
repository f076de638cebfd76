"""The arithmetic of an update, and of how much of what the devices could do that is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import Mesh

from jaxemb.config import from_json, to_json
from jaxemb.ops.flops import Flops, flops_of
from jaxemb.ops.peaks import peak
from jaxemb.train.setup import batch_shapes, state_shapes
from jaxemb.train.sharding import make_mesh, on_mesh
from jaxemb.train.step import make_step

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


def count_step(experiment: Experiment, batch: Any, mesh: Mesh | None = None) -> Flops:
    """FLOPs of an update: by the kernels of the mesh's platform, or as products that all can be seen."""
    step: Any = make_step(
        experiment.objective, experiment.optim, steps=experiment.steps, ema=experiment.ema, accumulate=experiment.accumulate
    )
    state = bare(state_shapes(experiment, one_device() if mesh is None else mesh))
    return flops_of(step if mesh is None else on_mesh(step, mesh), state, bare(batch))


def once_computed(experiment: Experiment) -> Experiment:
    """The same computation without rematerialisation: what a utilisation of the model counts."""

    def plain(doc: Any) -> Any:
        if isinstance(doc, list):
            return [plain(v) for v in doc]
        if not isinstance(doc, dict):
            return doc
        off = {"remat": None, "pieces": None} if "@" in doc else {}
        return {k: off[k] if k in off else plain(v) for k, v in doc.items()}

    doc = to_json(experiment.objective)
    return experiment if plain(doc) == doc else dataclasses.replace(experiment, objective=from_json(plain(doc)))


def least_seconds(experiment: Experiment, mesh: Mesh) -> float | None:
    """What an update would take at the bfloat16 peak of the devices, recomputation not counted; None where that is not known."""
    most = peak(mesh.devices.flat[0].device_kind)
    if most is None:
        return None
    try:
        cpu = jax.local_devices(backend="cpu")[:1]
    except RuntimeError:  # JAX_PLATFORMS names the accelerator alone
        return None
    plain = make_mesh({"data": 1}, cpu)  # attention for it is products that can be counted
    return count_step(once_computed(experiment), batch_shapes(experiment, plain), plain).count / (most * mesh.size)


def one_device() -> Mesh:
    """Shapes do not depend on the devices that are here."""
    return make_mesh({"data": 1}, jax.local_devices()[:1])


def bare(tree: Any) -> Any:
    """Shapes without a placement: what is traced to be counted is on no device."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
