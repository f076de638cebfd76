"""Images as preprocessor_config.json says: Pillow's resizing, the centre, means and deviations."""

import logging

import numpy as np
import pytest
from PIL import Image
from pretrained import write_json

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import DataError, Preprocess
from jaxemb.preprocess.hf_images import PretrainedImages, read_image_preprocess

X = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
NORMAL = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def read(folder, config, size=8, kind="vit"):
    write_json(folder / "preprocessor_config.json", config)
    return read_image_preprocess(folder, kind=kind, size=size)


def normal(x):
    return (np.asarray(x) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]


def test_squashed_to_a_square(tmp_path):
    pre = read(tmp_path, {"size": {"height": 8, "width": 8}, "resample": 2, **NORMAL})
    wanted = normal(Image.fromarray(X).resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(pre([X])["images"], wanted[None], atol=1e-5)
    for same in (8, {"shortest_edge": 8}):
        assert read(tmp_path, {"size": same, "resample": 2, **NORMAL}).size == 8


@pytest.mark.parametrize("turned", [False, True])
def test_the_shorter_side_then_the_centre(tmp_path, turned):
    pre = read(
        tmp_path,
        {"size": {"shortest_edge": 12}, "do_center_crop": True, "crop_size": {"height": 8, "width": 8}, **NORMAL},
        kind="x",
    )
    x = X.swapaxes(0, 1) if turned else X
    whole = Image.fromarray(x).resize((12, 18) if turned else (18, 12), Image.Resampling.BICUBIC)
    wanted = normal(np.asarray(whole)[5:13, 2:10] if turned else np.asarray(whole)[2:10, 5:13])
    np.testing.assert_allclose(pre([x, Image.fromarray(x)])["images"], [wanted, wanted], atol=1e-5)
    old = read(tmp_path, {"size": 12, "crop_size": 8, "do_center_crop": True, **NORMAL}, kind="x")  # as older files say it
    assert old == pre


def test_without_a_file_the_familys_own_is_taken_and_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "jaxemb"):
        assert read_image_preprocess(tmp_path, kind="vit", size=8) == PretrainedImages(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
        assert read_image_preprocess(tmp_path, kind="dinov2", size=8).mean[0] == 0.485
    assert "has no preprocessor_config.json: images are brought to 8 x 8, mean (0.5, 0.5, 0.5)" in caplog.records[0].getMessage()


def test_pixels_that_are_not_normalised_and_nothing(tmp_path):
    pre = read(tmp_path, {"size": 8, "do_normalize": False})
    assert 0 <= pre([X])["images"].min() and pre([X])["images"].max() <= 1
    assert pre([])["images"].shape == (0, 8, 8, 3)
    pre.save(tmp_path / "saved")
    assert Preprocess.load(tmp_path / "saved") == pre


@pytest.mark.parametrize(
    "config, message",
    [
        ({"do_resize": False}, "do_resize=False is not supported"),
        ({"rescale_factor": 1.0}, "rescale_factor=1.0 is not supported; only 1/255"),
        ({"resample": 5}, "resample=5 is not supported"),
        ({"size": {"height": 8, "width": 9}}, "only squares"),
        ({"size": {"height": 12, "width": 12}, "do_center_crop": True, "crop_size": 8}, "with crop_size=8 is not supported"),
        ({"size": 6, "do_center_crop": True, "crop_size": 8}, "shorter=6 leaves no square of size=8"),
    ],
)
def test_refused(tmp_path, config, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, config)


def test_damaged(tmp_path):
    for content in ("[]", "{"):
        (tmp_path / "preprocessor_config.json").write_text(content)
        with pytest.raises(DataError, match="is damaged"):
            read_image_preprocess(tmp_path, kind="vit", size=8)
    with pytest.raises(ConfigError, match="resample='cubic'; did you mean 'bicubic'"):
        PretrainedImages(size=8, resample="cubic")
