"""A folder of photos as it comes."""

import logging
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.folder import ImageFolder
from jaxemb.preprocess.image_files import find_files


@pytest.fixture
def photos(tmp_path):
    """Writes images of random sizes to the given relative paths."""
    rng = np.random.default_rng(0)

    def write(*paths):
        for path in paths:
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*rng.integers(20, 60, 2), 3), np.uint8)).save(file)
        return ImageFolder(str(tmp_path), size=16)

    return write


def test_class_folders(photos):
    data = photos(*(f"{name}/{i}.png" for name in ("zebra", "ant", "cat/black") for i in range(20)))
    assert data.label_names() == ("ant", "cat", "zebra")
    train, test = data.split("train")[:], data.split("test")[:]
    assert len(train["labels"]) + len(test["labels"]) == 60 and 0 < len(test["labels"]) < 20
    assert (np.bincount(np.r_[train["labels"], test["labels"]]) == 20).all()


def test_without_classes_labels_are_minus_one(photos):
    data = photos("deep/er/0.png", *(f"{i}.jpg" for i in range(30)))
    assert data.label_names() == () and (data.split("train")[:]["labels"] == -1).all()
    assert next(data.batches(8, seed=0))["labels"].dtype == np.int32


@pytest.mark.parametrize("name", ["test", "val"])
def test_given_splits(photos, name):
    data = photos("train/a/0.png", "train/b/1.png", "train/b/2.png", f"{name}/b/3.png")
    assert data.label_names() == ("a", "b")
    assert data.split("train")[:]["labels"].tolist() == [0, 1, 1] and data.split("test")[:]["labels"].tolist() == [1]


def test_images_outside_of_given_splits_are_named(photos, caplog):
    with caplog.at_level(logging.WARNING, "jaxemb"):
        assert len(photos("train/0.png", "test/1.png", "2.png").split("train")[:]["labels"]) == 1
    assert "1 images lie outside of the folders train and test" in caplog.text


def test_more_files_move_no_other(photos):
    names = [f"{i}.png" for i in range(40)]
    before = {s: {f.path for f in photos(*names)._listing.files[s]} for s in ("train", "test")}
    after = {s: {f.path for f in photos(*(f"new{i}.png" for i in range(40)))._listing.files[s]} for s in ("train", "test")}
    assert before["train"] < after["train"] and before["test"] < after["test"]


def test_unreadable_files_are_named_and_skipped(photos, tmp_path, caplog):
    data = photos(*(f"{i}.png" for i in range(30)), "broken.jpg")
    whole = (tmp_path / "broken.jpg").read_bytes()
    (tmp_path / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "notes.txt").write_text("ignored")
    (tmp_path / ".hidden.png").write_text("ignored")
    with caplog.at_level(logging.WARNING, "jaxemb"):
        count = sum(len(data.split(s)[:]["labels"]) for s in ("train", "valid", "test"))
    assert count == 30 and "3 of 33 image files cannot be read" in caplog.text
    assert all(name in caplog.text for name in ("broken.jpg", "text.png", "gone.png"))
    assert "notes" not in caplog.text and "hidden" not in caplog.text
    assert len(caplog.records) == 1  # both splits, one message


def test_many_unreadable_files_are_counted(photos, tmp_path, caplog):
    data = photos("a.png", "b.png", "c.png")
    for i in range(25):
        (tmp_path / f"bad{i:02}.png").write_text("")
    with caplog.at_level(logging.WARNING, "jaxemb"):
        data.label_names()
    assert (
        "25 of 28" in caplog.text and "bad19.png" in caplog.text and "bad20.png" not in caplog.text and "and 5 more" in caplog.text
    )


