"""What a run has learnt is drawn from its path alone: feature maps, nearest neighbours."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath
from PIL import Image

import jaxemb
from jaxemb.config import to_json
from jaxemb.data.base import DataError
from jaxemb.data.folder import ImageFolder
from jaxemb.evals.knn import KNN
from jaxemb.io.features import _untrained, draw_features, draw_neighbours
from jaxemb.train.encode import Encoder
from jaxemb.train.judge import Judge


def reconfigure(run, **changes):
    """Writes other values into a run's config.json, as if it had been trained so."""
    file = run / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return run


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
