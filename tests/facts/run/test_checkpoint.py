"""Checkpoints: what comes back, what is kept, what is passed over, and what is said."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.files import digest
from jaxemb.run.checkpoint import CheckpointError, Checkpoints
from jaxemb.run.manifest import fault, manifest_path, seal, share
from jaxemb.train.sharding import make_mesh, state_shardings
from jaxemb.train.state import TrainState, items_of, state_of


def make_state(width=8, ema=True):
    params = {"up": {"kernel": jnp.arange(8.0 * width).reshape(8, width), "bias": jnp.full(width, 0.5, jnp.bfloat16)}}
    average = jax.tree.map(lambda x: x / 2, params) if ema else None
    stats = {"batch_stats": {"mean": jnp.arange(3.0)}}
    return TrainState(jnp.int32(7), params, stats, average, optax.adam(0.1).init(params), jax.random.key(3))


def shapes_of(state, sharding=None):
    sharding = sharding or jax.tree.map(lambda _: jax.sharding.SingleDeviceSharding(jax.devices()[0]), state)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, sharding)


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture
def said():
    return []


@pytest.fixture
def written(tmp_path, said):
    """Three checkpoints, 1 to 3, of which each is the state times its step."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3, say=said.append)
    state = make_state()
    for step in (1, 2, 3):
        checkpoints.save(step, items_of(state.replace(step=jnp.int32(step))), {"data": {"place": step}})
    checkpoints.wait()
    yield checkpoints
    checkpoints.close()


def test_everything_comes_back(written):
    state = make_state().replace(step=jnp.int32(3))
    restored = written.restore(items_of(shapes_of(state)))
    assert_equal(state_of(restored.items), state)
    assert restored.step == 3 and restored.meta == {"data": {"place": 3}}


def test_items_can_be_read_alone(written):
    state = shapes_of(make_state())
    assert set(written.restore({"ema": state.ema}, step=2).items) == {"ema"}


def test_what_is_not_there_is_not_stored(tmp_path):
    state = make_state(ema=False).replace(stats={})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, items_of(state), {})
    checkpoints.close()
    assert not checkpoints.has(1, "ema") and not checkpoints.has(1, "stats")
    assert_equal(state_of(checkpoints.restore(items_of(shapes_of(state))).items), state)
    with pytest.raises(CheckpointError, match="holds no 'ema'"):
        checkpoints.restore({"ema": shapes_of(state.params)})


@pytest.mark.parametrize("axes", [{"data": 1}, {"fsdp": 4}])
def test_from_eight_devices_to_one_and_to_four(tmp_path, axes):
    state = make_state()
    rules = (("kernel", "fsdp,model"), (".*", "fsdp"))
    cut = state_shardings(state, rules, make_mesh({"data": 2, "fsdp": 2, "model": 2}))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, items_of(jax.device_put(state, cut)), {})
    checkpoints.close()
    target = state_shardings(state, ((".*", "fsdp"),), make_mesh(axes))
    restored = state_of(checkpoints.restore(items_of(shapes_of(state, target))).items)
    assert_equal(restored, state)
    kernel = restored.params["up"]["kernel"].sharding
    assert kernel.num_devices == np.prod(list(axes.values()))
    assert kernel.is_equivalent_to(NamedSharding(make_mesh(axes), P(*(("fsdp",) if "fsdp" in axes else ()))), 2)


def test_the_newest_stay_and_the_best_beside_them(tmp_path):
    folder = tmp_path / "checkpoints"
    figures = {1: 0.1, 2: 0.9, 3: 0.3, 4: 0.2, 5: None}
    for part in ((1, 2, 3), (4, 5)):  # the second part finds the figures of the first on disk
        checkpoints = Checkpoints(folder, keep=2, best="knn/top1")
        for step in part:
            checkpoints.save(step, items_of(make_state()), {}, {} if figures[step] is None else {"knn/top1": figures[step]})
        checkpoints.close()
    assert checkpoints.steps() == checkpoints.sealed() == [2, 4, 5]
    assert not manifest_path(folder, 1).exists()


