"""A run is loaded and judged from its path alone: in another process, on other devices, from any of its checkpoints."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import jaxemb
from jaxemb.config import ConfigError
from jaxemb.io.weights import mesh_here
from jaxemb.run.checkpoint import CheckpointError
from jaxemb.run.folder import Run, RunError
from jaxemb.train.encode import Encoder
from jaxemb.train.loop import train
from jaxemb.train.sharding import make_mesh


def reconfigure(run, **changes):
    """Writes other values into a run's config.json, as if it had been trained so."""
    file = run / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return run


def jaxemb_in_a_process(*arguments):
    """What it printed; it must have gone well."""
    done = subprocess.run([sys.executable, "-m", "jaxemb", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- which weights ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["ema", "params"])
def test_embeddings_are_those_of_the_stored_state_on_the_rows_that_evaluations_see(run, experiment, images, read_state, weights):
    """The model computed without `load`: the whole state, `data.arrays` and the encoder of the training loop."""
    rows = {"images": experiment.data.split("test")[:]["images"][:10]}
    mesh = make_mesh({"data": 1})
    wanted = Encoder(experiment.objective, mesh, 32).bind(read_state(experiment, run, 10).variables(weights)).encode(rows)
    np.testing.assert_array_equal(jaxemb.load(run, weights=weights).encode(images), wanted)


def test_averaged_and_trained_parameters_differ(run, images, z):
    assert np.abs(jaxemb.load(run, weights="params").encode(images) - z).max() > 1e-4


def test_without_an_average_the_trained_parameters_are_taken(copy, run, images):
    config = json.loads((copy / "config.json").read_text())
    reconfigure(copy, ema=None, objective=config["objective"] | {"sigreg": 0.02})  # which needs no average
    model = jaxemb.load(copy)
    np.testing.assert_array_equal(model.encode(images), jaxemb.load(run, weights="params").encode(images))


def test_the_newest_checkpoint_or_the_one_that_is_named(run, model, images, z):
    for older in (jaxemb.load(f"{run}@5"), jaxemb.load(run, step=5), jaxemb.load(f"{run}@10", step=5)):
        assert np.abs(older.encode(images) - z).max() > 1e-4
    np.testing.assert_array_equal(jaxemb.load(f"{run}@10").encode(images), z)


def test_a_run_trained_on_eight_devices_is_loaded_on_one(on_eight, images, tmp_path, monkeypatch):
    here = jaxemb.load(on_eight)
    assert here.mesh.shape == {"data": 2, "fsdp": 2, "model": 2}
    np.save(tmp_path / "images.npy", images)
    said = jaxemb_in_a_process("encode", on_eight, tmp_path / "images.npy", tmp_path / "out.npy", "--devices", 1)
    assert "10 embeddings of 16 numbers" in said
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), here.encode(images), atol=2e-5)

    two = jax.devices()[:2]
    monkeypatch.setattr(jax, "devices", lambda: two)
    assert mesh_here(Run(on_eight).experiment()).shape == {"data": 2, "fsdp": 1, "model": 1}


# ---- runs that cannot be loaded --------------------------------------------------------------------------------------------------


def test_unknown_weights(run):
    with pytest.raises(ConfigError, match="weights='best'; valid: ema, params"):
        jaxemb.load(run, weights="best")


def test_no_run_folder(tmp_path):
    with pytest.raises(RunError, match="nowhere does not exist"):
        jaxemb.load(tmp_path / "nowhere")
    with pytest.raises(RunError, match="has no config.json, so it is no run folder"):
        jaxemb.evaluate(tmp_path)


def test_no_such_checkpoint(run):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint 7 in .*; there are \[5, 10\]"):
        jaxemb.load(f"{run}@7")


def test_a_run_that_has_saved_nothing(copy):
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(CheckpointError, match="there is no complete checkpoint in .*copy/checkpoints"):
        jaxemb.load(copy)


def test_a_config_of_another_architecture(copy):
    doc = json.loads((copy / "config.json").read_text())
    doc["objective"]["encoder"]["width"] = 32
    with pytest.raises(CheckpointError, match="checkpoint 10 .* is of another architecture"):
        jaxemb.load(reconfigure(copy, objective=doc["objective"]))


