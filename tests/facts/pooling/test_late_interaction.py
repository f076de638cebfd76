import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.types import Features

F = Features(jnp.array([[[3.0, 4.0], [0.0, 2.0], [jnp.nan, 9.0]]]), jnp.array([[True, True, False]]))


def test_a_vector_of_length_one_for_each_token_that_counts():
    np.testing.assert_allclose(LateInteraction().apply({}, F), [[[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]]], rtol=1e-6)
    np.testing.assert_array_equal(LateInteraction(normalize=False).apply({}, F), [[[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]])


def test_projects(key):
    pool = LateInteraction(3)
    z, params = pool.init_with_output(key, F)
    rows = np.asarray(F.tokens[0, :2] @ params["params"]["proj"]["kernel"])
    np.testing.assert_allclose(z[0, :2], rows / np.linalg.norm(rows, axis=1, keepdims=True), rtol=1e-5)
    slope = jax.grad(lambda p: pool.apply(p, F)[0, :, 0].sum())(params)
    assert bool(jnp.isfinite(slope["params"]["proj"]["kernel"]).all())


def test_best_matches_by_hand():
    """sum_i max_j of one query word that is in the document, and one that is not."""
    document = LateInteraction().apply({}, Features(normal(0, 1, 3, 4), jnp.ones((1, 3), bool)))
    assert float((document[0, :1] @ document[0].T).max(1).sum()) == pytest.approx(1, abs=1e-6)


def test_wrong_width_is_named():
    with pytest.raises(ConfigError, match=r"LateInteraction\.features=0"):
        LateInteraction(0)
