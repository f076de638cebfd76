import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places
from jaxemb.posemb.relative import RelativeBuckets, RelativeGrid


def cells(rows, columns):
    return jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), axis=-1).reshape(1, -1, 2)


# ---- T5 --------------------------------------------------------------------------------------------------------------------------


def published(distance, side, max_distance):
    """T5's rule for one direction, in 64 bits."""
    near = side // 2
    far = near + np.floor(np.log(np.maximum(distance, 1) / near) / np.log(max_distance / near) * (side - near) + 1e-9)
    return np.where(distance < near, distance, np.minimum(far, side - 1))


@pytest.mark.parametrize(("buckets", "longest"), [(32, 128), (16, 50), (4, 9)])
def test_buckets_are_those_of_the_published_rule(buckets, longest):
    distance = np.arange(300)
    both = RelativeBuckets(buckets=buckets, max_distance=longest)
    expected = published(distance, buckets // 2, longest)
    np.testing.assert_array_equal(both.bucket(jnp.asarray(-distance)), expected)
    np.testing.assert_array_equal(both.bucket(jnp.asarray(distance[1:])), expected[1:] + buckets // 2)
    before = RelativeBuckets(buckets=buckets, max_distance=longest, causal=True)
    np.testing.assert_array_equal(before.bucket(jnp.asarray(-distance)), published(distance, buckets, longest))
    np.testing.assert_array_equal(before.bucket(jnp.asarray(distance)), 0)


def test_buckets_at_powers_are_those_of_float32():
    """Where the exact value is whole, what the logarithms of published code are rounded to decides (numbers of torch 2.13):
    15 = 9 (25/9)^(5/10) is still in the bucket before. Odd halves are rounded down."""
    bucket = RelativeBuckets(buckets=38, max_distance=25).bucket
    expected = [8, 9, 10, 10, 11, 12, 13, 13, 14, 15, 15, 16, 16, 17, 17, 18, 18, 18, 18]
    np.testing.assert_array_equal(bucket(-jnp.arange(8, 27)), expected)
    odd = RelativeBuckets(buckets=10, max_distance=16).bucket
    np.testing.assert_array_equal(odd(-jnp.arange(17)), [0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4])
    assert odd(jnp.asarray(1)) == 5 + 1


def test_some_buckets_by_hand():
    """16 a side: 0 ... 7 exactly, then 8 + floor(2 log2(distance / 8))."""
    offset = jnp.array([0, -7, -8, -11, -12, -16, -32, -64, -127, -128, -10_000, 1, 8, 200])
    np.testing.assert_array_equal(RelativeBuckets().bucket(offset), [0, 7, 8, 8, 9, 10, 12, 14, 15, 15, 15, 17, 24, 31])


def test_bias_is_the_row_of_the_bucket(key):
    module = RelativeBuckets()
    at = Places(jnp.array([[[3], [4], [50]]]))
    params = module.init(key, at, at, 2, method="bias")
    table = params["params"]["table"]
    assert table.shape == (32, 2) and float(table.std()) == pytest.approx(0.02, rel=0.4)
    bias = module.apply(params, at, at, 2, method="bias")
    np.testing.assert_array_equal(bias[0, :, 0, 1], table[17])  # one ahead
    np.testing.assert_array_equal(bias[0, :, 1, 0], table[1])  # one behind
    np.testing.assert_array_equal(bias[0, :, 2, 0], table[13])  # 47 behind


def test_wrong_buckets_and_positions_are_named():
    with pytest.raises(ConfigError, match="buckets must be at least 4, is 3"):
        RelativeBuckets(buckets=3)
    with pytest.raises(ConfigError, match="buckets must be at least 2, is 1"):
        RelativeBuckets(buckets=1, causal=True)
    with pytest.raises(ConfigError, match="max_distance=8 must be above 8"):
        RelativeBuckets(max_distance=8)
    with pytest.raises(ConfigError, match="positions of 2 numbers; it is for sequences"):
        RelativeBuckets().init(jax.random.key(0), Places(cells(2, 2)), Places(cells(2, 2)), 2, method="bias")


# ---- Swin ------------------------------------------------------------------------------------------------------------------------


def grid_bias(module, table, pos, **known):
    def run(module, pos):
        pos = module.locate(Places(pos, **known))
        shared = module.prepare(Places(pos), heads=table.shape[1], width=4)
        return module.layer_bias(jnp.zeros((pos.shape[0], pos.shape[1], table.shape[1], 4)), shared)

    return module.apply({"params": {"table": table}}, pos, method=run)


def test_every_offset_has_its_row():
    """R, C = 2, 3: 3 x 5 offsets; query minus key, row by row."""
    table = jnp.arange(15.0)[:, None]
    bias = grid_bias(RelativeGrid(shape=(2, 3)), table, cells(2, 3))[0, 0]
    assert bias[0, 0] == bias[4, 4] == 7  # the middle
    assert bias[0, 5] == 0 and bias[5, 0] == 14  # the corners
    assert bias[0, 1] == 6 and bias[0, 3] == 2
    assert len(np.unique(bias)) == 15


def test_a_smaller_grid_uses_the_middle_of_the_table():
    table = normal(0, 49, 3)
    module = RelativeGrid(shape=(4, 4))
    whole = grid_bias(module, table, cells(4, 4), grid=(4, 4)).reshape(3, 4, 4, 4, 4)
    part = grid_bias(module, table, cells(2, 3), grid=(2, 3)).reshape(3, 2, 3, 2, 3)
    np.testing.assert_array_equal(part, whole[:, :2, :3, :2, :3])


def test_resampling_keeps_the_corners_and_is_linear_between():
    module = RelativeGrid(shape=(2, 2), extend="resample")
    table = normal(0, 9, 1)
    bias = grid_bias(module, table, cells(3, 3), grid=(3, 3))[0, 0].reshape(3, 3, 3, 3)
    t = table.reshape(3, 3)
    np.testing.assert_allclose(bias[0, 0, 2, 2], t[0, 0], rtol=1e-6)
    np.testing.assert_allclose(bias[2, 2, 0, 0], t[2, 2], rtol=1e-6)
    np.testing.assert_allclose(bias[1, 1, 1, 1], t[1, 1], rtol=1e-6)
    np.testing.assert_allclose(bias[0, 0, 1, 0], (t[0, 1] + t[1, 1]) / 2, rtol=1e-6)
    np.testing.assert_allclose(bias[0, 0, 1, 1], t[:2, :2].mean(), rtol=1e-6)


def test_resampling_to_the_same_grid_changes_nothing():
    table = normal(0, 25, 2)
    same = grid_bias(RelativeGrid(shape=(3, 3), extend="resample"), table, cells(3, 3), grid=(3, 3))
    np.testing.assert_array_equal(same, grid_bias(RelativeGrid(shape=(3, 3)), table, cells(3, 3)))


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float32])
def test_offsets_outside_the_table_are_nan(dtype):
    bias = grid_bias(RelativeGrid(shape=(2, 2)), jnp.ones((9, 1)), jnp.array([[[0, 0], [1, 1], [2, 0]]], dtype))[0, 0]
    np.testing.assert_array_equal(jnp.isnan(bias), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])


