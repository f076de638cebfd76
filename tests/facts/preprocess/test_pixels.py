"""From a user's image to the model's."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxemb.data.base import DataError
from jaxemb.preprocess.pixels import fit, normalise, read, read_header, resize, shrink, to_pixels


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def test_every_form_of_the_same_image(colours, tmp_path):
    Image.fromarray(colours).save(tmp_path / "x.png")
    forms = [tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(colours), colours, colours / 255]
    forms += [np.dstack([colours, np.full((6, 8, 1), 7, np.uint8)])]  # alpha is dropped
    for form in forms:
        assert np.array_equal(to_pixels(form, 3, 8), colours)


def test_grey_and_colour(colours):
    grey = colours[:, :, 0]
    assert np.array_equal(to_pixels(grey, 3, 8), np.repeat(grey[:, :, None], 3, 2))
    assert np.array_equal(to_pixels(grey, 1, 8), grey[:, :, None])
    assert np.array_equal(to_pixels(grey > 99, 1, 8)[:, :, 0], (grey > 99) * 255)
    by_pillow = np.asarray(Image.fromarray(colours).convert("L"), int)
    assert abs(to_pixels(colours, 1, 8)[:, :, 0] - by_pillow).max() <= 1


def test_sixteen_bits_keep_their_range(tmp_path):
    deep = np.array([[0, 256, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read(tmp_path / "deep.png", 1, 8)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_photos_are_turned_upright(tmp_path):
    x = np.zeros((4, 8, 3), np.uint8)
    image = Image.fromarray(x)
    exif = image.getexif()
    exif[0x0112] = 6  # taken with the camera turned
    image.save(tmp_path / "x.jpg", exif=exif)
    assert read(tmp_path / "x.jpg", 3, 8).shape == (8, 4, 3)


def test_large_files_are_shrunk(tmp_path):
    Image.fromarray(np.full((300, 600, 3), 77, np.uint8)).save(tmp_path / "x.jpg")
    x = read(tmp_path / "x.jpg", 3, 32)
    assert x.shape == (64, 128, 3) and (x == 77).all()


def test_fit_cuts_the_centre():
    x = np.zeros((10, 30, 3), np.uint8)
    x[:, 10:20] = 200
    assert (fit(x, 10) == 200).all()
    assert fit(x.transpose(1, 0, 2), 5).shape == (5, 5, 3)
    assert fit(x[:3, :3], 8).shape == (8, 8, 3)  # smaller ones are enlarged


def test_shrinking_averages():
    fine = np.indices((16, 16)).sum(0) % 2 * 200  # a checkerboard finer than the result
    assert (resize(fine.astype(np.uint8)[:, :, None], 4, 4) == 100).all()
    assert shrink(fine.astype(np.uint8)[:, :, None], 20).shape == (16, 16, 1)


def test_normalise(colours):
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    expected = (colours / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(normalise(colours, mean, std), expected, atol=1e-5)
    assert np.array_equal(normalise(colours[None], mean, std)[0], normalise(colours, mean, std))


@pytest.mark.parametrize(
    "item, message",
    [
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(H, W\) or \(H, W, c\), not \(2, 4, 4, 3\)"),
        (np.zeros((0, 4), np.uint8), "not \\(0, 4\\)"),
        (np.zeros((4, 4), np.int64), "uint8 .* or float .*, not int64"),
        (np.full((4, 4), 1.5), r"values in \[0, 1\], not 1.5 to 1.5: divide by 255"),
        (np.full((4, 4), -0.5), "do not normalise"),
        (np.full((4, 4), np.nan), r"values in \[0, 1\]"),
        (np.zeros((4, 4, 2), np.uint8), "has 2 channels, but the data set is read with channels=3"),
        (np.zeros((3, 8, 9), np.uint8), "is the channel axis first"),
        ("nowhere/x.png", "there is no image file nowhere/x.png"),
    ],
)
def test_bad_images(item, message):
    with pytest.raises(DataError, match=message):
        to_pixels(item, 3, 8)


def test_bad_files(tmp_path, colours):
    with pytest.raises(DataError, match="is a folder, not an image file"):
        read(tmp_path, 3, 8)
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(DataError, match="text.jpg is not an image in a format that is read: JPEG, PNG"):
        read(tmp_path / "text.jpg", 3, 8)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for ending in ("jpg", "png"):
        Image.fromarray(noise).save(tmp_path / f"whole.{ending}")
        whole = (tmp_path / f"whole.{ending}").read_bytes()
        (tmp_path / f"cut.{ending}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=f"cut.{ending} is damaged"):
            read(tmp_path / f"cut.{ending}", 3, 8)
    with pytest.raises(DataError, match="1 or 3 channels, not channels=4"):
        read(tmp_path / "whole.png", 4, 8)


# ---- files made to harm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [(3000, 1, "3000 x 1 pixels: one side is more than 50 times the other"), (8000, 8000, "more than 50 million")],
)
def test_sizes_that_would_fill_the_memory(tmp_path, width, height, message):
    """30 000 x 1 took 4.7 GB at size 224, 13 000 x 13 000 was decoded with a warning."""
    Image.new("1", (width, height)).save(tmp_path / "a.png")
    for call in (lambda: read(tmp_path / "a.png", 3, 8), lambda: read_header(tmp_path / "a.png")):
        with pytest.raises(DataError, match=message):
            call()
    with pytest.raises(DataError, match=message):
        to_pixels(np.broadcast_to(np.uint8(0), (height, width)), 1, 8)
    with pytest.raises(DataError, match=message):
        fit(np.broadcast_to(np.uint8(0), (height, width, 1)), 8)


def test_a_large_photo_is_decoded_small_and_passes(tmp_path):
    Image.new("L", (7200, 7200)).save(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg", 3, 8).shape == (16, 16, 3)


def test_formats_that_run_programs_are_not_read_whatever_they_are_called(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("Ghostscript was asked"))
    with pytest.raises(DataError, match="not an image in a format that is read: JPEG, PNG"):
        read(tmp_path / "a.png", 3, 8)


def test_devices_and_fifos_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for file in (tmp_path / "a.png", "/dev/zero"):
        with pytest.raises(DataError, match="is not a regular file"):
            read(file, 3, 8)
    for file in ("x" * 5000, "a\0.png"):
        with pytest.raises(DataError, match="there is no image file"):
            read(file, 3, 8)
