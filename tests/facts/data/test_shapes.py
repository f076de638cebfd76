"""The factors of a drawn scene can be read off its pixels; everything follows from the seed."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.shapes import FACTORS, Shapes, _distance, draw

PLAIN = dict(noise=0.0, clutter=0.0)


def scenes(count=600, **fields):
    found = draw(count, 32, np.random.default_rng(0), **PLAIN | fields)
    images = found["images"].astype(int)
    covered = np.abs(images - images[:, :1, :1]).max(-1) > 12  # differs from the plain ground in the corner
    return found, images, covered & (covered.mean((1, 2), keepdims=True) > 0.02)


def test_position_and_size_are_where_they_are_said_to_be():
    found, _, covered = scenes()
    seen = covered.any((1, 2)) & np.isin(found["shape"], (0, 1, 3)) & (found["texture"] == 0)  # symmetric, untextured
    grid = (np.arange(32) + 0.5) / 32
    area = covered[seen].sum((1, 2))
    for axis, cell in ((1, found["position"][seen] // 3), (2, found["position"][seen] % 3)):
        centre = (covered[seen].sum(3 - axis) * grid).sum(1) / area
        assert (np.abs(centre - (0.3 + 0.2 * cell)) < 0.12).all()
    means = [area[found["size"][seen] == k].mean() for k in range(3)]
    assert means[0] * 1.4 < means[1] and means[1] * 1.2 < means[2]


def test_colour_is_the_hue_at_the_centre():
    found, images, _ = scenes()
    plain = (found["texture"] == 0) & (found["shape"] == 1)
    centre = 0.3 + 0.2 * np.stack(np.divmod(found["position"], 3))
    y, x = np.rint(centre * 32 - 0.5).astype(int)
    r, g, b = (images[np.arange(len(y)), y, x] / 255).T
    hue = np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b) / (2 * np.pi)
    away = (hue - found["colour"] / 6 + 0.5) % 1 - 0.5
    assert plain.sum() > 10 and (np.abs(away[plain]) < 0.06).all()


def test_outlines():
    def inside(shape, u, v):
        return _distance(np.float32([[u]]), np.float32([[v]]), np.array([FACTORS["shape"].index(shape)]))[0, 0] < 0

    assert inside("disc", 0.8, 0) and not inside("disc", 0.7, 0.7) and inside("square", 0.7, 0.7)
    assert inside("cross", 0.9, 0) and not inside("cross", 0.5, 0.5)
    assert inside("ring", 0.7, 0) and not inside("ring", 0, 0)
    assert inside("triangle", 0, -0.9) and not inside("triangle", 0, 0.7)
    # Five points: the same a fifth of a turn further, and both points and notches at radius 0.7.
    turns = np.arange(20) / 20 * 2 * np.pi
    star = [inside("star", 0.7 * np.sin(t), 0.7 * np.cos(t)) for t in turns]
    assert star[:4] * 5 == star and 0 < sum(star[:4]) < 4


def test_textures_differ_in_variation():
    found, images, _ = scenes(count=1200)
    square = (found["shape"] == 1) & (found["size"] == 2)
    centre = np.rint((0.3 + 0.2 * np.stack(np.divmod(found["position"], 3))) * 32 - 0.5).astype(int)
    patch = np.stack([im[y - 2 : y + 3, x - 2 : x + 3].max(-1) for im, y, x in zip(images, *centre)])
    spread = patch.std((1, 2)) / patch.mean((1, 2))
    assert spread[square & (found["texture"] == 0)].max() < 0.02
    for texture in range(1, 5):
        assert np.median(spread[square & (found["texture"] == texture)]) > 0.1


def test_ground_spreads_the_colours_of_the_ground_alone():
    """The corner pixel is ground: half the spread halves its distance from grey; figures and factors stay."""
    full, half, none = (draw(200, 32, np.random.default_rng(0), **PLAIN, ground=g) for g in (1.0, 0.5, 0.0))
    corner = [s["images"][:, 0, 0].astype(float) / 255 - 0.5 for s in (full, half, none)]
    plain = np.abs(corner[2]).max(-1) < 0.003  # untextured, and no figure reaches it
    assert plain.sum() > 20 and np.abs(corner[0][plain]).max() > 0.3
    np.testing.assert_allclose(corner[1][plain], corner[0][plain] / 2, atol=0.005)
    assert all(np.array_equal(full[k], none[k]) for k in FACTORS)
    large = (full["shape"] == 1) & (full["size"] == 2) & (full["position"] == 4)  # squares over the middle of the image
    assert large.any() and np.array_equal(full["images"][large, 16, 16], none["images"][large, 16, 16])


def test_factors_are_balanced_and_independent():
    train = Shapes(count_train=3000, size=16).split("train")[:]
    for name, values in FACTORS.items():
        share = np.bincount(train[name], minlength=len(values)) / 3000
        np.testing.assert_allclose(share, 1 / len(values), atol=0.04)
    assert abs(np.corrcoef([train[k] for k in FACTORS]) - np.eye(5)).max() < 0.07


def test_seed_and_counts():
    first = Shapes(count_train=50, count_test=20, size=16)
    longer = Shapes(count_train=90, count_test=20, size=16)
    assert np.array_equal(first.split("train")[:]["images"], longer.split("train")[:]["images"][:50])
    other = Shapes(count_train=50, count_test=20, size=16, data_seed=1)
    assert not np.array_equal(first.split("train")[:]["shape"], other.split("train")[:]["shape"])
    mean, std = (f(Shapes(count_train=800).split("train")[:]["images"]) for f in (np.mean, np.std))
    assert abs(mean) < 0.05 and abs(std - 1) < 0.05


def test_any_factor_can_be_the_label():
    data = Shapes(count_train=30, count_test=10, label="colour")
    train = data.split("train")[:]
    assert np.array_equal(train["labels"], train["colour"]) and data.label_names() == FACTORS["colour"]
    assert data.label_names("texture") == FACTORS["texture"]


def test_bad_fields():
    for fields, message in (
        ({"label": "color"}, "no factor 'color'; did you mean 'colour'"),
        ({"channels": 1}, "channels=1"),
        ({"size": 8}, "size=8"),
        ({"count_test": 0}, "count_train, count_valid and count_test"),
        ({"noise": -1.0}, "noise"),
        ({"ground": -0.1}, "ground"),
        ({"mean": (0.5,)}, "mean needs a number for each of the channels=3"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be above 0"),
        ({"workers": -1}, "workers"),
    ):
        with pytest.raises(ConfigError, match=message):
            Shapes(**fields)
