import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.none import NoPos
from jaxemb.posemb.reuse import Grouped, Recurrent
from jaxemb.posemb.rotary import Rotary

TABLE = jnp.asarray(np.arange(4, dtype=np.float32)[:, None].repeat(3, 1))


def line(n):
    return jnp.asarray(np.arange(n, dtype=np.int32)[None, :, None])


def cells(rows, columns):
    return jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), axis=-1).reshape(1, -1, 2)


def located(posemb, pos, **known):
    return posemb.apply({}, Places(pos, **known), method="locate")[0]


def rows(posemb, pos, grid=None):
    """The numbers of the rows that are added."""
    at = Places(pos, grid=grid)
    at = at.at(posemb.apply({}, at, method="locate"))
    return posemb.apply({"params": {"table": TABLE}}, jnp.zeros((1, pos.shape[1], 3)), at, method="add")[0, :, 0]


def test_each_row_is_used_s_times_in_a_run():
    np.testing.assert_array_equal(rows(Grouped(of=Learned(shape=(4,)), factor=3), line(12), (12,)), np.repeat(np.arange(4), 3))
    np.testing.assert_array_equal(rows(Grouped(of=Learned(shape=(4,)), factor=3), line(11), (11,)), np.arange(11) // 3)


def test_rows_repeat_with_the_training_length():
    np.testing.assert_array_equal(rows(Recurrent(of=Learned(shape=(4,)), original=4), line(10), (10,)), np.arange(10) % 4)
    np.testing.assert_array_equal(rows(Recurrent(of=Learned(shape=(4,)), original=4), line(3), (3,)), [0, 1, 2])


def test_original_leaves_short_inputs_alone_and_the_factor_follows_from_the_grid():
    for posemb, s in ((Grouped(of=NoPos(), factor=4, original=6), 4), (Grouped(of=NoPos(), factor=None, original=6), 2)):
        np.testing.assert_array_equal(located(posemb, line(6), grid=(6,)), line(6)[0])
        np.testing.assert_array_equal(located(posemb, line(7), grid=(7,)), line(7)[0] // s)


def test_short_texts_are_left_alone_in_a_row_of_several():
    pos, allow = jnp.concatenate([line(7), line(6)], axis=1), Allow(segments=jnp.array([[1] * 7 + [2] * 6]))
    for posemb, s in ((Grouped(of=NoPos(), factor=4, original=6), 4), (Grouped(of=NoPos(), factor=None, original=6), 2)):
        got = located(posemb, pos, allow=allow)
        assert got.dtype == jnp.int32
        np.testing.assert_array_equal(got[:, 0], [*(np.arange(7) // s), *range(6)])


def test_each_axis_of_a_grid_has_its_own():
    pos = cells(2, 6)
    np.testing.assert_array_equal(located(Grouped(of=NoPos(), factor=(1, 3)), pos), pos[0] // jnp.array([[1, 3]]))
    own = Grouped(of=NoPos(), factor=None, original=(2, 2))
    np.testing.assert_array_equal(located(own, pos, grid=(2, 6)), pos[0] // jnp.array([[1, 3]]))
    np.testing.assert_array_equal(located(Recurrent(of=NoPos(), original=(2, 4)), pos), pos[0] % jnp.array([[2, 4]]))
    np.testing.assert_array_equal(located(Recurrent(of=NoPos(), original=2), pos), pos[0] % 2)


def test_a_grid_that_is_not_square_reads_a_square_table():
    table = Learned(shape=(2, 2))
    np.testing.assert_array_equal(rows(Grouped(of=table, factor=(1, 3)), cells(2, 6), (2, 6)), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    np.testing.assert_array_equal(rows(Recurrent(of=table, original=2), cells(2, 3), (2, 3)), [0, 1, 0, 2, 3, 2])


def test_both_together():
    """The outer one comes first: pairs share a position, and those start again after two."""
    both = Grouped(of=Recurrent(of=Learned(shape=(4,)), original=2), factor=2)
    np.testing.assert_array_equal(rows(both, line(8), (8,)), [0, 0, 1, 1, 0, 0, 1, 1])


def test_rotary_positions_are_grouped_too():
    grouped = Grouped(of=Rotary(), factor=2)
    pos = grouped.apply({}, Places(line(6)), method="locate")
    got = grouped.apply({}, Places(pos), heads=1, width=4, method="prepare").angles
    for a, b in zip(got, Rotary().angles(Places(jnp.array([[[0], [0], [1], [1], [2], [2]]])), 4), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grouped(factor=0), "Grouped.factor=0 must be at least 1"),
        (lambda: Grouped(factor=2.5), "Grouped.factor=2.5 must be whole"),
        (lambda: Grouped(factor=(2, 1.5)), r"Grouped.factor=\(2, 1.5\) must be whole"),
        (lambda: Grouped(factor=None), "Grouped: factor=None takes the factor from `original`, which is not given"),
        (lambda: Grouped(original=0), "Grouped.original=0 must be at least 1"),
        (lambda: Recurrent(original=0), "Recurrent.original=0 must be at least 1"),
        (lambda: Recurrent(original=(4, 0)), r"Recurrent.original=\(4, 0\) must be at least 1"),
    ],
)
def test_bad_fields(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_inputs_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match=r"factor=\(2, 2\) has 2 numbers, positions have 1"):
        located(Grouped(of=NoPos(), factor=(2, 2)), line(4))
    with pytest.raises(ConfigError, match=r"Recurrent.original=\(2, 2, 2\) has 3 numbers, positions have 2"):
        located(Recurrent(of=NoPos(), original=(2, 2, 2)), cells(2, 2))
    with pytest.raises(ConfigError, match="factor=None needs an encoder that knows the size of its input"):
        located(Grouped(of=NoPos(), factor=None, original=4), line(4))
    with pytest.raises(ConfigError, match="has no rows for an input of 5 positions"):
        rows(Grouped(of=Learned(shape=(4,)), factor=2), line(9), (9,))
