import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.textures import TEXTURES, Textures

SMALL = {"count_train": 40, "count_test": 30}


def test_every_pixel_has_a_texture_and_regions_are_cells():
    data = Textures(**SMALL)
    x = data.split("train")[:]
    assert x["images"].shape == (40, 32, 32, 3) and x["regions"].shape == (40, 32, 32)
    assert x["regions"].min() >= 0 and x["regions"].max() < len(TEXTURES) == 8
    for labels, count in zip(x["regions"], x["labels"], strict=True):
        assert 1 <= len(np.unique(labels)) <= count + 2  # two regions may have one texture
    assert set(x["labels"].tolist()) == {0, 1, 2}
    assert abs(x["images"].mean()) < 0.2 and 0.8 < x["images"].std() < 1.25


def test_the_period_of_a_grating_shows():
    """One region, no noise: the strongest wave across the rows has the period of the texture."""
    data = Textures(size=48, regions=(1, 1), noise=0.0, count_train=64, count_test=1)
    x = data.split("train")[:]
    for texture, period in ((0, 3), (1, 6)):
        row = x["images"][x["regions"][:, 0, 0] == texture][0, 10, :, :].sum(-1)
        power = np.abs(np.fft.rfft(row - row.mean()))
        assert power.argmax() == 48 // period


def test_limits_keep_maps_with_their_images():
    data = Textures(**SMALL)
    few, every = data.split("test").sample(5, seed=3)[:], data.split("test")[:]
    where = [int(np.flatnonzero((every["images"] == x).all((1, 2, 3)))[0]) for x in few["images"]]
    np.testing.assert_array_equal(few["regions"], every["regions"][where])


@pytest.mark.parametrize("fields", [{"channels": 1}, {"size": 4}, {"regions": (3, 2)}, {"regions": (0, 2)}, {"noise": -1.0}])
def test_bad_fields(fields):
    with pytest.raises(ConfigError):
        Textures(**fields)