def test_prefix_tokens_get_no_bias_and_every_layer_has_a_table():
    module = RelativeGrid(shape=(2, 2), extend="resample")
    for pos in (cells(2, 2), cells(2, 2).astype(jnp.float32)):
        shared = module.prepare(Places(pos), heads=1, width=4, prefix=1)
        bias = module.apply({"params": {"table": jnp.ones((9, 1))}}, jnp.zeros((1, 5, 1, 4)), shared, method="layer_bias")[0, 0]
        assert (bias[0] == 0).all() and (bias[:, 0] == 0).all()
        np.testing.assert_allclose(bias[1:, 1:], 1, rtol=1e-6)


def test_wrong_grids_are_named():
    with pytest.raises(ConfigError, match=r"no offsets for an input of 3 x 2 cells.*extend=.resample"):
        RelativeGrid(shape=(2, 2)).locate(Places(cells(3, 2), grid=(3, 2)))
    with pytest.raises(ConfigError, match="was given positions of 1 numbers"):
        RelativeGrid().prepare(Places(jnp.zeros((1, 2, 1), jnp.int32)), heads=1, width=4)
    with pytest.raises(ConfigError, match="squeezes the grid of the input into its shape, and it is not known here"):
        RelativeGrid(extend="resample").locate(Places(cells(3, 2)))
    with pytest.raises(ConfigError, match=r"shape=\(0, 2\) must be rows and columns"):
        RelativeGrid(shape=(0, 2))
    with pytest.raises(ConfigError, match="extend='crop'; valid: None, resample"):
        RelativeGrid(extend="crop")
