import jax.numpy as jnp
import numpy as np
import pytest
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.margin_mse import MarginMSE

Q = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])
C = jnp.asarray([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [0.5, 0.5]])


def test_loss_by_hand_and_what_a_teacher_says_of_an_absent_negative_is_not_read():
    own, teacher = jnp.asarray(np.array([[2, 3], [2, -1]])), jnp.asarray([[3.0, 2.0, 1.0], [5.0, 1.0, np.nan]])
    # margins 1, 1.5 and 2; of the teacher 1, 2 and 4
    out = call(MarginMSE(), Q, C, known=Known(own=own, teacher=teacher))
    assert float(out.value) == pytest.approx((0 + 0.25 + 4) / 3)
    shifted = call(MarginMSE(), Q, C, known=Known(own=own, teacher=teacher + 7))
    assert float(shifted.value) == pytest.approx(float(out.value)), "only margins count"


def test_a_teacher_of_another_number_of_scores_is_named():
    own = jnp.asarray(np.array([[2, 3], [2, -1]]))
    with pytest.raises(ConfigError, match=r"known.teacher has the shape \(2, 2\); with 2 hard negatives it is \(b, 3\)"):
        MarginMSE()(Q, C, known=Known(own=own, teacher=jnp.ones((2, 2))))
    with pytest.raises(ConfigError, match=r"MarginMSE needs known.teacher"):
        MarginMSE()(Q, C, known=Known(own=own))
