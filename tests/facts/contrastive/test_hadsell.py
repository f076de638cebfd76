import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.distance import DISTANCES
from jaxemb.contrastive.hadsell import Hadsell, OnlineContrastive

LINE = jnp.asarray(np.array([[0.0], [0.0], [0.0], [0.0]], np.float32))
AT = jnp.asarray(np.array([[1.0], [3.0], [2.0], [4.0]], np.float32))  # distances of the pairs
KNOWN = Known(scores=jnp.asarray([1.0, 1.0, 0.0, 0.0]))


def test_loss_by_hand():
    out = call(Hadsell(5.0, "euclidean"), LINE, AT, known=KNOWN)
    assert float(out.value) == pytest.approx((1 + 9 + 9 + 1) / 8, rel=1e-5)
    assert float(call(Hadsell(5.0, "euclidean", "sum"), LINE, AT, known=KNOWN).value) == pytest.approx(10, rel=1e-5)


def test_only_hard_pairs_count_online():
    # The positive at 3 is beyond the negative at 2, and that negative within it; those at 1 and 4 are easy.
    assert float(call(OnlineContrastive(5.0, "manhattan"), LINE, AT, known=KNOWN).value) == pytest.approx(9 + 9, rel=1e-5)
    all_near = Known(scores=jnp.ones(4))
    assert float(call(OnlineContrastive(5.0, "euclidean"), LINE, AT, known=all_near).value) == pytest.approx(9 + 16, rel=1e-5)


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("member", [Hadsell, OnlineContrastive])
def test_equal_and_zero_rows_have_a_finite_gradient(member, kind):
    q = normal(0, 4, 6).at[1].set(0)
    assert np.isfinite(jax.jit(jax.grad(lambda x: member(0.5, kind)(x, q, known=KNOWN).value))(q)).all()


@pytest.mark.parametrize("member", [Hadsell, OnlineContrastive])
def test_bad_fields_are_named(member):
    with pytest.raises(ConfigError, match=f"{member.__name__}: margin must not be negative, is -0.1"):
        member(-0.1)
    with pytest.raises(ConfigError, match="distance='dot'.*cosine, euclidean, manhattan"):
        member(distance="dot")


def test_one_pair_of_a_kind_is_no_extreme():
    """As sentence-transformers has it: beside a single positive (negative) the others are hard beyond their own mean."""
    one_near = Known(scores=jnp.asarray([0.0, 1.0, 0.0, 0.0]))  # the positive at 3; negatives at 1, 2, 4, of mean 7/3
    assert float(OnlineContrastive(5.0, "manhattan")(LINE, AT, known=one_near).value) == pytest.approx(9 + 16 + 9, rel=1e-5)
    one_far = Known(scores=jnp.asarray([1.0, 1.0, 0.0, 1.0]))  # the negative at 2; positives at 1, 3, 4, of mean 8/3
    assert float(OnlineContrastive(5.0, "manhattan")(LINE, AT, known=one_far).value) == pytest.approx(9 + 16 + 9, rel=1e-5)


def test_a_score_of_a_half_is_a_negative():
    half = Known(scores=jnp.asarray([1.0, 1.0, 0.5, 0.0]))
    assert float(OnlineContrastive(5.0, "manhattan")(LINE, AT, known=half).value) == pytest.approx(9 + 9, rel=1e-5)
