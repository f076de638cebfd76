"""The mesh, the rules, and the split of the batch, on 8 virtual devices."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError
from jaxemb.ops.paths import by_path
from jaxemb.train.rules import AXES, check_rules, partition, rule_of, uncut
from jaxemb.train.sharding import (
    batch_sharding,
    check_batch,
    data_shard,
    make_mesh,
    planned_mesh,
    shardings,
    state_shardings,
    to_devices,
)
from jaxemb.train.state import TrainState


def shape(*dims):
    return jax.ShapeDtypeStruct(dims, jnp.float32)


@pytest.mark.parametrize(
    "axes, sizes",
    [
        ({"data": -1}, (8, 1, 1)),
        ({}, (1, 1, 1)),
        ({"data": 2, "fsdp": -1, "model": 2}, (2, 2, 2)),
        ({"model": 2, "data": 2}, (2, 1, 2)),
    ],
)
def test_mesh_sizes(axes, sizes):
    assert tuple(make_mesh(axes).shape.values()) == sizes


@pytest.mark.parametrize(
    "axes, words",
    [
        ({"data": 16}, "asks for 16 devices, there are 8"),
        ({"data": -1, "model": 3}, "8 devices cannot be divided by 3"),
        ({"data": -1, "fsdp": -1}, "only one axis can be -1"),
        ({"modle": 2}, "did you mean 'model'"),
        ({"data": 0}, "mesh.data must be at least 1"),
    ],
)
def test_mesh_that_does_not_fit(axes, words):
    with pytest.raises(ConfigError, match=words):
        make_mesh(axes)


@pytest.mark.parametrize(
    "rule, path, dims, expected",
    [
        ("replicate", "norm/scale", (8,), P()),
        ("fsdp", "mlp/up/kernel", (6, 12), P(None, "fsdp")),
        ("fsdp", "mlp/down/kernel", (12, 6), P("fsdp", None)),
        ("fsdp", "odd/kernel", (3, 5), P()),
        ("fsdp,model", "up/kernel", (6, 12), P("fsdp", "model")),
        ("-, model", "up/kernel", (6, 12), P(None, "model")),
        ("model?,-", "q/bias", (4, 8), P("model", None)),
        ("model?,-", "k/bias", (1, 8), P(None, None)),
        ("fsdp+tensor", "block_0/attention/q/kernel", (8, 4, 2), P("fsdp", "model", None)),
        ("fsdp+tensor", "block_0/attention/k/kernel", (8, 1, 2), P("fsdp", None, None)),  # fewer key heads than devices: whole
        ("fsdp+tensor", "block_0/attention/out/kernel", (4, 2, 8), P("model", None, "fsdp")),
        ("fsdp+tensor", "block_0/mlp/up/kernel", (8, 32), P("fsdp", "model")),
        ("fsdp+tensor", "block_0/mlp/gate/bias", (32,), P("model")),
        ("fsdp+tensor", "block_0/mlp/down/kernel", (32, 8), P("model", "fsdp")),
        ("fsdp+tensor", "stem/embedding", (64, 8), P("model", "fsdp")),
        ("fsdp+tensor", "stem/embedding", (63, 8), P(None, "model")),  # ids that do not divide: along features
        ("fsdp+tensor", "pooling/q/kernel", (8, 4, 2), P("fsdp", "model", None)),
        ("fsdp+tensor", "predictor/out/kernel", (8, 6), P("fsdp", None)),  # no heads
        ("fsdp+tensor", "head/kernel", (8, 6), P("fsdp", "model")),
        ("fsdp+tensor", "head/kernel", (8, 5), P("fsdp", None)),
        ("fsdp+tensor", "norm/scale", (8,), P("fsdp")),
        ("fsdp", "stem/embedding", (64, 8), P(None, "fsdp")),
        ("fsdp", "pos/table", (64, 7), P("fsdp", None)),
        ("largest", "stem/embedding", (64, 8), P("fsdp", None)),
    ],
)
def test_rules(rule, path, dims, expected):
    assert partition(rule, path, dims, make_mesh({"data": 2, "fsdp": 2, "model": 2})) == expected


@pytest.mark.parametrize(
    "rule, path, dims, expected",
    [
        ("fsdp", "blocks/up/kernel", (16, 6, 3), P(None, "fsdp", None)),  # never the depth
        ("fsdp,model", "blocks/up/kernel", (3, 6, 12), P(None, "fsdp", "model")),
        ("fsdp+tensor", "blocks/attention/q/kernel", (3, 8, 4, 2), P(None, "fsdp", "model", None)),
    ],
)
def test_rules_of_stacked_parameters(rule, path, dims, expected):
    mesh = make_mesh({"data": 2, "fsdp": 2, "model": 2})
    assert partition(rule, path, dims, mesh, stacked=True) == expected
    assert shardings({"a": shape(16, 6, 3)}, (("a", "fsdp"),), mesh, scanned={"a"})["a"].spec == P(None, "fsdp", None)
    assert shardings({"a": shape(16, 6, 3)}, (("a", "fsdp"),), mesh)["a"].spec == P("fsdp", None, None)


@pytest.mark.parametrize(
    "rule, words",
    [
        ("fsdb", "is no rule"),
        ("fsdp,model", "names 2 dimensions, but up/bias has shape"),
        ("model", "7 is not divisible by model=2"),
    ],
)
def test_rules_that_cannot_be(rule, words):
    with pytest.raises(ConfigError, match=words):
        partition(rule, "up/bias", (7,), make_mesh({"model": 2}))


def test_the_first_match_counts_and_a_rule_without_a_match_is_an_error():
    mesh = make_mesh({"fsdp": 4, "model": 2})
    params = {"up": {"kernel": shape(8, 8), "bias": shape(8)}}
    placed = shardings(params, (("kernel", "fsdp,model"), (".*", "replicate")), mesh)
    assert placed["up"]["kernel"].spec == P("fsdp", "model") and placed["up"]["bias"].spec == P()
    with pytest.raises(ConfigError, match="'kernl' finds none of the parameters: up/bias, up/kernel"):
        shardings(params, (("kernl", "fsdp"), (".*", "replicate")), mesh)


def test_presets_by_name():
    mesh = make_mesh({"fsdp": 4, "model": 2})
    params = {"mlp": {"up": {"kernel": shape(8, 16)}}, "norm": {"scale": shape(3)}}
    specs = {name: shardings(params, name, mesh)["mlp"]["up"]["kernel"].spec for name in ("replicate", "fsdp", "fsdp+tensor")}
    assert specs == {"replicate": P(), "fsdp": P(None, "fsdp"), "fsdp+tensor": P("fsdp", "model")}
    assert shardings(params, "fsdp+tensor", mesh)["norm"]["scale"].spec == P()  # none of its sizes divides
    pairs = (("up", "replicate"), (".*", "fsdp+tensor"))
    assert (rule_of("mlp/up/kernel", pairs), rule_of("mlp/down/kernel", pairs)) == ("replicate", "fsdp+tensor")


def test_the_smallest_parameters_stay_whole_as_long_as_a_device_holds_little_more():
    """Of 10 000 numbers on 4 devices 5 % of 2 500 may be more: 100 + 20, not 200 + 20."""
    mesh = make_mesh({"fsdp": 4})
    params = {"a": shape(96, 100), "b": {"x": shape(20)}, "c": shape(100), "d": shape(280)}
    assert {path for path, spec in specs_of(params, mesh).items() if spec == P()} == {"b/x", "c"}
    params["e"] = shape(100)  # those of a size stay or go together
    assert {path for path, spec in specs_of(params, mesh).items() if spec == P()} == {"b/x"}


def specs_of(params, mesh):
    return {path: s.spec for path, s in by_path(shardings(params, "fsdp", mesh)).items()}


def test_what_nothing_divides_is_said_with_the_mesh_that_cuts_it():
    shapes = {"blocks/up/kernel": (256, 384, 1408), "blocks/down/kernel": (256, 1408, 384), "norm/scale": (384,)}
    stacks = {path for path in shapes if path.startswith("blocks")}

    def said(rules, shapes=shapes, scanned=stacks, **axes):
        return uncut(shapes, rules, AbstractMesh(tuple(axes.get(axis, 1) for axis in AXES), AXES), scanned)

    assert said("fsdp", fsdp=256) == (
        "sharding: 100 % of the parameters stay whole on every device, since fsdp=256 divides none of their dimensions: "
        'a device holds 256 times an even share; with mesh={"data": 2, "fsdp": 128} it holds 128 times less'
    )
    assert said((("down", "replicate"), (".*", "fsdp")), fsdp=256).startswith("sharding: 50 %")  # the other half was asked for
    assert not said("replicate", fsdp=256) and not said("fsdp", fsdp=128) and not said("fsdp", data=256)
    assert not said("fsdp", fsdp=256, scanned=())  # a dimension that is no depth divides
    assert not said("fsdp", fsdp=256, shapes=shapes | {"large": (256, 384, 1408 * 8192)})  # too little to speak of


def test_the_mesh_of_devices_that_are_not_here():
    assert dict(planned_mesh({"data": 2, "fsdp": 128}).shape) == {"data": 2, "fsdp": 128, "model": 1}
    assert planned_mesh({"data": -1, "model": 2}).size == 8 and planned_mesh({"data": -1, "model": 3}) is None
    with pytest.raises(ConfigError, match="did you mean 'model'"):
        planned_mesh({"modle": 2})


def test_a_preset_that_there_is_not():
    with pytest.raises(
        ConfigError, match=r"sharding='fspd' is no preset; did you mean 'fsdp'\? valid: fsdp, fsdp\+tensor, replicate"
    ):
        check_rules("fspd")


def test_moments_and_average_lie_where_their_parameter_lies():
    mesh = make_mesh({"fsdp": 4})
    params = {"up": {"kernel": shape(8, 6)}}
    opt = [{"mu": params, "count": shape(), "row": {"up": {"kernel": shape(8)}}}]  # a factored moment is no mirror
    state = TrainState(step=shape(), params=params, stats={}, ema=params, opt=opt, key=shape())
    placed = jax.tree.map(lambda s: s.spec, state_shardings(state, ((".*", "fsdp"),), mesh))
    cut = {"up": {"kernel": P("fsdp", None)}}
    assert placed.params == cut and placed.ema == cut and placed.step == P()
    assert placed.opt == [{"mu": cut, "count": P(), "row": {"up": {"kernel": P()}}}]


def test_batch_that_does_not_divide_names_the_nearest_that_do():
    mesh = make_mesh({"data": 2, "fsdp": 2, "model": 2})
    check_batch(24, 2, mesh)
    with pytest.raises(ConfigError, match=r"batch=30 cannot be divided by 8 = data 2 x fsdp 2 x accumulate 2.*24 and 32"):
        check_batch(30, 2, mesh)
    with pytest.raises(ConfigError, match=r"the nearest sizes that can: 4$"):
        check_batch(3, 1, mesh)


def test_rows_of_a_batch_go_over_data_and_fsdp():
    mesh = make_mesh({"data": 2, "fsdp": 2, "model": 2})
    rows = np.arange(8, dtype=np.float32)[:, None]
    x = to_devices({"x": rows}, mesh)["x"]
    assert x.sharding == batch_sharding(mesh) and {s.data.shape for s in x.addressable_shards} == {(2, 1)}
    np.testing.assert_array_equal(np.asarray(x), rows)
    assert data_shard(mesh) == (0, 1)


@pytest.mark.parametrize("owners", [(0, 0, 1, 1), (0, 1, 0, 1)])
def test_each_process_loads_its_own_share_even_if_its_rows_are_not_neighbours(monkeypatch, owners):
    devices = [SimpleDevice(process) for process in owners]
    places = {device: (slice(i, i + 1),) for i, device in enumerate(devices)}
    monkeypatch.setattr("jaxemb.train.sharding.batch_sharding", lambda mesh: SimpleNamespace(devices_indices_map=lambda _: places))
    for me in (0, 1):
        monkeypatch.setattr("jax.process_index", lambda me=me: me)
        assert data_shard(make_mesh({"data": 4})) == (me, 2)


class SimpleDevice:
    def __init__(self, process):
        self.process_index = process
