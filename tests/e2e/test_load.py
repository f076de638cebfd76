"""A run is judged, embeds and is drawn from its path alone: in another process, on other devices, from any of its checkpoints."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

import jaxemb
from jaxemb.config import ConfigError, to_json
from jaxemb.data.base import DataError
from jaxemb.data.folder import ImageFolder
from jaxemb.evals.knn import KNN
from jaxemb.io.embedder import Embedder
from jaxemb.io.features import _untrained, draw_features, draw_neighbours
from jaxemb.io.weights import mesh_here
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block, stack_blocks
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.run.checkpoint import CheckpointError
from jaxemb.run.folder import RunError
from jaxemb.train.encode import Encoder
from jaxemb.train.judge import Judge
from jaxemb.train.loop import train
from jaxemb.train.sharding import make_mesh

RANKME = "evals.rankme=jaxemb.evals.rankme:RankMe(samples=100, every=10)"
EIGHT = (
    'mesh={"data": 2, "fsdp": 2, "model": 2}',
    'sharding=[[".*", "tensor"]]',
)


@pytest.fixture(scope="module")
def experiment(tiny):
    return tiny("steps=10", RANKME)


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory):
    """Ten steps, saved at 5 and 10. Not to be changed: `copy` is."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(experiment, folder)
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "copy"))


@pytest.fixture(scope="module")
def model(run):
    return jaxemb.load(run)


@pytest.fixture(scope="module")
def images(experiment):
    """Ten digits as they come, uint8 n 8 8 1."""
    return experiment.data.examples("test").columns["images"][:10]


@pytest.fixture(scope="module")
def z(model, images):
    return model.encode(images)


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


def test_attention_of_every_layer_also_where_layers_are_scanned(model, images):
    arrays = model.preprocess(images)
    (layer,) = model.attention(arrays)
    assert layer.shape == (10, 16, 2, 16)
    np.testing.assert_allclose(layer.sum(-1), 1, rtol=1e-5)
    two = (Block(Attention(2)), Block(Attention(2, window=0)))
    encoder = Transformer(stem=Patches(2), width=16, depth=4, blocks=two)
    plain = Classify(encoder=encoder)
    variables = jax.jit(plain.init)(jax.random.key(0), {**arrays, "labels": np.zeros(10, np.int32)})
    params = dict(variables["params"])
    params["encoder"] = stack_blocks(params["encoder"], 2)
    scanned = Embedder(Classify(encoder=encoder.clone(scan=True)), {"params": params}, model.preprocess, mesh=model.mesh)
    one, other = Embedder(plain, variables, model.preprocess, mesh=model.mesh).attention(arrays), scanned.attention(arrays)
    assert len(one) == len(other) == 4
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert [bool((np.diagonal(x, axis1=1, axis2=3) > 0.999).all()) for x in other] == [False, True] * 2


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


def test_a_run_trained_on_eight_devices_is_loaded_on_one(tiny, images, tmp_path, monkeypatch):
    experiment = tiny("steps=4", "save_every=4", "evals={}", *EIGHT)
    train(experiment, tmp_path / "eight")
    here = jaxemb.load(tmp_path / "eight")
    assert here.mesh.shape == {"data": 2, "fsdp": 2, "model": 2}
    np.save(tmp_path / "images.npy", images)
    said = jaxemb_in_a_process("encode", tmp_path / "eight", tmp_path / "images.npy", tmp_path / "out.npy", "--devices", 1)
    assert "10 embeddings of 16 numbers" in said
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), here.encode(images), atol=2e-5)

    two = jax.devices()[:2]
    monkeypatch.setattr(jax, "devices", lambda: two)
    assert mesh_here(experiment).shape == {"data": 2, "fsdp": 1, "model": 1}


# ---- inputs ----------------------------------------------------------------------------------------------------------------------


def test_an_image_in_any_form_gives_the_same_embedding(model, images, z, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(10)]
    pillow = [Image.fromarray(x[..., 0]) for x in images]
    for image, file in zip(pillow, files, strict=True):
        image.save(file)
    forms = [list(images), list(images[..., 0]), images / 255, tuple(pillow), files, [*map(str, files)], [*files[:5], *images[5:]]]
    for form in forms:
        np.testing.assert_array_equal(model.encode(form), z)
    assert z.dtype == np.float32 and z.shape == (10, 16)


