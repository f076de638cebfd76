import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.adaptive_layer import AdaptiveLayer
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.by_task import ByTask
from jaxemb.contrastive.sigmoid import Sigmoid

Q, C = normal(0, 3, 4), normal(1, 6, 4)
FULL = Known(
    scores=jnp.asarray([0.1, 0.9, 0.5]),
    labels=jnp.asarray(np.array([0, 1, 0])),
    candidate_labels=jnp.asarray(np.array([0, 1, 0, 1, 0, 2])),
    own=jnp.asarray(np.array([[3, 4], [4, 5], [5, -1]])),
)


def of(*tasks):
    return FULL._replace(task=jnp.asarray(np.array(tasks)))


def test_each_task_has_its_own_loss_also_where_the_number_is_not_known():
    traced = jax.jit(lambda known: ByTask()(Q, C, known=known).value)
    for i, loss in enumerate(ByTask().losses):
        expected = float(call(loss, Q, C, known=FULL).value)
        assert float(traced(of(i, i, i))) == pytest.approx(expected, rel=1e-5)
    assert ByTask().needs == ("task", "labels", "candidate_labels", "scores", "own")


def test_batches_of_several_tasks_or_of_one_without_a_loss_are_refused_and_nan_where_it_is_not_known():
    for tasks, found in (((0, 1, 1), "0, 1"), ((3, 3, 3), "3")):
        with pytest.raises(ConfigError, match=f"a batch is of one task, 0 to 2, .* not of {found}; let the data draw"):
            ByTask()(Q, C, known=of(*tasks))
        assert np.isnan(jax.jit(lambda known: ByTask()(Q, C, known=known).value)(of(*tasks)))
    padded = call(ByTask(), Q, C, weights=jnp.array([1.0, 1.0, 0.0]), known=of(1, 1, 7))
    assert np.isfinite(padded.value)


def test_learned_scalars_of_each_task_are_its_own():
    loss = ByTask((Sigmoid(0.5, -1.0), Sigmoid(0.25, -2.0)))
    learned = {name: jnp.float32(x) for name, x in loss.learned().items()}
    assert sorted(learned) == ["task_0_bias", "task_0_log_scale", "task_1_bias", "task_1_log_scale"]
    known = of(1, 1, 1)._replace(learned=learned)
    alone = {name: jnp.float32(x) for name, x in loss.losses[1].learned().items()}
    expected = loss.losses[1](Q, C, known=Known(learned=alone))
    assert float(call(loss, Q, C, known=known).value) == pytest.approx(float(expected.value), rel=1e-6) and loss.alone
    assert not ByTask((Sigmoid(), InfoNCE())).alone


@pytest.mark.parametrize(
    ("losses", "message"),
    [((), "ByTask.losses: one for each task, and there is none"), ((InfoNCE(), AdaptiveLayer()), "ByTask.losses.1: AdaptiveLayer")],
)
def test_bad_fields_are_named(losses, message):
    with pytest.raises(ConfigError, match=message):
        ByTask(losses)


def test_a_task_that_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"ByTask needs known.task, .* data of several tasks \(`tasks=True`\)"):
        ByTask()(Q, C, known=FULL)
