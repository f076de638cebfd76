import itertools
import json
from dataclasses import replace

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
from jaxemb.contrastive.class_nce import ClassNCE
from jaxemb.contrastive.cosent import CoSENT
from jaxemb.contrastive.matryoshka import Matryoshka
from jaxemb.contrastive.sigmoid import Sigmoid
from jaxemb.contrastive.weighted_sum import WeightedSum
from jaxemb.data.text_pairs import TextPairs
from jaxemb.experiment import Experiment
from jaxemb.objectives.pairs import Pairs
from jaxemb.train.setup import check_tasks

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
    assert ByTask().tasks() == ("classification", "retrieval", "sts")
    for i, loss in enumerate((ClassNCE(), InfoNCE(0.02, ("q2d", "q2q"), negatives="own"), CoSENT(0.02))):
        expected = float(call(loss, Q, C, known=FULL).value)
        assert float(traced(of(i, i, i))) == pytest.approx(expected, rel=1e-5)
    assert ByTask().needs == ("task", "labels", "candidate_labels", "own", "scores")


def test_batches_of_several_tasks_or_of_one_without_a_loss_are_refused_and_nan_where_it_is_not_known():
    for tasks, found in (((0, 1, 1), "0, 1"), ((3, 3, 3), "3")):
        with pytest.raises(ConfigError, match=f"a batch is of one task, 0 to 2, .* not of {found}; let the data draw"):
            ByTask()(Q, C, known=of(*tasks))
        assert np.isnan(jax.jit(lambda known: ByTask()(Q, C, known=known).value)(of(*tasks)))
    padded = call(ByTask(), Q, C, weights=jnp.array([1.0, 1.0, 0.0]), known=of(1, 1, 7))
    assert np.isfinite(padded.value)


def test_learned_scalars_of_each_task_are_its_own():
    loss = ByTask({"b": Sigmoid(0.25, -2.0), "a": Sigmoid(0.5, -1.0)})  # numbered by name
    learned = {name: jnp.float32(x) for name, x in loss.learned().items()}
    assert sorted(learned) == ["task_0_bias", "task_0_log_scale", "task_1_bias", "task_1_log_scale"]
    known = of(1, 1, 1)._replace(learned=learned)
    alone = {name: jnp.float32(x) for name, x in loss.losses["b"].learned().items()}
    expected = loss.losses["b"](Q, C, known=Known(learned=alone))
    assert float(call(loss, Q, C, known=known).value) == pytest.approx(float(expected.value), rel=1e-6) and loss.alone
    assert not ByTask({"a": Sigmoid(), "b": InfoNCE()}).alone


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({}, "ByTask.losses: one for each task, and there is none"),
        ({"a": InfoNCE(), "b": AdaptiveLayer()}, "ByTask.losses.b: AdaptiveLayer"),
    ],
)
def test_bad_fields_are_named(losses, message):
    with pytest.raises(ConfigError, match=message):
        ByTask(losses)


def test_losses_of_other_tasks_than_those_of_the_data_are_refused(tmp_path):
    """By number alone the second of three tasks is compared in the way of whichever is second, and no error says so."""
    rows = [
        *({"query": f"t {i}", "label": i % 2, "task": "classes"} for i in range(9)),
        *({"query": f"q {i}", "positive": f"a {i}", "task": "retrieval"} for i in range(9)),
        *({"query": f"s {i}", "positive": f"r {i}", "score": i % 5, "task": "sts"} for i in range(9)),
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = TextPairs(str(tmp_path / "own.jsonl"), length=8, tasks=True, labelled=True, scores=(0, 4), valid_share=0.0)
    experiment = Experiment(name="three", objective=Pairs(contrast=ByTask()), data=data, steps=1, batch=4)
    with pytest.raises(
        ConfigError, match="losses of the tasks classification, retrieval, sts, and the data are of classes, retrieval, sts"
    ):
        check_tasks(experiment)
    losses = {"classes": ClassNCE(), **{name: ByTask().losses[name] for name in ("retrieval", "sts")}}
    check_tasks(replace(experiment, objective=Pairs(contrast=WeightedSum((Matryoshka(ByTask(losses), (4, 8)),), (1.0,)))))
    seen = {}
    for batch in itertools.islice(data.batches(4, seed=0), 20):
        seen[int(batch["task"][0])] = (np.isnan(batch["scores"]).all(), (batch["labels"] == -1).all())
    assert seen == {0: (True, False), 1: (True, True), 2: (False, True)}


def test_a_task_that_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"ByTask needs known.task, .* data of several tasks, `data.tasks=True`"):
        ByTask()(Q, C, known=FULL)
