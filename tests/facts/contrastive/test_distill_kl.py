import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.distill_kl import DistillKL

Q = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])
C = jnp.asarray([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [0.5, 0.5]])
OWN = jnp.asarray(np.array([[2, 3], [2, -1]]))


def test_what_ranks_as_the_teacher_does_costs_nothing_and_absent_negatives_are_in_no_softmax():
    teacher = jnp.asarray([[2.0, 1.0, 0.5], [3.0, 1.0, np.nan]])  # the student's own scores
    value, grad = jax.jit(jax.value_and_grad(lambda q: DistillKL()(q, C, known=Known(own=OWN, teacher=teacher)).value))(Q)
    assert float(value) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(grad, 0, atol=1e-6)


def test_loss_by_hand_with_temperatures():
    teacher = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 2.0, 9.0]])
    expected = []
    for s, t in (([2, 1, 0.5], [1, 0, 0]), ([3, 1], [0, 2])):
        p, q = (np.exp(np.asarray(x) / y) / np.exp(np.asarray(x) / y).sum() for x, y in ((t, 0.5), (s, 2)))
        expected.append((p * np.log(p / q)).sum())
    out = call(DistillKL("dot", 2.0, 0.5), Q, C, known=Known(own=OWN, teacher=teacher))
    assert float(out.value) == pytest.approx(4 * np.mean(expected), rel=1e-5)


def test_no_negative_at_all_costs_nothing():
    known = Known(own=jnp.full((2, 2), -1), teacher=jnp.ones((2, 3)))
    assert float(call(DistillKL(), Q, C, known=known).value) == 0


def test_bad_fields_are_named():
    with pytest.raises(ConfigError, match="DistillKL: teacher_temperature must be above 0, is 0"):
        DistillKL(teacher_temperature=0.0)
