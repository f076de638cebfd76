import jax.numpy as jnp
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.adaptive_layer import AdaptiveLayer
from jaxemb.contrastive.cosent import CoSENT
from jaxemb.contrastive.global_orthogonal import GlobalOrthogonal
from jaxemb.contrastive.sigmoid import Sigmoid
from jaxemb.contrastive.weighted_sum import WeightedSum

Q, P = normal(0, 3, 4), normal(1, 3, 4)


def test_the_sum_and_its_parts():
    out = call(WeightedSum((InfoNCE(), GlobalOrthogonal()), (2.0, 0.5)), Q, P)
    parts = call(InfoNCE(), Q, P).value, call(GlobalOrthogonal(), Q, P).value
    assert float(out.value) == pytest.approx(float(2 * parts[0] + 0.5 * parts[1]), rel=1e-5)
    assert float(out.logs["InfoNCE"]) == pytest.approx(float(parts[0]))
    two = call(WeightedSum((InfoNCE(0.1), InfoNCE(0.2)), (1.0, 1.0)), Q, P)
    assert set(two.logs) == {"InfoNCE_0", "InfoNCE_1"}


def test_it_needs_and_learns_what_its_losses_do():
    loss = WeightedSum((CoSENT(), Sigmoid()), (1.0, 1.0))
    assert loss.needs == ("scores",) and set(loss.learned()) == {"log_scale", "bias"}
    with pytest.raises(ConfigError, match=r"WeightedSum needs known.scores"):
        loss(Q, P)


@pytest.mark.parametrize(
    ("losses", "weights", "message"),
    [
        ((InfoNCE(),), (), "1 losses have 0 weights; each needs one"),
        ((InfoNCE(),), (-1.0,), "weights must not be negative"),
        ((Sigmoid(), Sigmoid()), (1.0, 1.0), "two of the losses learn scalars of one name"),
        ((AdaptiveLayer(InfoNCE(), (0,)),), (1.0,), "compares several layers"),
    ],
)
def test_bad_fields_are_named(losses, weights, message):
    with pytest.raises(ConfigError, match=message):
        WeightedSum(losses, weights)


def test_rows_of_weight_zero_are_none():
    assert float(call(WeightedSum(), Q, P, weights=jnp.zeros(3)).value) == 0
