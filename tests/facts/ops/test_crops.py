"""One formula for the crops of host and device."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.augment import RandomResizedCrop
from jaxemb.ops.crops import crop_sides
from jaxemb.views.crops import CropViews


def test_area_and_ratio_are_those_that_were_drawn():
    u, v = np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 1.0])
    h, w = crop_sides(np, u, v, 20, 10, (0.2, 1.0), (0.5, 2.0))
    np.testing.assert_allclose(h * w, [40, 120, 200], rtol=1e-12)
    np.testing.assert_allclose(w / h, [0.5, 1.0, 2.0], rtol=1e-12)


def test_host_and_device_are_the_same_function():
    u, v = np.random.default_rng(0).random((2, 50)).astype(np.float32)
    host = crop_sides(np, u, v, 32, 48, (0.08, 1.0), (3 / 4, 4 / 3))
    device = crop_sides(jnp, jnp.asarray(u), jnp.asarray(v), 32, 48, (0.08, 1.0), (3 / 4, 4 / 3))
    np.testing.assert_allclose(host, device, rtol=1e-6)


@pytest.mark.parametrize("kind, prefix", [(RandomResizedCrop, "augment."), (CropViews, "views.")])
def test_what_cannot_be_drawn_is_named(kind, prefix):
    for scale in ((0.0, 1.0), (0.5, 0.2), (0.5, 1.5), (float("nan"), 1.0)):
        with pytest.raises(ConfigError, match=rf"{prefix}scale must be two rising shares in \(0, 1\], not"):
            kind(scale=scale)
    for ratio in ((0.0, 1.0), (2.0, 1.0), (1.0, float("inf"))):
        with pytest.raises(ConfigError, match=f"{prefix}ratio must be two rising numbers above 0, not"):
            kind(ratio=ratio)
