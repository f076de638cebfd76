import numpy as np
import pytest
from fakes import Fake

from jaxemb.config import ConfigError
from jaxemb.data.digits import Digits
from jaxemb.data.textures import Textures
from jaxemb.evals.dense import DensePatches, patch_labels
from jaxemb.types import Features

DATA = Textures(size=16, count_train=40, count_test=30)


def patches(make):
    """Patch features made from the labels of the patch, or from nothing."""
    return Fake(features=lambda arrays: Features(make(arrays), np.ones((len(arrays["images"]), 16), bool)))


def test_features_that_are_the_label_are_perfect():
    figures = DensePatches(train=40, test=30, k=3).run(patches(lambda x: np.eye(8)[patch_labels(x["regions"], 4)[0]]), DATA)
    assert figures["top1"] == figures["pure_top1"] == figures["knn_top1"] == 1
    assert figures["purity"] > figures["purity_around"]  # the most similar have the same label where there are any


def test_features_are_standardised_one_by_one():
    """Neither an offset that all patches share nor a loud feature that says nothing drowns those that tell the label."""

    def features(arrays):
        labels = patch_labels(arrays["regions"], 4)[0]
        noise = np.random.default_rng(0).standard_normal((*labels.shape, 1))
        return np.concatenate([100 + np.eye(8)[labels], 1e4 * noise], axis=-1)

    figures = DensePatches(train=40, test=30, k=3).run(patches(features), DATA)
    assert figures["top1"] == 1 and figures["knn_top1"] > 0.95


def test_features_without_information():
    rng = np.random.default_rng(0)
    figures = DensePatches(train=40, test=30, k=3).run(patches(lambda x: rng.standard_normal((len(x["images"]), 16, 4))), DATA)
    assert figures["top1"] < 0.35
    assert abs(figures["purity"] - figures["purity_around"]) < 0.1


def test_the_label_of_a_patch_is_that_of_most_pixels():
    maps = np.zeros((1, 4, 4), np.int32)
    maps[0, :, 2:] = 1
    maps[0, 0, 0] = 1
    labels, pure = patch_labels(maps, 2)
    assert labels.tolist() == [[0, 1, 0, 1]] and pure.tolist() == [[False, True, True, True]]
    with pytest.raises(ConfigError, match="labels of 4 x 4 pixels are not whole patches on a grid of 3 x 3"):
        patch_labels(maps, 3)


def test_data_without_maps():
    with pytest.raises(ConfigError, match="label='regions' must be an array n H W"):
        DensePatches().run(patches(lambda x: x), Digits())
