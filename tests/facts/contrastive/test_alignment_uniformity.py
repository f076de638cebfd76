import jax
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.alignment_uniformity import AlignmentUniformity, uniformity


def test_opposite_rows_by_hand():
    q = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    out = call(AlignmentUniformity(), q, -q)
    assert float(out.logs["alignment"]) == pytest.approx(4) and float(out.logs["uniformity"]) == pytest.approx(-8, rel=1e-5)
    assert float(call(AlignmentUniformity(), q, q).logs["alignment"]) == 0
    assert float(call(uniformity, q[:1], np.ones(1, np.float32), 2.0)) == 0


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_equal_and_zero_rows_have_a_finite_gradient(alpha):
    q = normal(0, 3, 4) * np.array([[1], [0], [1]], np.float32)
    assert np.isfinite(jax.jit(jax.grad(lambda x: AlignmentUniformity(alpha)(x, q).value))(q)).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": 0.5}, "alpha must be at least 1, is 0.5"),
        ({"t": 0.0}, "t must be above 0, is 0.0"),
        ({"align_weight": -1.0}, "align_weight must not be negative, is -1.0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        AlignmentUniformity(**fields)
