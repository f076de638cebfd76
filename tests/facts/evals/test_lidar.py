import dataclasses

import numpy as np
import pytest
from fakes import Fake

from jaxemb.config import ConfigError
from jaxemb.data.digits import Digits
from jaxemb.data.key_value import KeyValue
from jaxemb.evals.lidar import LiDAR
from jaxemb.views.crops import CropViews

# Views of grey digits that differ in brightness alone.
BRIGHTER = CropViews(count=4, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter=1.0, grey=0.0, contrast=0.0, saturation=0.0)


def first(width):
    return lambda arrays: arrays["images"].reshape(len(arrays["images"]), -1)[:, 20 : 20 + width].astype(np.float32)


def test_it_lies_between_one_and_the_width_and_is_the_same_for_the_same_seed():
    measure = LiDAR(samples=60, views=CropViews(count=3))
    one, again, other = (measure.run(Fake(first(8)), Digits(), seed=s) for s in (0, 0, 1))
    assert one == again != other
    assert one["width"] == 8 and 1 <= one["lidar"] <= 8


def test_an_encoder_that_tells_views_apart_but_not_images_has_one_direction():
    """Of every pixel only how bright the view was made is kept, twice: one number does not tell an image."""

    def brightness(arrays):
        level = arrays["images"].max((1, 2, 3))
        return np.stack([level, 2 * level, np.zeros_like(level)], 1).astype(np.float32)

    assert LiDAR(samples=60, views=BRIGHTER).run(Fake(brightness), Digits())["lidar"] < 1.1


def test_views_are_made_by_the_statistics_of_the_data():
    """Without any change a view is its image, whatever the mean and deviation of the fields."""
    still = dataclasses.replace(BRIGHTER, brightness=0.0, jitter=0.0)
    seen = []
    LiDAR(samples=20, views=still).run(Fake(lambda arrays: seen.append(arrays["images"]) or first(4)(arrays)), Digits())
    (images,) = seen
    np.testing.assert_allclose(images[::4], images[3::4])
    np.testing.assert_allclose(images[::4], Digits().split("train").sample(20, seed=0)[:]["images"], atol=1e-5)


def test_what_it_cannot_measure():
    with pytest.raises(ConfigError, match="samples=8 must be more than the 8 features"):
        LiDAR(samples=8, views=CropViews(count=2)).run(Fake(first(8)), Digits())
    with pytest.raises(ConfigError, match="2 images of 2 views or more, not samples=500 of 1"):
        LiDAR(views=CropViews(count=1))
    with pytest.raises(ConfigError, match="LiDAR makes views of images, the data hold tokens"):
        LiDAR().run(Fake(first(8)), KeyValue(length=16))