def test_a_single_file_gives_a_single_vector(model, images, z, tmp_path):
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "a.png")
    for name in (tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(model.encode(name), z[0])
    half = model.encode(tmp_path / "a.png", truncate_dim=4, normalize_embeddings=True)
    assert half.shape == (4,) and np.linalg.norm(half) == pytest.approx(1)


def test_nothing_gives_no_rows_of_the_right_width(model, images):
    for nothing in ([], images[:0]):
        assert model.encode(nothing).shape == (0, 16)
    assert model.encode([], truncate_dim=3, normalize_embeddings=True).shape == (0, 3)


def test_other_sizes_and_colours_are_brought_to_those_of_the_data(model, images, z):
    large = np.repeat(np.repeat(images, 2, 1), 2, 2)  # shrinking by whole factors takes the mean of equal pixels
    np.testing.assert_array_equal(model.encode(large), z)
    assert np.abs(model.encode(np.repeat(images, 3, -1)) - z).max() < 0.05  # luminance may round a grey level down


@pytest.mark.parametrize("size", [1, 3, 10, 64])
def test_the_size_of_the_pieces_changes_nothing(model, images, z, size):
    np.testing.assert_allclose(model.encode(list(images), batch_size=size), z, atol=1e-5)


def test_length_one_and_the_first_entries(model, images, z):
    unit = model.encode(images, normalize_embeddings=True)
    np.testing.assert_allclose(unit, z / np.linalg.norm(z, axis=1)[:, None], rtol=1e-6)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(model.encode(images, truncate_dim=5), z[:, :5])
    short = model.encode(images, truncate_dim=5, normalize_embeddings=True)  # cut first: what is left has length 1
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, rtol=1e-6)


def test_a_progress_bar_changes_nothing(model, images, z, capsys):
    np.testing.assert_array_equal(model.encode(images, show_progress_bar=True), z)
    assert "encoding" in capsys.readouterr().out


def test_similarities_are_cosines(model):
    a, b = np.float32([[1, 0], [3, 4], [0, 0]]), np.float32([[0, 2], [5, 0]])
    np.testing.assert_allclose(model.similarity(a, b), [[0, 1], [0.8, 0.6], [0, 0]], atol=1e-7)


def test_features_are_those_of_the_tokens(model, experiment):
    arrays = {"images": experiment.data.split("test").sample(3)[:]["images"]}
    features = model.features(arrays)
    assert features.tokens.shape == (3, 16, 16)  # 4 x 4 patches, width 16
    pooled = model.encode([experiment.data.examples("test").columns["images"][0]])
    assert pooled.shape == (1, 16)  # of one model, for both


@pytest.mark.parametrize(
    "inputs, message",
    [
        (np.zeros((8, 8, 1), np.uint8), r"has the shape \(n, H, W, c\), not \(8, 8, 1\); write \[image\]"),
        (3, r"encode takes a list of inputs .* not a int; write \[input\]"),
        ({"images": []}, "not a dict"),
        (Image.new("L", (8, 8)), r"not a Image; write \[input\] for a single one"),
    ],
)
def test_inputs_of_another_kind(model, inputs, message):
    with pytest.raises(ConfigError, match=message):
        model.encode(inputs)


@pytest.mark.parametrize(
    "item, message",
    [
        ("nowhere.png", "there is no image file nowhere.png"),
        (np.zeros((2, 8, 8, 1), np.uint8), "an image has the shape .* not .2, 8, 8, 1.; for a batch pass a list of images"),
        (np.full((8, 8), 255.0), r"a float image has values in \[0, 1\], not 255 to 255: divide by 255"),
        (np.zeros((8, 8, 2), np.uint8), "has 2 channels, but the data set is read with channels=1"),
    ],
)
def test_an_image_that_cannot_be_read(model, images, item, message):
    with pytest.raises(DataError, match=message):
        model.encode([images[0], item])


@pytest.mark.parametrize("count", [0, 17, -1])
def test_a_width_that_the_embeddings_do_not_have(model, images, count):
    with pytest.raises(ConfigError, match=f"truncate_dim must lie in 1 to 16, the width of the embeddings, not {count}"):
        model.encode(images, truncate_dim=count)


def test_pieces_of_no_images(model, images):
    with pytest.raises(ConfigError, match="batch_size must be at least 1, not 0"):
        model.encode(images, batch_size=0)


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
    photos = f"data=jaxemb.data.folder:ImageFolder(path='{tmp_path}/photos', size=8, channels=1)"
    figures = train(tiny("steps=10", "save_every=10", RANKME, photos), tmp_path / "run")
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


# ---- feature maps ----------------------------------------------------------------------------------------------------------------


