import numpy as np
import pytest

from jaxemb.metrics.collapse import image_share, mean_cosine, position_share, spread


def test_spread():
    assert spread(np.ones((5, 3))) == 0
    assert spread(np.array([[1.0, 0.0], [-1.0, 0.0]])) == 1
    z = np.random.default_rng(0).standard_normal((50, 4)) + 3
    assert 0 < spread(z) < 1 and spread(7 * z) == pytest.approx(spread(z))


def test_mean_cosine():
    assert mean_cosine(np.ones((5, 3))) == pytest.approx(1)
    assert mean_cosine(np.eye(4)) == pytest.approx(0)
    assert mean_cosine(np.array([[1.0, 0.0], [2.0, 0.0], [-3.0, 0.0]])) == pytest.approx(-1 / 3)  # of pairs 1, -1, -1


def test_the_share_of_the_place():
    rng = np.random.default_rng(0)
    place, own = rng.standard_normal((1, 6, 4)), rng.standard_normal((400, 6, 4))
    assert position_share(np.repeat(place, 10, 0)) == pytest.approx(1)
    assert position_share(own) < 0.02
    assert position_share(place - place.mean(1, keepdims=True) + own) == pytest.approx(
        place.var(1).sum() / (place.var(1).sum() + 4), rel=0.1
    )


def test_the_share_of_the_image():
    rng = np.random.default_rng(0)
    image, own = rng.standard_normal((6, 1, 4)), rng.standard_normal((6, 400, 4))
    assert image_share(np.repeat(image, 10, 1)) == pytest.approx(1)
    assert image_share(own) < 0.02
