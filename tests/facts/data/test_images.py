"""CIFAR-10 from a prepared folder, and what is said when there is none."""

import shutil

import numpy as np
import pytest

from jaxemb.data.base import DataError
from jaxemb.data.images import Images


@pytest.fixture
def cifar(tfds_dir):
    return lambda **fields: Images("cifar10", **{"data_dir": str(tfds_dir), "train": "train[:64]", "test": "test[:16]"} | fields)


def test_equals_tfds(cifar, tfds_dir):
    import tensorflow_datasets as tfds

    source = tfds.data_source("cifar10", data_dir=tfds_dir, split="test[:16]", download=False)
    data = cifar()
    mean, std = data.statistics
    found = data.split("test")[:]
    for i, record in enumerate(source):
        np.testing.assert_allclose(found["images"][i], (record["image"] / 255 - np.array(mean)) / np.array(std), atol=1e-5)
        assert found["labels"][i] == record["label"]
    assert data.label_names()[:3] == ("airplane", "automobile", "bird")


def test_a_small_budget_changes_nothing_but_time(cifar):
    kept, read_anew = cifar(), cifar(memory=0)
    for a, b in ((kept.batches(8, seed=0), read_anew.batches(8, seed=0)),):
        for _ in range(10):
            x, y = next(a), next(b)
            assert all(np.array_equal(x[k], y[k]) for k in x)
    assert kept.examples("train")._left == 2**30 - 58 * 32 * 32 * 3
    assert not read_anew.examples("train")._kept and len(kept.examples("train")._kept) == 58


def test_grey_enlarged_and_unlabelled(cifar):
    found = cifar(size=40, channels=1, label=None).split("test")[:]
    assert found["images"].shape == (16, 40, 40, 1) and (found["labels"] == -1).all()
    assert cifar(label=None).label_names() == ()


def test_validation_is_carved_from_the_training_images(cifar):
    whole, train, valid = (cifar(valid_share=v).split(s)[:] for v, s in ((0.0, "train"), (0.25, "train"), (0.25, "valid")))
    assert len(valid["labels"]) == 16 and np.array_equal(valid["images"], whole["images"][3::4])
    assert np.array_equal(train["images"], np.delete(whole["images"], np.s_[3::4], 0))
    named = cifar(train="train[:8]", valid="train[8:12]")
    assert np.array_equal(named.split("valid")[:]["images"], whole["images"][8:12]) and len(named.split("train")) == 8


def test_the_environment_names_the_folder(tfds_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_dir))
    assert len(Images("cifar10", test="test[:5]").split("test")[:]["labels"]) == 5


def test_a_missing_data_set_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"(?s)'cifar10' is not prepared: looked for .*data_source\('cifar10'.*TFDS_DATA_DIR"):
        Images("cifar10", str(tmp_path)).split("test")[:]
    with pytest.raises(DataError, match=r"nowhere itself is not a folder"):
        Images("cifar10", str(tmp_path / "nowhere")).batches(4, seed=0)
    with pytest.raises(DataError, match=r"knows no data set 'cifar11'; near it: .*cifar10"):
        Images("cifar11", str(tmp_path)).split("test")[:]


def test_wrong_names_within_a_data_set(cifar):
    with pytest.raises(DataError, match=r"no split 'validation\[:5\]'.* valid: test, train"):
        cifar(test="validation[:5]").split("test")[:]
    with pytest.raises(DataError, match=r"no feature 'lable'; did you mean 'label'\? valid: id, image, label"):
        cifar(label="lable").split("test")[:]


def test_a_truncated_data_set(tfds_dir, tmp_path):
    shutil.copytree(tfds_dir / "cifar10", tmp_path / "cifar10")
    for file in (tmp_path / "cifar10").rglob("*test*array_record*"):
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="cifar10, split test, .*cannot be read, prepare the data set anew"):
        Images("cifar10", str(tmp_path), test="test").split("test")[:]
