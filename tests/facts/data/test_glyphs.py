import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.glyphs import Glyphs, render, signs

SMALL = {"classes": 12, "train_each": 6, "test_each": 3}


def test_every_class_has_its_images_in_mixed_order():
    data = Glyphs(**SMALL)
    train, test = data.split("train")[:], data.split("test")[:]
    assert train["images"].shape == (72, 16, 16, 1) and len(test["images"]) == 36
    assert np.bincount(train["labels"]).tolist() == [6] * 12 and (np.diff(train["labels"]) < 0).any()
    assert abs(train["images"].mean()) < 0.2 and 0.8 < train["images"].std() < 1.25
    assert not {x.tobytes() for x in train["images"]} & {x.tobytes() for x in test["images"]}


def test_images_of_a_class_are_nearer_to_each_other_than_to_others():
    data = Glyphs(classes=20, train_each=40, test_each=1)
    x = data.split("train")[:]
    means = np.stack([x["images"][x["labels"] == c].mean(0).ravel() for c in range(20)])
    away = ((x["images"].reshape(len(x["labels"]), 1, -1) - means) ** 2).sum(-1)
    assert (away.argmin(1) == x["labels"]).mean() > 0.8


def test_strokes_move_and_stay_on_the_lattice():
    chains = signs(50, 4, np.random.default_rng(0))
    assert chains.shape == (50, 5, 2) and np.abs(chains).max() == 1
    assert (np.abs(np.diff(chains, axis=1)).max(-1) > 0).all()


def test_ink_lies_on_the_stroke():
    chain = np.array([[[-1, -1], [-1, 1]]], np.float32)  # along the upper edge
    ink = render(chain, 32, 0.0, np.random.default_rng(0))[0, :, :, 0]
    assert ink[:16].max() == 255 and ink[20:].max() == 0


def test_a_seed_is_a_set_of_signs():
    a, b, c = (Glyphs(**SMALL, data_seed=s).split("test")[:]["images"] for s in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize("fields", [{"classes": 0}, {"strokes": 0}, {"test_each": 0}, {"size": 4}, {"noise": -1.0}])
def test_bad_fields(fields):
    with pytest.raises(ConfigError):
        Glyphs(**fields)
