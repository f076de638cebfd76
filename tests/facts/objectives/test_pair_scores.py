import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.pair_head import PairHead
from jaxemb.objectives.pair_scores import PairScores
from jaxemb.types import Now

Z = {"query": normal(0, 3, 4), "positive": normal(1, 3, 4)}
LABELS = jnp.asarray(np.array([1, 0, -1]))
NOW = Now(0, 1, jax.random.key(0))


def compared(batch, variables=None, **fields):
    model = PairScores(**{"head": PairHead(1, 8)} | fields)
    variables = variables or model.init(jax.random.key(0), Z, batch, None, NOW, method="compare")
    head = model.head.apply({"params": variables["params"]["head"]}, Z["query"], Z["positive"])
    return model.apply(variables, Z, batch, None, NOW, method="compare"), head


def test_terms_by_hand_and_a_pair_of_unknown_label_is_for_the_teacher_alone():
    batch = {"labels": LABELS, "teacher": normal(2, 3, 1)}
    out, z = compared(batch, alpha=0.25)
    task = (np.log1p(np.exp(-float(z[0, 0]))) + np.log1p(np.exp(float(z[1, 0])))) / 3
    distil = float(((z - batch["teacher"]) ** 2).mean())
    assert float(out.value) == pytest.approx(0.75 * task + 0.25 * distil, rel=1e-5) and float(out.weight) == 3
    assert float(compared(batch, alpha=0.0)[0].logs["task"]) == pytest.approx(task, rel=1e-5)


def test_a_student_that_equals_its_teacher_has_no_loss_and_the_ends_of_alpha_need_one_source():
    _, z = compared({"labels": LABELS}, alpha=0.0)
    assert float(compared({"teacher": z}, alpha=1.0)[0].value) == 0
    with pytest.raises(ConfigError, match="PairScores reads teacher, not in the batch, which holds labels"):
        compared({"labels": LABELS})
    with pytest.raises(ConfigError, match=r"teacher has the shape \(3, 2\), and the logits \(3, 1\)"):
        compared({"labels": LABELS, "teacher": jnp.ones((3, 2))})


def test_regression():
    out, z = compared({"scores": jnp.asarray([0.0, 1.0, 2.0])}, task="regression", alpha=0.0)
    assert float(out.value) == pytest.approx(float(((z[:, 0] - jnp.arange(3.0)) ** 2).mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": 1.5}, "alpha must be in 0 to 1, is 1.5"),
        ({"task": "rank"}, "task='rank'.*binary, classes, regression"),
        ({"task": "classes"}, "task='classes' with a head of 1 classes"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        PairScores(**fields)


def test_a_label_of_no_class_makes_the_loss_nan():
    """It would cost nothing, or pass for another class."""
    assert np.isnan(compared({"labels": jnp.asarray([1, 0, 2])}, alpha=0.0)[0].value)
    three = {"head": PairHead(3, 8), "task": "classes", "alpha": 0.0}
    assert np.isnan(compared({"labels": jnp.asarray([1, 0, 3])}, **three)[0].value)
    assert np.isfinite(compared({"labels": jnp.asarray([1, -1, 2])}, **three)[0].value)
