"""Dropout by a hash of the place: the share, the scale, and numbers that know nothing of one another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import full
from flax import linen as nn

from jaxemb.layers.feedforward import dropped, mix


class Layer(nn.Module):
    rate: float
    train: bool = True

    @nn.compact
    def __call__(self, x):
        return dropped(x, self.rate, self.train)


def applied(rate, x, seed=0, train=True):
    return np.asarray(Layer(rate, train).apply({}, x, rngs={"dropout": jax.random.key(seed)}))


def test_a_share_of_the_features_is_zero_and_the_rest_keeps_the_mean():
    y = applied(0.3, full(2.0, 300, 101))
    kept = y != 0
    assert abs(kept.mean() - 0.7) < 0.01 and y[kept] == pytest.approx(2 / 0.7, rel=1e-4)


def test_what_is_kept_says_nothing_of_its_neighbours_nor_of_another_key():
    x = full(1.0, 128, 16, 64)
    kept, other = (applied(0.5, x, seed) != 0 for seed in (0, 1))
    spread = 1 / np.sqrt(kept.size)
    for axis in range(3):
        for shift in (1, 2, 8):
            assert abs(np.corrcoef(kept.reshape(-1), np.roll(kept, shift, axis).reshape(-1))[0, 1]) < 5 * spread, (axis, shift)
    assert abs(np.corrcoef(kept.reshape(-1), other.reshape(-1))[0, 1]) < 5 * spread
    for axes in ((0, 1), (0, 2), (1, 2)):  # sums over lines scatter as those of coins
        sums = kept.sum(axes)
        assert 0.4 < sums.var() / (kept.size / sums.size / 4) < 2.5 if sums.size > 20 else True


def test_every_bit_of_the_hash_depends_on_every_bit():
    x = np.random.default_rng(0).integers(0, 2**32, 4096, dtype=np.uint32)
    flipped = np.stack([np.asarray(mix(jnp.asarray(x))) ^ np.asarray(mix(jnp.asarray(x ^ np.uint32(1 << i)))) for i in range(32)])
    shares = np.stack([((flipped >> np.uint32(j)) & 1).mean(1) for j in range(32)])
    assert 0.35 < shares.min() and shares.max() < 0.65
    assert len(np.unique(np.asarray(mix(jnp.arange(2**16, dtype=jnp.uint32) * 7)))) == 2**16


def test_a_row_of_a_batch_has_numbers_of_its_own_on_every_mesh():
    """A device counts the rows that it has, and makes no array of all numbers."""
    x = full(1.0, 8, 3, 5)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    cut = jax.NamedSharding(mesh, jax.P("data"))
    run = jax.jit(lambda x: Layer(0.5).apply({}, x, rngs={"dropout": jax.random.key(0)}), in_shardings=cut, out_shardings=cut)
    assert np.array_equal(run(x), applied(0.5, x))
    assert not any(word in run.lower(x).compile().as_text() for word in ("all-gather", "all-reduce", "u32[8,3,5]"))


def test_nothing_is_drawn_where_nothing_is_dropped():
    x = full(2.0, 3, 4)
    assert np.array_equal(Layer(0.0).apply({}, x), x) and np.array_equal(applied(0.5, x, train=False), x)
    assert np.isfinite(applied(1 - 1e-9, x)).all()


def test_it_computes_in_the_dtype_of_its_input():
    y = Layer(0.5).apply({}, jnp.ones((4, 6), jnp.bfloat16), rngs={"dropout": jax.random.key(0)})
    assert y.dtype == jnp.bfloat16 and set(np.unique(np.asarray(y, np.float32))) == {0, 2}