def flip(file: Path, at: int = -20):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def largest(folder: Path) -> Path:
    return max((f for f in Path(folder).rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def damages():
    def truncated(folder, step):
        file = largest(folder / str(step) / "params")
        file.write_bytes(file.read_bytes()[:-1])

    def without_manifest(folder, step):
        manifest_path(folder, step).unlink()

    return [
        (lambda folder, step: flip(largest(folder / str(step) / "params")), "the bytes of .* have changed"),
        (lambda folder, step: flip(folder / str(step) / "meta" / "metadata", 3), "the bytes of meta/metadata have changed"),
        (truncated, "bytes instead of"),
        (lambda folder, step: largest(folder / str(step) / "rest").unlink(), "is missing"),
        (lambda folder, step: shutil.rmtree(folder / str(step) / "ema"), "is missing"),
        (without_manifest, "no manifest, so its save was cut off"),
        (lambda folder, step: manifest_path(folder, step).write_text('{"a": 1'), "its manifest is damaged"),
    ]


@pytest.mark.parametrize("damage, words", damages(), ids=["flip", "meta", "truncated", "missing", "half", "manifest", "json"])
def test_a_damaged_step_is_passed_over_and_named(written, said, damage, words):
    damage(written.folder, 3)
    assert written.newest() == 2
    assert len(said) == 2 and said[1] == "going back to checkpoint 2, the newest intact one"
    pytest.raises(CheckpointError, written.pick, 3).match(words)
    assert "checkpoint 3 is passed over" in said[0]


def test_a_step_set_aside_makes_room_for_its_successor(written):
    flip(largest(written.folder / "3" / "params"))
    assert written.newest(set_aside=True) == 2
    assert written.steps() == [1, 2] and (written.folder / "3.rejected").is_dir()
    again = Checkpoints(written.folder)
    again.save(3, items_of(make_state()), {})
    again.close()
    assert again.newest() == 3


def test_the_only_step_is_used_even_if_the_process_died_before_its_manifest(tmp_path, said):
    checkpoints = Checkpoints(tmp_path, keep=1, say=said.append)
    checkpoints.save(1, items_of(make_state()), {})
    checkpoints.close()
    manifest_path(tmp_path, 1).unlink()
    assert checkpoints.newest(set_aside=True) == 1 and fault(tmp_path, 1) is None
    assert "used after all, unchecked" in said[1]


def test_nothing_there(tmp_path):
    assert Checkpoints(tmp_path / "none").newest() is None
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        Checkpoints(tmp_path / "none").pick()


def test_a_step_that_does_not_exist_names_those_that_do(written):
    with pytest.raises(CheckpointError, match=r"no checkpoint 4 in .*there are \[1, 2, 3\]"):
        written.pick(4)


def test_a_folder_left_by_a_killed_save_is_removed_by_the_next(tmp_path):
    left = tmp_path / "5.orbax-checkpoint-tmp"
    left.mkdir()
    (left / "array").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    checkpoints.save(6, items_of(make_state()), {})
    checkpoints.close()
    assert not left.exists() and checkpoints.steps() == [6]


def test_another_architecture_names_parameters_and_shapes(written):
    other = shapes_of(make_state(width=4)).params
    other["head"] = {"kernel": other["up"].pop("bias")}
    with pytest.raises(CheckpointError, match="another architecture, 3 of its params differ") as caught:
        written.restore({"params": other})
    assert "up/kernel: stored (8, 8), the model has (8, 4)" in str(caught.value)
    assert "head/kernel: stored nothing, the model has (4,)" in str(caught.value)
    assert "up/bias: stored (8,), the model has nothing" in str(caught.value)


def test_another_optimiser_is_refused(written):
    state = shapes_of(make_state())
    opt = shapes_of(optax.sgd(0.1, momentum=0.9).init(make_state().params))
    with pytest.raises(CheckpointError, match="its 'rest' does not fit this experiment"):
        written.restore(items_of(state.replace(opt=opt)))


def test_a_save_that_fails_keeps_the_last_good_one(written, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("jaxemb.run.checkpoint.seal", full)  # the background part
        written.save(4, items_of(make_state()), {})
        with pytest.raises(CheckpointError, match="No space left on device; checkpoint 3 is complete"):
            written.wait()
        assert written.sealed() == [1, 2, 3]  # nothing makes room before the new step is complete
    written._manager.save = full  # the part that the loop waits for
    with pytest.raises(CheckpointError, match="could not save checkpoint 5 .*No space left on device; checkpoint 3 is complete"):
        written.save(5, items_of(make_state()), {})
    assert written.newest() == 3


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="could not save checkpoint 1 .*there is no earlier checkpoint"):
        Checkpoints(tmp_path / "file").save(1, items_of(make_state()), {})


def test_manifest_lists_every_file(tmp_path):
    (tmp_path / "1" / "sub").mkdir(parents=True)
    (tmp_path / "1" / "sub" / "x").write_bytes(b"abc")
    seal(tmp_path, 1)
    entries = json.loads(manifest_path(tmp_path, 1).read_text())
    assert entries == {"sub/x": [3, "cf4ab791c62b8d2b2109c90275287816"]}  # b2sum -l 128
    assert fault(tmp_path, 1) is None and not list(tmp_path.glob("*.tmp"))


# ---- who reads what --------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_read_for_its_checksums_once(written, monkeypatch):
    """Not by `newest`, and again by the restore that follows it."""
    looked = []
    monkeypatch.setattr("jaxemb.run.manifest.digest", lambda file, real=digest: looked.append(str(file)) or real(file))
    fresh = Checkpoints(written.folder)
    step = fresh.newest()
    fresh.restore({"ema": shapes_of(make_state()).ema}, step)
    fresh.pick()
    assert looked and len(looked) == len(set(looked))


def test_each_host_reads_its_own_share(written, monkeypatch):
    """Together all files, none twice, of nearly the same size; a fault that one of them finds is known to all."""
    looked = []
    monkeypatch.setattr("jaxemb.run.manifest.digest", lambda file, real=digest: looked[-1].append(file) or real(file))
    for host in range(3):
        looked.append([])
        assert fault(written.folder, 3, (host, 3)) is None
    everything = [str(f) for part in looked for f in part]
    manifest = json.loads(manifest_path(written.folder, 3).read_text())
    assert len(everything) == len(set(everything)) == len(manifest) and all(looked)
    flip(largest(written.folder / "3" / "params"))
    assert [fault(written.folder, 3, (host, 3)) is None for host in range(3)].count(False) == 1


def test_work_is_shared_by_size():
    entries = {"a": [100, ""], "b": [60, ""], "c": [50, ""], "d": [1, ""]}
    assert [set(share(entries, i, 2)) for i in (0, 1)] == [{"a", "d"}, {"b", "c"}]
