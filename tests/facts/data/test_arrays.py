"""An .npz of one's own."""

from pathlib import Path

import numpy as np
import pytest

from jaxemb.data.arrays import Arrays
from jaxemb.data.base import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "x.npz", **arrays)
        return str(tmp_path / "x.npz")

    return write


def test_every_tenth_is_held_out(save):
    data = Arrays(save(images=PIXELS, labels=np.arange(20)), size=8)
    assert data.split("test")[:]["labels"].tolist() == [9, 19]
    assert data.split("valid")[:]["labels"].tolist() == [10]  # the tenth of the others
    assert data.split("train")[:]["labels"].tolist() == [i for i in range(20) if i not in (9, 10, 19)]
    whole = Arrays(save(images=PIXELS, labels=np.arange(20)), size=8, valid_share=0.0)
    assert whole.split("train")[:]["labels"].tolist() == [i for i in range(20) if i not in (9, 19)]
    with pytest.raises(DataError, match="no row is held out for validation with valid_share=0.0; set data.valid_share higher"):
        whole.split("valid")


def test_given_test_images(save):
    data = Arrays(save(images=PIXELS, images_test=PIXELS[:4], labels_test=np.arange(4)), size=8)
    assert data.split("test")[:]["labels"].tolist() == [0, 1, 2, 3] and (data.split("train")[:]["labels"] == -1).all()


def test_grey_and_many_channels(save):
    assert Arrays(save(images=PIXELS[..., 0]), size=8).split("test")[:]["images"].shape == (2, 8, 8, 3)
    assert Arrays(save(images=PIXELS[..., 0]), size=8, channels=1).split("test")[:]["images"].shape == (2, 8, 8, 1)
    five = np.concatenate([PIXELS, PIXELS[..., :2]], -1)
    data = Arrays(save(images=five), size=4, channels=5, mean=(0.5,) * 5, std=(1.0,) * 5)
    assert data.split("test")[:]["images"].shape == (2, 4, 4, 5)


def test_a_changed_file_is_read_anew(save):
    assert Arrays(save(images=PIXELS), size=8).split("train")[:]["labels"].max() == -1
    assert Arrays(save(images=PIXELS, labels=np.arange(20)), size=8).split("train")[:]["labels"].max() == 18


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"pictures": PIXELS}, "has no array 'images'.* valid: pictures"),
        ({"images": PIXELS / 255}, "images must be uint8 .*, not float64"),
        ({"images": PIXELS[:, 0, 0]}, r"not uint8 \(20, 3\)"),
        ({"images": PIXELS[..., :2]}, "has 2 channels; set data.channels"),
        ({"images": PIXELS, "labels": np.arange(19)}, r"labels must be 20 whole numbers, not int64 \(19,\)"),
        ({"images": PIXELS, "labels": np.arange(20) / 2}, "labels must be 20 whole numbers, not float64"),
        ({"images": np.array([{}], object)}, "cannot be read: it holds Python objects"),
    ],
)
def test_bad_contents(save, arrays, message):
    with pytest.raises(DataError, match=message):
        Arrays(save(**arrays), size=8).split("train")[:]


def test_bad_files(save, tmp_path):
    with pytest.raises(DataError, match=r"there is no file '.*nowhere.npz' \(looked for"):
        Arrays(str(tmp_path / "nowhere.npz")).split("train")[:]
    path = save(images=PIXELS)
    whole = Path(path).read_bytes()
    for broken in (whole[: len(whole) // 2], b"", whole[:200] + bytes(100) + whole[300:]):
        Path(path).write_bytes(broken)
        with pytest.raises(DataError, match="cannot be read"):
            Arrays(path).split("train")[:]
    np.save(tmp_path / "one.npy", PIXELS)
    with pytest.raises(DataError, match="cannot be read"):
        Arrays(str(tmp_path / "one.npy")).split("train")[:]
    with pytest.raises(DataError, match="4 images are too few to hold out"):
        Arrays(save(images=PIXELS[:4])).split("test")[:]
