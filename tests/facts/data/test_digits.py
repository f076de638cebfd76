"""Digits are scikit-learn's, in file order."""

import numpy as np
from sklearn.datasets import load_digits

from jaxemb.data.digits import Digits


def test_images_and_labels():
    raw = load_digits()
    data = Digits()
    train, test = data.arrays("train"), data.arrays("test")
    images = np.concatenate([train["images"], test["images"]])[..., 0] * data.statistics[1][0] + data.statistics[0][0]
    np.testing.assert_allclose(images, raw.images / 16, atol=0.003)  # half of one of 255 levels
    assert np.array_equal(np.concatenate([train["labels"], test["labels"]]), raw.target)
    assert (len(train["labels"]), len(test["labels"])) == (1437, 360)
    assert abs(train["images"].mean()) < 0.01 and abs(train["images"].std() - 1) < 0.01
    assert data.label_names()[7] == "7"


def test_other_sizes_and_channels():
    assert Digits(size=16, channels=3).arrays("test", limit=2)["images"].shape == (2, 16, 16, 3)