def test_large_folders_are_checked_by_header(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxemb.preprocess.image_files.CHECKED", 0)
    photos(*(f"{i}.png" for i in range(30)))
    (tmp_path / "text.png").write_text("no image")
    file = tmp_path / "broken.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:3000])
    data = ImageFolder(str(tmp_path), size=16)
    names = [f.path for files in data._listing.files.values() for f in files]
    assert "text.png" not in names and "broken.png" in names
    with pytest.raises(DataError, match="broken.png is damaged"):
        [data.split(s)[:] for s in ("train", "valid", "test")]


def test_a_file_gives_what_arrays_gives(photos, tmp_path):
    data = photos(*(f"{i}.jpg" for i in range(30)), "large.jpg")
    for split in ("train", "valid", "test"):
        for file, row in zip(data._listing.files[split], data.split(split)[:]["images"]):
            assert np.array_equal(data.preprocess([tmp_path / file.path])["images"][0], row)


def test_bad_folders(photos, tmp_path):
    with pytest.raises(DataError, match=r"there is no folder '.*nowhere' \(looked for"):
        ImageFolder(str(tmp_path / "nowhere")).split("train")[:]
    with pytest.raises(DataError, match="holds no image file"):
        ImageFolder(str(tmp_path)).batches(2, seed=0)
    (tmp_path / "a.png").write_text("")
    with pytest.raises(DataError, match="none of the 1 image files"):
        ImageFolder(str(tmp_path)).split("train")[:]
    with pytest.raises(DataError, match="no image fell into the split 'test'; change data.test_share"):
        ImageFolder(photos("b.png").path, test_share=1e-9).split("test")[:]
    with pytest.raises(ConfigError, match="test_share must lie between 0 and 1, not 1.5"):
        ImageFolder("x", test_share=1.5)


# ---- links, names, other endings -------------------------------------------------------------------------------------------------


def paths(root):
    return [f.path for f in find_files(str(root))]


def test_a_file_is_there_once_however_many_links_lead_to_it(photos, tmp_path):
    """A link to the folder itself gave each image 41 times, and copies by link lay in train and in test."""
    photos("b/0.png", "c/1.png")
    (tmp_path / "b" / "all").symlink_to(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "0.png").symlink_to(tmp_path / "b" / "0.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "c" / "1.png")
    assert len(paths(tmp_path)) == 2 and "b/0.png" in paths(tmp_path)


def test_links_to_what_lies_elsewhere_are_followed(photos, tmp_path):
    photos("store/0.png", "store/deep/1.png")
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train" / "x.png").symlink_to(tmp_path / "store" / "0.png")
    (tmp_path / "set" / "test").symlink_to(tmp_path / "store" / "deep")
    assert paths(tmp_path / "set") == ["test/1.png", "train/x.png"]


def test_links_and_endings_that_are_not_read_are_said_once(photos, tmp_path, caplog):
    data = photos(*(f"{i}.png" for i in range(30)))
    for name in ("a.heic", "b.HEIC", "c.svg", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "again.png").symlink_to(tmp_path / "0.png")
    with caplog.at_level(logging.WARNING, "jaxemb"):
        for split in ("train", "valid", "test"):
            data.split(split)[:]
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2 and "not read: 2 .heic, 1 .svg (convert them" in said[0] and "1 links to images" in said[1]
    with pytest.raises(DataError, match="holds no image file .*not read: 1 .heic"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "a.heic").write_text("")
        ImageFolder(str(tmp_path / "other")).split("train")[:]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes UTF-8 alone")
def test_names_that_are_no_utf8(photos, tmp_path):
    data = photos(*(f"{i}.png" for i in range(30)))
    shutil.copy(tmp_path / "0.png", os.fsencode(tmp_path) + b"/\xff\xfe.png")
    assert sum(len(data.split(s)) for s in ("train", "valid", "test")) == 31


def test_a_fifo_with_the_name_of_an_image_is_named_and_skipped(photos, tmp_path, caplog):
    data = photos(*(f"{i}.png" for i in range(30)))
    os.mkfifo(tmp_path / "fifo.png")
    with caplog.at_level(logging.WARNING, "jaxemb"):
        data.label_names()
    assert "1 of 31 image files cannot be read" in caplog.text and "fifo.png is not a regular file" in caplog.text
