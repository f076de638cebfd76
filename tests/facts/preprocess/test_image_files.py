"""What a user hands over: folders, files and arrays, and what is said about those that cannot be read."""

import logging
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxemb.data.base import DataError
from jaxemb.data.digits import Digits

DATA = Digits()
IMAGES = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)


@pytest.fixture
def photos(tmp_path):
    """Writes small grey images to the given paths below a folder."""

    def write(*paths):
        folder = tmp_path / "photos"
        for path in paths:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (9, 8), 100).save(file)
        return folder

    return write


def test_a_folder_gives_its_images_at_any_depth_in_the_order_of_their_paths(photos):
    folder = photos("b.png", "a/z.png", "a.jpg", "c/d/e.bmp", "LARGE.PNG")
    (folder / "notes.txt").write_text("no image")
    files, names = DATA.preprocess.read(folder)
    assert files == names == [str(folder / p) for p in ("LARGE.PNG", "a.jpg", "a/z.png", "b.png", "c/d/e.bmp")]


def test_hidden_files_and_folders_are_left_out(photos):
    folder = photos("seen.png", ".hidden.png", ".thumbnails/small.png", "a/.b/c.png")
    assert DATA.preprocess.read(folder)[1] == [str(folder / "seen.png")]


def test_an_unreadable_file_of_a_folder_is_named_in_the_log_and_skipped(photos, caplog):
    folder = photos("a.png", "b.png", "c.png")
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:40])
    (folder / "text.png").write_text("no image")
    with caplog.at_level(logging.WARNING, "jaxemb"):
        files, names = DATA.preprocess.read(folder)
    assert files == names == [str(folder / "a.png"), str(folder / "c.png")]
    assert "2 of 4 image files cannot be read" in caplog.text and "b.png" in caplog.text and "text.png" in caplog.text
    assert "a.png" not in caplog.text


def test_a_folder_without_images_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="there is no image in .* or below it; looked for .jpg, .jpeg, .png"):
        DATA.preprocess.read(tmp_path)


def test_a_folder_of_which_nothing_can_be_read(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match="none of the 1 image files in .* can be read"):
        DATA.preprocess.read(tmp_path)


def test_a_single_image_is_a_list_of_one(photos):
    file = photos("a.png") / "a.png"
    assert DATA.preprocess.read(file) == ([str(file)], [str(file)])


def test_rows_of_an_array_have_no_names(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.zeros(2))
    np.savez_compressed(tmp_path / "b.npz", images=IMAGES)
    for name in ("a.npy", "a.npz", "b.npz"):
        found, names = DATA.preprocess.read(tmp_path / name)
        np.testing.assert_array_equal(found, IMAGES)
        assert found.dtype == np.uint8 and names == []


def test_an_npz_without_images_says_what_it_has(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=IMAGES, labels=np.zeros(2))
    with pytest.raises(DataError, match="a.npz has no array `images`; it has pictures, labels"):
        DATA.preprocess.read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz")
    with pytest.raises(DataError, match="b.npz has no array `images`; it has none"):
        DATA.preprocess.read(tmp_path / "b.npz")


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_pickles_are_refused_before_they_run(tmp_path):
    sign = tmp_path / "it_ran"
    trap = np.array([Touch(sign)], dtype=object)
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=trap)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Touch(sign)))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Touch(sign)))
    for name in ("a.npy", "a.npz", "b.npy", "b.npz"):
        with pytest.raises(DataError, match=f"{name} cannot be read: "):
            DATA.preprocess.read(tmp_path / name)
    assert not sign.exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_arrays_are_named(tmp_path, name):
    np.save(tmp_path / "a.npy", IMAGES)
    np.savez(tmp_path / "a.npz", images=IMAGES)
    whole = (tmp_path / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=f"{name} cannot be read: "):
            DATA.preprocess.read(tmp_path / name)


def test_an_array_whose_bytes_have_changed_is_refused(tmp_path):
    """The checksum of the archive notices; the file is closed all the same, else the warning of that would fail this test."""
    np.savez(tmp_path / "a.npz", images=IMAGES)
    damaged = bytearray((tmp_path / "a.npz").read_bytes())
    damaged[damaged.index(IMAGES.tobytes()) + 3] ^= 4
    (tmp_path / "a.npz").write_bytes(damaged)
    with pytest.raises(DataError, match="a.npz cannot be read: Bad CRC-32"):
        DATA.preprocess.read(tmp_path / "a.npz")


def test_the_contents_tell_what_an_array_file_is_not_the_ending(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "a.npy").rename(tmp_path / "single.npz")
    np.savez(tmp_path / "a.npz", images=IMAGES)
    (tmp_path / "a.npz").rename(tmp_path / "ARCHIVE.NPY")
    for name in ("single.npz", "ARCHIVE.NPY"):
        np.testing.assert_array_equal(DATA.preprocess.read(tmp_path / name)[0], IMAGES)


def test_a_path_where_nothing_is(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder .*nowhere.png"):
        DATA.preprocess.read(tmp_path / "nowhere.png")


def header(text):
    raw = text.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (", "cannot be read"),
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000, 8, 3)}",
            "its header asks for 24000000000000 bytes, there are",
        ),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8, 3)}", "its shape is"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "it holds Python objects"),
        ("(" * 3000, "cannot be read"),
        ("'", "cannot be read"),
        ("{}", "cannot be read"),
    ],
)
def test_headers_made_to_harm(tmp_path, text, message):
    (tmp_path / "a.npy").write_bytes(header(text) + b"x" * 8)
    with pytest.raises(DataError, match=message):
        DATA.preprocess.read(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header(text) + b"x" * 8)
    with pytest.raises(DataError, match=message):
        DATA.preprocess.read(tmp_path / "a.npz")


def test_a_member_that_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images", "text")
        archive.writestr("images.npy", "text")
    with pytest.raises(DataError, match="a.npz cannot be read"):
        DATA.preprocess.read(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(), (3,), (8, 8), (2, 8, 8)])
def test_arrays_that_are_no_images(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=r"images must have the shape \(n, H, W, c\)"):
        DATA.preprocess.read(tmp_path / "a.npy")
