import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import NTXent


def test_loss_by_hand_and_whatever_the_lengths():
    z = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    rows = (z / np.linalg.norm(z, axis=-1, keepdims=True)).reshape(6, 4)
    similarity = np.exp(rows @ rows.T / 0.5)
    losses = [-np.log(similarity[r, r ^ 1] / (similarity[r].sum() - similarity[r, r])) for r in range(6)]
    for scale in (1, 3):
        x, y = jnp.asarray(scale * z[:, 0]), jnp.asarray(scale * z[:, 1])
        assert float(call(NTXent(0.5), x, y).value) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_pair_that_is_kept_from_the_others_is_not_there():
    x, y = (normal(i, 4, 3) for i in range(2))
    keep = jnp.ones((4, 4), bool).at[:, 3].set(False)
    weights = jnp.array([1.0, 1.0, 1.0, 0.0])
    assert float(call(NTXent(), x, y, weights=weights, keep=keep).value) == pytest.approx(
        float(call(NTXent(), x[:3], y[:3]).value), rel=1e-5
    )


def test_equal_rows_give_the_logarithm_of_the_others():
    assert float(call(NTXent(), jnp.ones((4, 3)), jnp.ones((4, 3))).value) == pytest.approx(np.log(7), rel=1e-6)


def test_pairs_far_from_all_others_give_nothing():
    out = call(NTXent(0.05), 10 * jnp.eye(4), 10 * jnp.eye(4))
    assert float(out.value) == pytest.approx(0, abs=1e-6) and float(out.logs["accuracy"]) == 1


def test_gradient_is_finite_for_zeros_too():
    assert bool(jnp.isfinite(jax.jit(jax.grad(lambda z: NTXent()(z, z).value))(jnp.zeros((3, 4)))).all())


def test_bad_temperature_is_named():
    with pytest.raises(ConfigError, match="NTXent: temperature must be above 0, is 0.0"):
        NTXent(0.0)
