import jax
import jax.numpy as jnp

from jaxemb.ops.platform import platform
from jaxemb.train.sharding import make_mesh, on_mesh


def test_without_a_mesh_it_is_the_machine():
    assert platform() == jax.default_backend() == "cpu"


def test_the_mesh_that_is_set_counts_though_its_devices_are_not_here():
    chip = jax.sharding.AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    found = []

    @jax.jit
    def step(x):
        found.append(platform())
        return jax.vmap(lambda x: found.append(platform()) or x)(x)

    x = jax.ShapeDtypeStruct((8,), jnp.float32)
    for device, said in ((chip, "tpu"), (None, "cpu")):
        with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((2, 4), ("data", "model"), abstract_device=device)):
            jax.eval_shape(step, x)
        assert found[-2:] == [said, said]
    jax.eval_shape(on_mesh(step, make_mesh({"data": -1})), x)
    assert found[-2:] == ["cpu", "cpu"] and len(found) == 6


def test_inside_of_what_each_device_runs_for_itself():
    found = []

    def own(x):
        found.append(platform())
        return x

    chip = jax.sharding.AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    mesh = jax.sharding.AbstractMesh((8,), ("data",), abstract_device=chip)
    with jax.sharding.use_abstract_mesh(mesh):
        jax.eval_shape(jax.shard_map(own, in_specs=jax.P("data"), out_specs=jax.P("data")), jax.ShapeDtypeStruct((8,), jnp.float32))
    assert found == ["tpu"]
