"""What the code that is being traced will run on."""

from __future__ import annotations

import jax


def platform() -> str:
    """One of "cpu", "gpu" and "tpu": the mesh's that the step or the encoding set (`on_mesh` in train/sharding.py), else that of
    JAX's first device.

    A mesh may be of devices that are not here: of a topology of TPUs, for which a machine without any compiles, it says "tpu" where
    `jax.default_backend()` says "cpu".
    """
    device = jax.sharding.get_abstract_mesh().abstract_device  # none where no mesh is set, or one of shapes alone
    return jax.default_backend() if device is None else device.platform
