import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places
from jaxemb.posemb.learned import Learned, resample


def test_adds_the_row_of_the_cell():
    table = jnp.arange(12.0)[:, None] * jnp.ones((1, 4))
    pos = jnp.array([[[0, 0], [0, 3], [2, 1]]])  # cells of a 3 x 4 grid, row by row
    out = Learned(shape=(3, 4)).apply({"params": {"table": table}}, jnp.zeros((1, 3, 4)), Places(pos), method="add")
    np.testing.assert_array_equal(out[0, :, 0], [0, 3, 9])


def test_shape_and_spread_of_the_table(key):
    params = Learned(shape=(20, 20)).init(key, jnp.zeros((1, 1, 64)), Places(jnp.zeros((1, 1, 2), jnp.int32)), method="add")[
        "params"
    ]
    assert params["table"].shape == (400, 64)
    assert float(params["table"].std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("outside", [[[3, 0]], [[0, 4]], [[-1, 0]]])
def test_positions_outside_are_nan_not_the_last_row(outside):
    params = {"params": {"table": jnp.ones((12, 4))}}
    pos = jnp.array([[[0, 0], *outside]])
    out = Learned(shape=(3, 4)).apply(params, jnp.zeros((1, 2, 4)), Places(pos), method="add")
    assert jnp.isfinite(out[0, 0]).all() and jnp.isnan(out[0, 1]).all()


def test_a_table_may_begin_with_rows_that_no_token_reads():
    """Position -1, that of padding, is the last of them; what is left of the table is what an input may have."""
    table = jnp.arange(6.0)[:, None]
    posemb = Learned(shape=(6,), first=2)
    np.testing.assert_array_equal(add(posemb, table, [[0], [3], [-1], [4]], grid=(4,))[:, 0], [2, 5, 1, np.nan])
    np.testing.assert_array_equal(add(posemb, table, [[0.5]])[:, 0], [2.5])
    with pytest.raises(ConfigError, match="has no rows for an input of 5 positions"):
        add(posemb, table, [[0]], grid=(5,))


def test_only_rows_in_use_get_a_gradient():
    def total(table):
        pos = jnp.array([[[0], [2]]])
        return Learned(shape=(4,)).apply({"params": {"table": table}}, jnp.zeros((1, 2, 3)), Places(pos), method="add").sum()

    np.testing.assert_array_equal(jax.grad(total)(jnp.zeros((4, 3)))[:, 0], [1, 0, 1, 0])


def test_wrong_positions_are_named():
    x = jnp.zeros((1, 2, 4))
    with pytest.raises(ConfigError, match=r"Learned\(shape=\(3, 4\)\) was given positions of 1 numbers"):
        Learned(shape=(3, 4)).apply(
            {"params": {"table": jnp.ones((12, 4))}}, x, Places(jnp.zeros((1, 2, 1), jnp.int32)), method="add"
        )


def add(posemb, table, pos, grid=None):
    x = jnp.zeros((1, len(pos), table.shape[1]))
    return posemb.apply({"params": {"table": table}}, x, Places(jnp.asarray([pos]), grid=grid), method="add")[0]


def test_real_positions_lie_between_the_rows():
    table = jnp.array([[0.0], [10.0], [40.0]])
    line = Learned(shape=(3,))
    np.testing.assert_allclose(add(line, table, [[0.0], [0.5], [1.25], [2.0]])[:, 0], [0, 5, 17.5, 40])
    # From the last row to one beyond it: the last row, or the last slope.
    np.testing.assert_allclose(add(line, table, [[2.5], [3.0], [-0.1]])[:, 0], [40, np.nan, np.nan])
    np.testing.assert_allclose(add(Learned(shape=(3,), tail="extrapolate"), table, [[2.5]])[:, 0], [55])
    cells = jnp.array([[0.0], [1.0], [10.0], [13.0]])  # bilinear on 2 x 2
    np.testing.assert_allclose(add(Learned(shape=(2, 2)), cells, [[0.5, 0.0], [0.5, 0.5], [1.0, 0.5]])[:, 0], [5, 6, 11.5])


def test_a_larger_grid_is_refused_or_resampled():
    table = jnp.arange(12.0)[:, None] * jnp.ones((1, 2))
    with pytest.raises(
        ConfigError, match=r"Learned\(shape=\(3, 4\)\) has no rows for an input of 6 x 8 positions; name an extension"
    ):
        add(Learned(shape=(3, 4)), table, [[5, 7]], grid=(6, 8))
    resampled = Learned(shape=(3, 4), extend="resample")
    with pytest.raises(ConfigError, match="resizes its table to the grid of the input, which is not known here"):
        add(resampled, table, [[0, 0]])
    out = add(resampled, table, [[5, 7], [0, 0], [3, 4]], grid=(6, 8))
    assert jnp.isfinite(out).all() and float(out[0, 0]) > float(out[2, 0]) > float(out[1, 0])
    np.testing.assert_array_equal(add(resampled, table, [[2, 3]], grid=(3, 4))[:, 0], [11])  # its own grid: the table itself
    np.testing.assert_allclose(add(resampled, jnp.ones((12, 2)), [[6, 3]], grid=(7, 5)), 1.0, rtol=1e-6)  # a constant stays one


def test_images_of_one_batch_may_have_grids_of_their_own():
    table = normal(0, 12, 2)
    module = Learned(shape=(3, 4), extend="bilinear")
    together = add(module, table, [[1, 2, 5, 3], [0, 0, 5, 3], [4, 1, 5, 3]])
    np.testing.assert_allclose(together, add(module, table, [[1, 2], [0, 0], [4, 1]], grid=(5, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(add(module, table, [[2, 1, 3, 4]]), table[None, 9], rtol=1e-6)  # its own grid: the table itself
    with pytest.raises(ConfigError, match="was given positions of 4 numbers"):
        add(Learned(shape=(3, 4)), table, [[1, 2, 5, 3]])


@pytest.mark.parametrize("n", [3, 6])
def test_a_table_is_not_resampled_to_padded_texts(n):
    """It would be resized to the longest text of the batch."""
    padded = Places(jnp.arange(n)[None, :, None], grid=(n,), allow=Allow(jnp.arange(n)[None] < 2))
    with pytest.raises(
        ConfigError, match=r"Learned\(shape=\(3,\), extend='resample'\) resizes its table to the length of the row, padding"
    ):
        Learned(shape=(3,), extend="resample").init(jax.random.key(0), jnp.zeros((1, n, 2)), padded, method="add")


def test_resampling_a_linear_slope_keeps_it_inside():
    """Bicubic interpolation reproduces straight lines, away from the border: pixel centres of 8 cells on 16."""
    table = jnp.arange(8.0)[:, None]
    fine = resample(table, (8,), (16,))[:, 0]
    np.testing.assert_allclose(fine[5:11], (np.arange(5, 11) + 0.5) / 2 - 0.5, atol=1e-5)
    coarse = resample(table, (8,), (4,))[:, 0]  # antialiased: the mean over what a coarse cell covers
    np.testing.assert_allclose(coarse[1:3], [2.5, 4.5], atol=0.2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": ()}, "must have a number of at least 1 for each axis"),
        ({"shape": (0, 3)}, "must have a number of at least 1 for each axis"),
        ({"shape": (4,), "first": 4}, r"Learned.first=4 must be a row of shape=\(4,\)"),
        ({"first": 1, "extend": "resample"}, "Learned.first=1 must be .* 0 where a table is resized"),
        ({"extend": "stretch"}, "Learned.extend='stretch'; valid: None, bicubic, bilinear, resample"),
        ({"tail": "wrap"}, "Learned.tail='wrap'; valid: clamp, extrapolate"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigError, match=message):
        Learned(**fields)
