import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.pointer import location_loss, pointer_log_probs, repair_loss

CANDIDATES = jnp.asarray([[True, False, True, True, False]])


def test_uniform_logits_over_c_candidates_cost_ln_c_and_m_repairs_m_ln_c():
    log_probs = pointer_log_probs(jnp.zeros((1, 5, 2)), CANDIDATES)
    assert float(location_loss(log_probs, jnp.asarray([2]))[0]) == pytest.approx(np.log(3))
    repairs = jnp.asarray([[False, False, True, True, False]])
    assert float(repair_loss(log_probs, repairs)[0]) == pytest.approx(2 * np.log(3))
    assert float(repair_loss(log_probs, repairs, each=False)[0]) == pytest.approx(np.log(3 / 2), rel=1e-5)


def test_multiplied_logits_leave_mass_where_no_candidate_is():
    log_probs = pointer_log_probs(jnp.zeros((1, 5, 2)), CANDIDATES, "multiply")
    assert float(location_loss(log_probs, jnp.asarray([2]))[0]) == pytest.approx(np.log(5))


@pytest.mark.parametrize("each", [True, False])
def test_without_a_bug_there_is_no_repair_loss_and_no_gradient(each):
    def loss(logits):
        return repair_loss(pointer_log_probs(logits, CANDIDATES), jnp.zeros((1, 5), bool), each=each).sum()

    value, grad = jax.value_and_grad(loss)(jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 2)).astype(np.float32)))
    assert float(value) == 0 and (np.asarray(grad) == 0).all()