def test_a_feature_map_has_the_images_the_untrained_encoder_and_each_run(run, experiment, tmp_path, monkeypatch):
    """Two steps of one run are two rows."""
    drawn = {}
    monkeypatch.setattr(
        "jaxemb.io.features.feature_map", lambda images, maps, out: drawn.update(images=images, maps=maps) or epath.Path(out)
    )
    draw_features([str(run), f"{run}@5"], tmp_path / "map.png", count=3)
    assert list(drawn["maps"]) == ["untrained", "run", f"{run}@5"]
    untrained, ten, five = drawn["maps"].values()
    assert untrained.shape == (3, 4, 4, 16)
    assert np.abs(untrained - five).max() > 1e-3 and np.abs(ten - five).max() > 1e-4
    tokens = jaxemb.load(run).features({"images": experiment.data.split("test").sample(250, seed=0)[:]["images"]}).tokens
    shown = jaxemb.load(run).features({"images": experiment.data.split("test").sample(3, seed=0)[:]["images"]}).tokens
    assert np.allclose(ten.reshape(3, 16, 16), shown - tokens.mean(0), atol=1e-5)  # less what a place is on average
    assert drawn["images"].shape == (3, 8, 8, 1) and -1e-6 < drawn["images"].min() and drawn["images"].max() < 1 + 1e-6


def test_the_untrained_encoder_is_the_one_that_the_run_started_from(model, experiment, run, read_rows):
    """It has the figures of step 0, to the last digit."""
    figures = Judge(experiment, model.mesh)(_untrained(model, experiment).variables)
    assert [row for row in read_rows(run) if row["step"] == 0] == [{"step": 0} | figures]


def test_a_feature_map_is_a_picture(run, tmp_path):
    out = draw_features([str(run)], tmp_path / "maps" / "features.png", count=4)
    with Image.open(out) as image:
        assert image.size == (round(4 * 1.5 * 160), int(3 * 1.62 * 160))  # four images; pixels, untrained, trained
        assert len(image.convert("RGB").getcolors(1 << 20)) > 100


def test_runs_of_images_of_another_size_are_not_drawn_together(run, copy, experiment, tmp_path):
    reconfigure(copy, data=to_json(experiment.data) | {"size": 16})
    dataclasses.replace(experiment.data, size=16).preprocess.save(copy / "assets")
    with pytest.raises(DataError, match=r"copy sees images of \(16, 16, 1\), .*run others; draw one at a time"):
        draw_features([str(run), str(copy)], tmp_path / "map.png")


def test_a_feature_map_of_no_images(run, tmp_path):
    with pytest.raises(DataError, match="limit=0: at least 1"):
        draw_features([str(run)], tmp_path / "map.png", count=0)


def test_nearest_neighbours_before_and_after(run, experiment, tmp_path, monkeypatch):
    """The nearest first, of the training images; a neighbour is counted by the labels of the k-NN evaluation."""
    drawn = {}
    monkeypatch.setattr(
        "jaxemb.io.features.neighbour_map",
        lambda queries, found, shared, labels, out, note: (
            drawn.update(queries=queries, found=found, shared=shared, labels=labels, note=note) or epath.Path(out)
        ),
    )
    draw_neighbours([str(run)], tmp_path / "near.png", count=3, near=2)
    before, after = drawn["found"]
    assert before.startswith("untrained: ") and after.startswith("run, trained: ") and after.endswith(" of 1 labels shared")
    assert drawn["labels"] == 1 and drawn["queries"].shape == (3, 8, 8, 1) and drawn["found"][after].shape == (3, 2, 8, 8, 1)
    model, knn = jaxemb.load(run), next(e for e in experiment.evals.values() if isinstance(e, KNN))
    queries, bank = (experiment.data.split(s).sample(n, seed=0)[:] for s, n in (("test", knn.test), ("train", knn.train)))
    reader = Encoder(model.model, model.mesh).bind(model.variables)
    cosines = model.similarity(reader.encode(queries)[:3], reader.encode(bank))
    best = np.argsort(-cosines, axis=1)[:, :2]
    assert np.array_equal(drawn["shared"][after][:3], bank["labels"][best] == queries["labels"][:3, None])
    chance = (bank["labels"][:, None] == queries["labels"]).mean()
    assert drawn["note"].startswith("frame: how many of labels a") and drawn["note"].endswith(f"any two images share {chance:.2f}")


def test_a_folder_of_photos_that_has_moved(copy, tmp_path):
    """The weights need no data; what shows or judges them does."""
    reconfigure(copy, data=to_json(ImageFolder(str(tmp_path / "gone"), size=8, channels=1)))
    assert jaxemb.load(copy).encode([np.zeros((8, 8), np.uint8)]).shape == (1, 16)
    with pytest.raises(DataError, match="there is no folder '.*gone'"):
        jaxemb.evaluate(copy)
