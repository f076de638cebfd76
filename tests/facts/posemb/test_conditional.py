import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.stem import patch_positions
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places
from jaxemb.posemb.conditional import Conditional

GRID = (3, 4)
ALL = Allow()
POS = patch_positions(jnp.arange(12)[None], 4)
KERNEL = normal(1, 3, 3, 1, 2)
PARAMS = {"params": {"conv_0": {"kernel": KERNEL, "bias": jnp.array([0.5, -1.0])}}}
X = normal(2, 2, 12, 2)


def after(x, pos, grid=GRID, params=PARAMS, module=None, layer=0, allow=ALL):
    return (module or Conditional()).apply(params, x, layer, Places(pos, grid=grid, allow=allow), method="after_block")


def by_hand(x):
    """Windows of an image that is surrounded by zeros."""
    padded = np.pad(np.asarray(x).reshape(-1, *GRID, 2), ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((len(padded), *GRID, 2))
    for r in range(GRID[0]):
        for c in range(GRID[1]):
            out[:, r, c] = (padded[:, r : r + 3, c : c + 3] * np.asarray(KERNEL)[:, :, 0]).sum((1, 2))
    return np.asarray(x) + out.reshape(x.shape) + np.array([0.5, -1.0])


def test_all_patches_are_a_plain_convolution_with_zeros_around():
    np.testing.assert_allclose(after(X, POS), by_hand(X), rtol=1e-5, atol=1e-5)


def test_cells_without_a_token_count_as_zeros():
    keep = jnp.array([7, 0, 6])
    whole = jnp.zeros_like(X).at[:, keep].set(X[:, keep])
    np.testing.assert_allclose(after(X[:, keep], POS[:, keep]), by_hand(whole)[:, keep], rtol=1e-5, atol=1e-5)


def test_padding_is_not_seen_by_its_neighbours():
    keep, mask = jnp.array([7, 0, 6]), jnp.array([[True, True, False]] * 2)
    out = after(X[:, keep], POS[:, keep], allow=Allow(mask))
    np.testing.assert_allclose(out[:, :2], after(X[:, keep[:2]], POS[:, keep[:2]]), rtol=1e-5, atol=1e-5)


def test_sequences_have_a_window_of_tokens():
    params = {"params": {"conv_0": {"kernel": jnp.array([1.0, 10.0, 100.0])[:, None, None], "bias": jnp.zeros(1)}}}
    out = after(jnp.array([[[1.0], [2.0], [3.0]]]), jnp.arange(3)[None, :, None], (3,), params)
    np.testing.assert_allclose(out[0, :, 0], [1 + 210, 2 + 321, 3 + 32])


def test_only_after_the_layers_named(key):
    module = Conditional(layers=(0, 2))
    assert after(X, POS, layer=1) is X

    def both(module, x):
        at = Places(POS, grid=GRID)
        return module.after_block(module.after_block(x, 0, at), 2, at)

    params = module.init(key, X, method=both)["params"]
    assert set(params) == {"conv_0", "conv_2"}
    assert params["conv_2"]["kernel"].shape == (3, 3, 1, 2) and params["conv_2"]["bias"].shape == (2,)


@pytest.mark.parametrize("outside", [[3, 0], [0, 4], [-1, 0]])
def test_positions_outside_are_nan_and_touch_nobody(outside):
    out = after(X[:, :2], jnp.array([[[0, 0], outside]]))
    assert jnp.isnan(out[:, 1]).all()
    np.testing.assert_allclose(out[:, :1], after(X[:, :1], POS[:, :1]), rtol=1e-5, atol=1e-5)


def test_what_it_needs_is_named():
    with pytest.raises(ConfigError, match="convolves over the grid of the input"):
        after(X, POS, None)
    with pytest.raises(ConfigError, match="on a grid of 2 axes, not positions of 2 numbers of float32"):
        after(X, POS.astype(jnp.float32))
    with pytest.raises(ConfigError, match="on a grid of 1 axes"):
        after(X, POS, (12,))
    with pytest.raises(ConfigError, match="Conditional cannot do causal attention: its convolution mixes neighbours"):
        after(X, POS, allow=Allow(causal=True))
    with pytest.raises(ConfigError, match=r"Conditional cannot do texts packed into one row \(segments\): its convolution"):
        after(X, POS, None, allow=Allow(segments=jnp.zeros((2, 12), jnp.int32)))
    with pytest.raises(ConfigError, match="kernel=4 must be odd"):
        Conditional(kernel=4)
    with pytest.raises(ConfigError, match=r"layers=\(-1,\) must name layers"):
        Conditional(layers=(-1,))
