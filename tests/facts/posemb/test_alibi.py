import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.allow import Allow
from jaxemb.posemb.alibi import ALiBi, slopes
from jaxemb.posemb.base import Places


def test_slopes_of_a_power_of_two():
    assert slopes(8) == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert slopes(1) == [1 / 256]


def test_other_numbers_of_heads_take_every_second_slope_of_twice_as_many():
    assert slopes(12) == pytest.approx([2**-i for i in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])
    assert slopes(3) == pytest.approx([2**-4, 2**-8, 2**-2])


def test_falls_by_the_slope_a_step_in_both_directions():
    at = Places(jnp.array([[[0], [1], [5]]]))
    bias = ALiBi().bias(at, at, 2)  # slopes 1/16 and 1/256
    np.testing.assert_allclose(bias[0, 0], -np.array([[0, 1, 5], [1, 0, 4], [5, 4, 0]]) / 16)
    np.testing.assert_allclose(bias[0, 1] * 16, bias[0, 0])


def test_depends_on_distances_alone_and_takes_real_positions():
    pos = jnp.array([[[0.0], [0.5], [2.25]]])
    at, moved = Places(pos), Places(pos + 7.0)
    np.testing.assert_allclose(ALiBi().bias(at, at, 4), ALiBi().bias(moved, moved, 4), atol=1e-6)
    assert float(ALiBi().bias(at, at, 1)[0, 0, 0, 2]) == -2.25 / 256


def test_on_a_grid_the_distance_is_euclidean():
    at = Places(jnp.array([[[0, 0], [3, 4]]]))
    assert float(ALiBi().bias(at, at, 1)[0, 0, 0, 1]) == -5 / 256


def test_class_and_register_tokens_get_no_bias():
    shared = ALiBi().prepare(Places(jnp.array([[[0], [9]]])), heads=2, width=4, prefix=2)
    assert shared.bias.shape == (1, 2, 4, 4)
    assert (shared.bias[:, :, :2] == 0).all() and (shared.bias[:, :, :, :2] == 0).all() and shared.bias[0, 0, 2, 3] < 0


def test_a_steeper_head_looks_nearer():
    """With equal logits the weights of neighbours fall by e^-slope a step."""
    at = Places(jnp.arange(3)[None, :, None])
    q, v = jnp.zeros((1, 3, 2, 4)), jnp.broadcast_to(jnp.eye(3, 4)[None, :, None], (1, 3, 2, 4))
    weights = ALiBi().attend(q, q, v, ALiBi().prepare(at, heads=2, width=4), Allow())[0, 0]
    np.testing.assert_allclose(weights[:, 1] / weights[:, 0], np.exp([-1 / 16, -1 / 256]), rtol=1e-5)


def test_other_keys_than_queries():
    q, k = Places(jnp.array([[[2]]])), Places(jnp.array([[[0], [2], [6]]]))
    np.testing.assert_allclose(ALiBi().bias(q, k, 1)[0, 0] * 256, [[-2, 0, -4]])
