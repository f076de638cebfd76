import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.layers.norms import BatchNorm
from jaxemb.layers.projector import Projector

X = 3 + 2 * normal(0, 32, 5)


def test_parameters_are_those_that_are_listed():
    params = Projector((7, 4)).init(jax.random.key(0), X)["params"]
    shapes = jax.tree.map(lambda x: x.shape, params)
    norm = {"scale": (7,), "bias": (7,)}
    assert shapes == {"dense_0": {"kernel": (5, 7), "bias": (7,)}, "norm_0": norm, "out": {"kernel": (7, 4)}}
    assert "bias" in Projector((4,), bias=True).init(jax.random.key(0), X)["params"]["out"]
    assert set(Projector((7, 4), norm=False).init(jax.random.key(0), X)["params"]) == {"dense_0", "out"}


def test_training_normalises_by_the_batch_and_remembers():
    norm = BatchNorm()
    start = norm.init(jax.random.key(0), X, train=True)
    np.testing.assert_array_equal(start["batch_stats"]["mean"], 0)  # init leaves no trace
    y, new = norm.apply(start, X, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-4)
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * X.mean(0), rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * X.var(0), rtol=1e-5)


def test_evaluation_is_row_by_row_and_a_teacher_leaves_no_trace():
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), X, train=True)
    np.testing.assert_allclose(norm.apply(variables, X, train=False), X / np.sqrt(1 + 1e-5), rtol=1e-5)
    y = norm.apply({"params": variables["params"]}, X, train=True)  # no statistics at all
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)


def test_half_precision_comes_out_single():
    model = Projector((7, 4))
    assert model.apply(model.init(jax.random.key(0), X), X.astype(jnp.bfloat16)).dtype == jnp.float32


def test_bad_widths_are_named():
    with pytest.raises(ConfigError, match=r"projector.widths must be one or more numbers of at least 1, are \(\)"):
        Projector(())
