import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops.draws import Draws
from jaxemb.views.crops import LUMA, CropViews, luma

STILL = CropViews(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter=0.0, grey=0.0)
"""Every view is the image."""


def images(n=2, size=8, channels=3, dtype="float32"):
    return jax.random.normal(jax.random.key(0), (n, size, size, channels), dtype)


def seeds(views, n=2, seed=0):
    return jnp.asarray(views.seeds(Draws((seed,), n)))


def replace(views, **fields):
    return type(views)(**{**views.__dict__, **fields})


def test_without_changes_a_view_is_the_image():
    out = STILL(images(), seeds(STILL))
    assert out.shape == (2, 2, 8, 8, 3)
    for view in (0, 1):
        np.testing.assert_array_equal(out[:, view], images())


def test_a_seed_fixes_a_view_whatever_stands_beside_it():
    views = CropViews()
    x, s = images(3), seeds(views, 3)
    out = jax.jit(views.__call__)(x, s)
    np.testing.assert_allclose(jax.jit(views.__call__)(x[::-1], s[::-1]), out[::-1], rtol=1e-5, atol=1e-5)
    assert (np.abs(np.asarray(out[:, 0] - out[:, 1])).max((1, 2, 3)) > 0.01).all()
    np.testing.assert_array_equal(views.seeds(Draws((0,), 3)), s)


def test_flip_and_grey():
    x = images()
    np.testing.assert_array_equal(replace(STILL, flip=1.0)(x, seeds(STILL))[:, 0], x[:, :, ::-1])
    grey = replace(STILL, grey=1.0, mean=(0.0,), std=(1.0,))(x, seeds(STILL))
    np.testing.assert_allclose(grey, jnp.broadcast_to(grey[..., :1], grey.shape), rtol=1e-5)
    np.testing.assert_allclose(grey[0, 0, 0, 0, 0], np.dot(np.asarray(x[0, 0, 0]), LUMA), rtol=1e-5)


def test_colours_change_pixels_not_normalised_numbers():
    """A black image stays black under any brightness, contrast and saturation, however it is normalised."""
    views = replace(STILL, jitter=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    black = -np.array(views.mean) / np.array(views.std)
    x = jnp.asarray(np.broadcast_to(black, (2, 4, 4, 3)), jnp.float32)
    np.testing.assert_allclose(views(x, seeds(views)), np.broadcast_to(x[:, None], (2, 2, 4, 4, 3)), rtol=1e-5)


def test_brightness_is_a_factor_and_contrast_keeps_the_mean():
    x = jnp.asarray(np.random.default_rng(0).uniform(0.3, 0.5, (1, 4, 4, 3)), jnp.float32)
    plain = replace(STILL, jitter=1.0, mean=(0.0,), std=(1.0,), brightness=0.0, contrast=0.0, saturation=0.0)
    s = seeds(plain, 1)
    ratio = replace(plain, brightness=0.4)(x, s)[:, 0] / x
    assert float(ratio.std()) < 1e-5 and 0.6 <= float(ratio.mean()) <= 1.4 and abs(float(ratio.mean()) - 1) > 1e-3
    y = replace(plain, contrast=0.4)(x, s)[0, 0]
    assert float(luma(y).mean()) == pytest.approx(float(luma(x[0]).mean()), rel=1e-5)
    assert 0.5 < float(y.std() / x.std()) < 1.5
    z = replace(plain, saturation=0.4)(x, s)[0, 0]
    np.testing.assert_allclose(luma(z), luma(x[0]), rtol=1e-5)


def test_a_crop_of_a_ramp_is_a_ramp_between_its_borders():
    views = replace(STILL, scale=(0.25, 0.25))
    ramp = jnp.broadcast_to(jnp.arange(16.0)[None, None, :, None] + 0.5, (1, 16, 16, 1))
    row = np.asarray(views(ramp, seeds(views, 1)))[0, 0, 8, :, 0]
    np.testing.assert_allclose(np.diff(row[1:-1]), 0.5, atol=1e-3)  # a quarter of the area: half of the pixels over all of them
    key = jax.random.split(jax.random.key(seeds(views, 1)[0, 0]), 3)[0]
    _, left, h, w = views.box(key, 16, 16)
    assert (float(h), float(w)) == pytest.approx((8.0, 8.0), rel=1e-6)
    assert row[3] == pytest.approx(float(left) + 8 * 3.5 / 16, abs=1e-3)


def test_boxes_lie_inside_and_have_the_area_and_the_shape_asked_for():
    views = CropViews()
    top, left, h, w = jax.vmap(lambda k: jnp.stack(views.box(k, 20, 12)))(jax.random.split(jax.random.key(0), 500)).T
    for low, length, full in ((top, h, 20), (left, w, 12)):
        assert float(low.min()) >= 0 and float((low + length).max()) <= full * (1 + 1e-5)
    share, ratio = h * w / 240, w / h
    assert float(share.min()) >= 0.199 and float(share.max()) <= 1.0
    assert float(ratio.min()) >= 0.749 and float(ratio.max()) <= 4 / 3 * 1.001


def test_a_size_of_its_own_one_channel_and_half_precision():
    views = CropViews(count=3, size=4)
    assert jax.jit(views.__call__)(images(channels=1), seeds(views)).shape == (2, 3, 4, 4, 1)
    half = jax.jit(views.__call__)(images(dtype="bfloat16"), seeds(views))
    assert half.dtype == jnp.bfloat16 and bool(jnp.isfinite(half.astype(jnp.float32)).all())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 0}, "count and size must be at least 1"),
        ({"scale": (0.5, 0.2)}, "scale must be two rising shares"),
        ({"ratio": (0.0, 1.0)}, "ratio must be two rising numbers"),
        ({"flip": 1.5}, "views.flip is a chance"),
        ({"contrast": -0.1}, r"views.contrast must lie in \[0, 1\], is -0.1"),
        ({"mean": (1.0, 1.0), "std": (1.0,)}, "views.std must have as many numbers as mean"),
        ({"std": (1.0,)}, "go together"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        CropViews(**fields)


def test_statistics_must_fit_the_channels():
    with pytest.raises(ConfigError, match="have 3 numbers, but images 2 channels"):
        CropViews(mean=(0.5,) * 3, std=(0.5,) * 3)(images(channels=2), seeds(CropViews()))
