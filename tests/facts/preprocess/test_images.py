"""Images in any form, fitted and normalised."""

import numpy as np
import pytest
from PIL import Image

from jaxemb.config import ConfigError
from jaxemb.preprocess.images import ImagePreprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
TAKE = ImagePreprocess(size=6, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))


def test_every_form_of_an_image_gives_the_same_rows(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    rows = TAKE([PIXELS, PIXELS / 255, Image.fromarray(PIXELS), tmp_path / "x.png", str(tmp_path / "x.png")])["images"]
    expected = (PIXELS[:, 1:7] / 255 - np.array(TAKE.mean)) / np.array(TAKE.std)
    for row in rows:
        np.testing.assert_allclose(row, expected, atol=1e-5)
    np.testing.assert_allclose(TAKE.pixels(rows[0]), PIXELS[:, 1:7] / 255, atol=1e-6)


def test_no_inputs_have_the_shape_of_some():
    assert TAKE([])["images"].shape == (0, 6, 6, 3) and TAKE.spec["images"].shape == (6, 6, 3)


@pytest.mark.parametrize("fields", [{"size": 0}, {"mean": (0.5,)}, {"std": (0.5, 0.0, 0.5)}, {"std": (float("nan"),) * 3}])
def test_bad_fields(fields):
    with pytest.raises(ConfigError, match="must be at least 1|a number for each of the channels=3, std above 0"):
        ImagePreprocess(**{"size": 6} | fields)
