"""The flash kernel compiled for TPUs that are not here, on a mesh of several: needs libtpu (`pip install -e '.[tpu]'`)."""

import importlib.util
import os
import subprocess
import sys

import pytest

COMPILE = """
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention

devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
mesh = Mesh(np.array(devices).reshape(2, 1, 2), ("data", "fsdp", "model"))
x = jax.ShapeDtypeStruct((4, 2048, 4, 64), jnp.bfloat16, sharding=NamedSharding(mesh, P(("data", "fsdp"), None, "model")))
ids = jax.ShapeDtypeStruct((4, 2048), jnp.int32, sharding=NamedSharding(mesh, P(("data", "fsdp"))))

def loss(q, k, v, ids):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        allow = Allow(ids > 0, ids, causal=True)
        return attention(q, k, v, allow=allow, backend="tpu").astype(jnp.float32).sum()

compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x, ids).compile()
text = compiled.as_text()
memory = compiled.memory_analysis().temp_size_in_bytes >> 20
print("kernels", text.count("tpu_custom_call"), "gathers", text.count(" all-gather("), "MiB", memory)
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install -e '.[tpu]'")
def test_it_compiles_for_a_mesh_of_four_chips_and_gathers_nothing():
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    ran = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    said = ran.stdout.split()
    kernels, gathers, memory = (int(said[said.index(name) + 1]) for name in ("kernels", "gathers", "MiB"))
    assert kernels >= 3, "forward, gradient of q, gradient of k and v"
    assert gathers == 0, "every device keeps its own rows and heads"
    # The logits of one row and head are 16 MiB in float32; a device has two rows and two heads.
    assert memory < 64, "the n x m logits are never in memory"
