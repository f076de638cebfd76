"""Digits are scikit-learn's, in file order."""

import numpy as np

from jaxemb.data.digits import Digits


def test_images_and_labels():
    from sklearn.datasets import load_digits  # takes seconds, in every process

    raw = load_digits()
    data = Digits()
    train, valid, test = (data.split(name)[:] for name in ("train", "valid", "test"))
    images = (
        np.concatenate([train["images"], valid["images"], test["images"]])[..., 0] * data.statistics[1][0] + data.statistics[0][0]
    )
    np.testing.assert_allclose(images, raw.images / 16, atol=0.003)  # half of one of 255 levels
    assert np.array_equal(np.concatenate([train["labels"], valid["labels"], test["labels"]]), raw.target)
    assert (len(train["labels"]), len(valid["labels"]), len(test["labels"])) == (1294, 143, 360)
    assert len(Digits(valid_share=0.0).split("train")) == 1437
    assert abs(train["images"].mean()) < 0.01 and abs(train["images"].std() - 1) < 0.01
    assert data.label_names()[7] == "7"


def test_other_sizes_and_channels():
    assert Digits(size=16, channels=3).split("test").sample(2)[:]["images"].shape == (2, 16, 16, 3)