def damage(run, step):
    """Turns a bit of the largest array around."""
    array = max((f for f in (run / "checkpoints" / str(step) / "ema").rglob("d/*")), key=lambda f: f.stat().st_size)
    data = bytearray(array.read_bytes())
    data[len(data) // 2] ^= 4
    array.write_bytes(data)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_this_is_said(copy, run, images):
    damage(copy, 10)
    said = []
    model = jaxemb.load(copy, say=said.append)
    assert "checkpoint 10 is passed over: the bytes of ema/" in said[0]
    assert said[1] == "going back to checkpoint 5, the newest intact one"
    np.testing.assert_array_equal(model.encode(images), jaxemb.load(f"{run}@5").encode(images))
    with pytest.raises(CheckpointError, match=r"checkpoint 10 in .* cannot be used: the bytes of ema/"):
        jaxemb.load(f"{copy}@10")
    assert (copy / "checkpoints" / "10").is_dir()  # reading changes nothing


# ---- evaluate --------------------------------------------------------------------------------------------------------------------


def test_evaluation_in_a_new_process_gives_exactly_the_figures_of_training(copy, read_rows):
    said = jaxemb_in_a_process("eval", copy)
    (trained,) = [row for row in read_rows(copy) if row["step"] == 10 and "knn/top1" in row]
    found = {}
    for name in ("knn", "rankme"):
        record = json.loads((copy / "evals" / f"{name}@10.json").read_text())
        assert (record["step"], record["weights"], record["seed"], record["run"]) == (10, "ema", 0, str(copy))
        assert "eval" in record["command"] and record["versions"]["jax"] == jax.__version__
        found |= {f"{name}/{figure}": value for figure, value in record["figures"].items()}
    assert found == {name: value for name, value in trained.items() if name != "step"}
    assert "knn" in said and "top1" in said and f"{found['knn/top1']:.4g}" in said


def test_some_evaluations_of_another_step_with_other_weights(copy, run):
    figures = jaxemb.evaluate(f"{copy}@5", evals=["rankme"], weights="params")
    record = json.loads((copy / "evals" / "rankme@5-params.json").read_text())
    assert set(figures) == {"rankme"} and record["figures"] == figures["rankme"]
    assert (record["step"], record["weights"]) == (5, "params") and record["evaluation"]["samples"] == 100
    assert not (copy / "evals" / "knn@5.json").exists()
    assert jaxemb.evaluate(f"{copy}@5", evals=["rankme"]) != figures


def test_evaluations_that_do_not_exist(copy):
    with pytest.raises(ConfigError, match=r"copy has no evaluation 'kn'; did you mean 'knn'\? valid: knn, rankme"):
        jaxemb.evaluate(copy, evals=["rankme", "kn"])
    assert not (copy / "evals").exists()  # nothing was computed before the name was found to be wrong
    with pytest.raises(ConfigError, match="its experiment has no evaluations"):
        jaxemb.evaluate(reconfigure(copy, evals={}))


def test_evaluations_that_need_classes_are_left_out_where_there_are_none(tiny, tmp_path):
    """A folder of photos without folders of classes, in training and afterwards."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (9, 8), np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    rankme = "evals.rankme=jaxemb.evals.rankme:RankMe(samples=100, every=10)"
    photos = f"data=jaxemb.data.folder:ImageFolder(path='{tmp_path}/photos', size=8, channels=1)"
    figures = train(tiny("steps=10", "save_every=10", rankme, photos), tmp_path / "run")
    assert "rankme/rankme" in figures and not any(name.startswith("knn") for name in figures)
    message = "knn is left out: the data have no classes under 'labels'; put images into one folder a class"
    assert (tmp_path / "run" / "log.txt").read_text().count(message) == 1  # at steps 0 and 10

    said = []
    found = jaxemb.evaluate(tmp_path / "run", say=said.append)
    assert found == {"rankme": {n: figures[f"rankme/{n}"] for n in ("rankme", "width", "std")}}
    assert [message in line for line in said] == [True]
    assert {f.name for f in (tmp_path / "run" / "evals").iterdir()} == {"rankme@10.json"}
    assert jaxemb.evaluate(tmp_path / "run", evals=["knn"], say=said.append) == {}


def test_a_run_of_somebody_else_is_judged_without_writing(copy, capsys):
    (copy / "evals").write_text("in the way")
    said = []
    figures = jaxemb.evaluate(copy, evals=["rankme"], say=said.append)
    assert figures["rankme"]["width"] == 16
    assert len(said) == 1 and "copy/evals/rankme@10.json cannot be written: File exists" in said[0]
