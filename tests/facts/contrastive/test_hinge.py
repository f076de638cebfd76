import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.hinge import Hinge

EYE = jnp.eye(3)


def of_scores(s, **fields):
    """The sums of a matrix of scores: with unit queries the candidates are its columns."""
    s = jnp.asarray(s, jnp.float32)
    return len(s) * float(call(Hinge(similarity="dot", **fields), jnp.eye(len(s)), s.T).value)


def test_two_pairs_by_hand():
    s = [[1, 0.9], [0.5, 0.8]]
    assert of_scores(s, directions=("q2d",)) == pytest.approx(0.1, rel=1e-5)
    assert of_scores(s, directions=("d2q",)) == pytest.approx(0.3, rel=1e-5)
    assert of_scores(s) == pytest.approx(0.4, rel=1e-5)


def test_equal_scores_cost_a_margin_each_and_far_ones_nothing():
    assert of_scores(np.full((3, 3), 0.7)) == pytest.approx(2 * 6 * 0.2, rel=1e-5)
    assert of_scores(np.full((3, 3), 0.7), negatives="hardest") == pytest.approx(2 * 3 * 0.2, rel=1e-5)
    value, grad = jax.jit(jax.value_and_grad(lambda x: Hinge()(x, EYE).value))(EYE)
    assert float(value) == 0 and (np.asarray(grad) == 0).all()


def test_a_constant_of_a_row_is_seen_by_the_other_direction_alone():
    """What specialises a system to one direction of search."""
    s = np.asarray(normal(0, 4, 4))
    row = s + np.eye(4)[1][:, None]
    assert of_scores(row, directions=("q2d",)) == pytest.approx(of_scores(s, directions=("q2d",)), rel=1e-4)
    assert of_scores(row, directions=("d2q",)) != pytest.approx(of_scores(s, directions=("d2q",)), rel=1e-2)
    assert of_scores(s.T, directions=("d2q",)) == pytest.approx(of_scores(s, directions=("q2d",)), rel=1e-4)


def test_hard_negatives_and_other_captions_of_an_image():
    q, c = jnp.asarray([[1.0, 0.0]]), jnp.asarray([[1.0, 0.0], [1.0, 0.0], [0.9, 0.0]])
    loss = Hinge(0.2, "dot", directions=("q2d",))
    assert float(call(loss, q, c).value) == pytest.approx(0.2 + 0.1, rel=1e-4)
    keep = jnp.asarray([[True, False, True]])  # the second is another caption of the same image
    assert float(call(loss, q, c, keep=keep).value) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("negatives", ["sum", "mean", "hardest"])
def test_equal_and_zero_rows_have_a_finite_gradient(negatives):
    q = normal(0, 3, 4).at[1].set(0)
    assert np.isfinite(jax.jit(jax.grad(lambda x: Hinge(negatives=negatives)(x, x).value))(q)).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"margin": -0.2}, "Hinge: margin must not be negative, is -0.2"),
        ({"negatives": "random"}, "negatives='random'.*hardest, mean, sum"),
        ({"directions": ()}, r"Hinge.directions=\(\): some of q2d, d2q, each once"),
        ({"directions": ("q2q",)}, "some of q2d, d2q"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Hinge(**fields)
