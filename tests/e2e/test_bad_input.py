"""What goes wrong is said clearly, and what was good is kept."""

import errno
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError, override
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.objectives.classify import Classify
from jaxemb.run.checkpoint import CheckpointError
from jaxemb.run.folder import RunError
from jaxemb.train import loop
from jaxemb.train.failures import TrainError
from jaxemb.train.init import FromRun
from jaxemb.train.loop import train


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """Ten steps, saved at 5 and 10."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(tiny("steps=10", "evals={}"), run)
    return run


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_batch_that_the_devices_cannot_share(tiny, tmp_path):
    with pytest.raises(ConfigError, match="batch=20 cannot be divided by 8 = data 8 x fsdp 1 x accumulate 1.*: 16 and 24"):
        train(tiny("batch=20", 'mesh={"data": -1}'), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_mesh_that_does_not_fit(tiny, tmp_path):
    with pytest.raises(ConfigError, match="asks for 16 devices, there are 8"):
        train(tiny('mesh={"data": 16}'), tmp_path / "run")


def test_an_image_that_the_patches_do_not_divide(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"Patches\(size=3\) does not divide an image of 8 x 8"):
        train(tiny("objective.encoder.stem.size=3"), tmp_path / "run")


def test_a_run_folder_of_another_config(tiny, copy):
    before = (copy / "config.json").read_bytes()
    with pytest.raises(RunError) as caught:
        train(tiny("optim.lr=0.5", "seed=3", "steps=12"), copy)
    assert "optim.lr: 0.001 there, 0.5 here" in str(caught.value) and "seed: 0 there, 3 here" in str(caught.value)
    assert "  steps:" not in str(caught.value) and "name another folder with --run" in str(caught.value).lower()
    assert (copy / "config.json").read_bytes() == before


def test_a_class_that_could_not_be_read_back(tiny, tmp_path):
    class Mine(FixedBlocks):
        pass

    experiment = tiny()
    objective = experiment.objective.clone(masks=Mine())
    with pytest.raises(ConfigError, match="config.objective.masks: .*Mine could not be read back"):
        train(type(experiment)(**{**vars(experiment), "objective": objective}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_cannot_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="run folder .*file/run cannot be written"):
        train(tiny(), tmp_path / "file" / "run")


def test_a_folder_for_checkpoints_that_cannot_be_written(tiny, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match="could not save checkpoint 5 .*there is no earlier checkpoint"):
        train(tiny("evals={}"), run)


def test_a_disk_that_is_full_in_the_middle(tiny, copy, monkeypatch, read_state):
    """The figures, then a checkpoint: each is named, and checkpoint 10 stays whole."""
    longer = tiny("steps=20", "evals={}")
    with monkeypatch.context() as patch:
        patch.setattr("jaxemb.log.writer.Writer.write", no_space)
        with pytest.raises(
            TrainError, match="cannot write .*metrics.jsonl: No space left on device; the checkpoints so far are kept"
        ):
            train(longer, copy)
    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.CheckpointManager.save", no_space)
        with pytest.raises(
            CheckpointError, match="could not save checkpoint 15 .*No space left on device.*checkpoint 10 is complete"
        ):
            train(longer, copy)
    assert read_state(longer, copy).step == 10
    train(longer, copy)
    assert read_state(longer, copy).step == 20


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")


def test_a_file_that_grows_beyond_what_the_disk_takes(tiny, tmp_path, launch):
    """No stand-in: the kernel refuses the bytes of the checkpoint."""
    process = launch(tiny("evals={}", "log_every=20"), tmp_path / "run", "small-disk")
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 1 and "could not save" in said and "there is no earlier checkpoint" in said, said[-3000:]


@pytest.mark.parametrize("bad", ["loss", "grad_norm"])
def test_a_loss_that_is_not_finite(tiny, copy, monkeypatch, read_state, bad):
    class Poisoned(loop.Steps):
        def at(self, i, written):
            step = super().at(i, written)

            def broken(state, batch):
                after, metrics = step(state, batch)
                return after, {**metrics, bad: jax.device_put(np.float32("nan"))}

            return broken if i == 13 else step

    monkeypatch.setattr(loop, "Steps", Poisoned)
    longer = tiny("steps=20", "evals={}")
    with pytest.raises(TrainError) as caught:
        train(longer, copy)
    message = str(caught.value)
    assert "step 13" in message and f"{bad} nan" in message and "batch 12" in message and "last checkpoint is kept" in message
    assert "optim.lr (now 0.001)" in message
    assert read_state(longer, copy).step == 10


def test_out_of_memory_says_what_to_lower(tiny, tmp_path, monkeypatch):
    def full(*args):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.")

    monkeypatch.setattr("jaxemb.train.loop.Steps", full)
    with pytest.raises(TrainError) as caught:
        train(tiny("accumulate=2", "evals={}"), tmp_path / "run")
    for words in (
        "allocating 17179869184 bytes",
        "accumulate (now 2: 8 examples at a time)",
        "lower batch (now 16)",
        "objective.encoder.remat = None",
        "objective.encoder.dtype = 'float32'",
    ):
        assert words in str(caught.value)


def test_data_whose_shape_changes(tiny, tmp_path, monkeypatch):
    made = FixedBlocks.__call__

    def growing(self, grid, draws):
        out = made(self, grid, draws)
        return out if len(out["context"]) == 1 else {**out, "context": out["context"][..., :-1]}

    monkeypatch.setattr(FixedBlocks, "__call__", growing)
    with pytest.raises(ValueError, match="batch 0: 'context' is .*shapes must be the same at every step"):
        train(tiny("evals={}"), tmp_path / "run")


# ---- init ------------------------------------------------------------------------------------------------------------------------


def classify(experiment, encoder, source, ema):
    fields = {**vars(experiment), "objective": Classify(encoder=encoder), "init": FromRun(str(source)), "ema": ema}
    return type(experiment)(**fields)


@pytest.mark.parametrize("ema", [None, (0.5, 0.5)])
def test_a_run_that_starts_from_another(tiny, finished, tmp_path, read_state, assert_same, ema, capsys):
    """Learning rate 0, so that what comes out is what went in; the head is new, the predictor is left behind."""
    source = tiny("steps=10", "evals={}")
    frozen = override(source, ["optim.lr=0.0", "steps=1"])
    train(classify(frozen, source.objective.encoder, finished, ema), tmp_path / "tuned")
    there, here = (
        read_state(source, finished),
        read_state(classify(frozen, source.objective.encoder, finished, ema), tmp_path / "tuned"),
    )
    said = capsys.readouterr().out
    assert f"from {finished} at step 10" in said and "as initialised: head/bias, head/kernel" in said
    assert set(here.params) == {"encoder", "head"}
    assert_same(here.params["encoder"], there.ema["encoder"] if ema is None else there.params["encoder"])
    if ema:
        assert_same(
            here.ema["encoder"],
            jax.tree.map(lambda a, b: 0.5 * a + 0.5 * b, there.ema["encoder"], there.params["encoder"]),
            rtol=1e-6,
        )


def test_a_start_from_another_architecture(tiny, finished, tmp_path):
    wider = tiny("objective.encoder.width=32", f"init=jaxemb.train.init:FromRun(path='{finished}')")
    with pytest.raises(ConfigError, match=r"arrays of another shape:\n    encoder/block_0/.*: \(.*\) there, \(.*\) here"):
        train(wider, tmp_path / "run")


def test_a_start_from_nowhere(tiny, tmp_path):
    with pytest.raises((RunError, CheckpointError), match="nowhere"):
        train(tiny("init=jaxemb.train.init:FromRun(path='runs/nowhere')"), tmp_path / "run")


def test_a_checkpoint_of_another_architecture(tiny, copy):
    """Files of another run under this config, as after a mistaken copy."""
    wider = tiny("steps=20", "evals={}", "objective.encoder.width=32")
    shutil.rmtree(copy / "checkpoints" / "5")
    (copy / "config.json").unlink()
    with pytest.raises(CheckpointError, match="another architecture, .* of its params differ:\n  encoder/block_0/"):
        train(wider, copy)
