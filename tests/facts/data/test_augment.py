"""What each augmentation of one image does, and that chance comes from the generator alone."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data import augment
from jaxemb.data.augment import OPERATIONS, ColourJitter, Flip, PadCrop, RandAugment, RandomResizedCrop


def rng(seed=0):
    return np.random.default_rng(seed)


def picture(height=32, width=32, channels=3):
    return rng(7).integers(0, 256, (height, width, channels), np.uint8)


KINDS = (RandomResizedCrop(), PadCrop(), Flip(), ColourJitter(), RandAugment())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: type(k).__name__)
def test_deterministic_and_leaves_its_input_alone(kind, channels):
    x = picture(channels=channels)
    before = x.copy()
    results = [kind(x, 32, rng(s)) for s in range(20)]
    assert all(r.shape == x.shape and r.dtype == np.uint8 for r in results)
    assert all(np.array_equal(r, kind(x, 32, rng(s))) for s, r in enumerate(results))
    assert any(not np.array_equal(r, x) for r in results)
    assert np.array_equal(x, before)


def test_all_kinds_are_tested():
    concrete = {c for c in vars(augment).values() if isinstance(c, type) and issubclass(c, augment.ImageAugment)}
    assert {type(k) for k in KINDS} == concrete - {augment.ImageAugment}


def test_crop_boxes_lie_inside_and_have_the_wanted_area_and_shape():
    crop, g = RandomResizedCrop(scale=(0.2, 0.4), ratio=(0.5, 2.0)), rng()
    boxes = np.array([crop.box(300, 300, g) for _ in range(500)])
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 300).all() and (left + width <= 300).all()
    area, ratio = height * width / 90_000, width / height
    assert 0.19 < area.min() < 0.21 and 0.39 < area.max() < 0.41
    assert 0.49 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.02
    assert abs(np.median(np.log(ratio))) < 0.1  # log-uniform: half of the boxes are upright


def test_a_crop_that_never_fits_takes_the_centre():
    assert RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)).box(10, 40, rng()) == (0, 15, 10, 10)
    assert RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)).box(40, 10, rng()) == (15, 0, 10, 10)


def test_the_whole_image_as_a_crop_is_the_image():
    x = picture()
    assert np.array_equal(RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))(x, 32, rng()), x)


def test_flip():
    x = picture()
    assert np.array_equal(Flip(1.0)(x, 32, rng()), x[:, ::-1])
    assert Flip(0.0)(x, 32, rng()) is x
    g = rng()
    assert 420 < sum(not np.array_equal(Flip()(x, 32, g), x) for _ in range(1000)) < 580


def test_pad_crop_moves_the_image():
    x, g = picture(), rng()
    padded = np.pad(x, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    places = {(i, j): padded[i : i + 32, j : j + 32].tobytes() for i in range(9) for j in range(9)}
    seen = {PadCrop(4)(x, 32, g).tobytes() for _ in range(600)}
    assert seen <= set(places.values()) and len(seen) == 81


def test_colour_jitter_alone_in_each_part():
    x, off = picture(), dict(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, probability=1.0)
    assert np.array_equal(ColourJitter(**off)(x, 32, rng()), x)
    flat = np.full((4, 4, 3), 100, np.uint8)
    bright = {int(ColourJitter(**off | {"brightness": 0.5})(flat, 4, rng(s))[0, 0, 0]) for s in range(200)}
    assert 50 <= min(bright) < 60 and 140 < max(bright) <= 150
    for part in ("contrast", "saturation", "hue"):  # a flat grey has none of the three
        assert np.array_equal(ColourJitter(**off | {part: 0.5})(flat, 4, rng(1)), flat)
    red = np.zeros((4, 4, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    assert not np.array_equal(ColourJitter(**off | {"hue": 0.5})(red, 4, rng(1)), red)
    assert ColourJitter(probability=0.0)(x, 32, rng()) is x


def test_rand_augment():
    x = picture()
    assert len(OPERATIONS) == 14
    assert np.array_equal(RandAugment(n=0)(x, 32, rng()), x)
    moved = [not np.array_equal(RandAugment(n=1, m=0)(x, 32, rng(s)), x) for s in range(200)]
    # At magnitude 0 only autocontrast and equalize (and solarize from 256: never) can change anything: 2 of 14.
    assert 0.0 < np.mean(moved) < 0.3


def test_bad_fields():
    for make, field in (
        (lambda: RandomResizedCrop(scale=(0.5, 1.5)), "scale"),
        (lambda: RandomResizedCrop(ratio=(2.0, 1.0)), "ratio"),
        (lambda: ColourJitter(hue=0.7), "hue"),
        (lambda: RandAugment(m=31), "m in"),
    ):
        with pytest.raises(ConfigError, match=field):
            make()
    with pytest.raises(ConfigError, match="1 or 3 channels, not 4"):
        RandAugment()(picture(channels=4), 32, rng())
