import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.starbucks import Starbucks

Q, C = normal(0, 3, 3, 4), normal(1, 3, 5, 4)
DOT = InfoNCE(1.0, similarity="dot")


def test_one_size_that_is_the_full_one_costs_twice_and_has_no_divergence():
    for align in ("documents", "coordinates"):
        out = call(Starbucks(DOT, ((-1, 4),), align), Q[:1], C[:1])
        assert float(out.value) == pytest.approx(2 * float(call(DOT, Q[0], C[0]).value), rel=1e-5)
        assert float(out.logs["kl"]) == pytest.approx(0, abs=1e-6)


def test_layers_are_each_of_the_sizes_once_and_then_the_last():
    assert Starbucks(DOT, ((4, 2), (2, 1), (4, 1), (-1, 2))).layers() == (2, 4, -1)


def test_sizes_are_cut_of_their_own_layer():
    """The gradient of a size is nothing beyond its width, and reaches no other layer but the last by the full size."""
    loss = Starbucks(DOT, ((1, 1), (2, 3)), kl_weight=0.5)
    grads = jax.jit(jax.grad(lambda q: loss(q, C).value))(Q)
    assert (grads[0, :, 1:] == 0).all() and (grads[1, :, 3:] == 0).all() and (grads[0, :, :1] != 0).any() and (grads[1] != 0).any()


def test_the_divergence_over_documents_by_hand_with_a_constant_teacher():
    keep = np.ones((3, 5), bool)
    keep[0, 4] = keep[1, 1] = False  # a positive counts all the same
    loss = Starbucks(DOT, ((1, 2),), kl_temperature=2.0)

    def kl(q):
        return call(loss, q, C[:2], keep=jnp.asarray(keep)).logs["kl"]

    e = [np.exp(np.asarray(q @ c.T) / 2) * (keep | np.eye(3, 5, dtype=bool)) for q, c in ((Q[1], C[1]), (Q[0][:, :2], C[0][:, :2]))]
    t, s = (x / x.sum(1, keepdims=True) for x in e)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(t > 0, t * np.log(t / s), 0).sum(1).mean()
    assert float(kl(Q[:2])) == pytest.approx(expected, rel=1e-4) and expected > 0
    assert (jax.jit(jax.grad(kl))(Q[:2])[-1] == 0).all()


def test_the_divergence_over_coordinates_pulls_the_full_size_too():
    loss = Starbucks(DOT, ((1, 2),), "coordinates", 0.3)
    grads = jax.jit(jax.grad(lambda q: loss(q, C[:2]).logs["kl"]))(Q[:2])
    assert (grads[-1, :, :2] != 0).any() and (grads[-1, :, 2:] == 0).all()


def test_a_high_temperature_ends_in_the_logarithm_of_the_candidates():
    hot = Starbucks(InfoNCE(1e6, similarity="dot"), ((1, 2),), kl_temperature=1e6)
    assert float(call(hot, Q[:2], C[:2]).value) == pytest.approx(2 * np.log(5), rel=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sizes": ()}, r"Starbucks.sizes=\(\): pairs of a layer from -1 on and a width of at least 1, each once"),
        ({"sizes": ((1, 0),)}, "at least 1"),
        ({"sizes": ((-2, 4),)}, "from -1 on"),
        ({"align": "rows"}, "align='rows'.*coordinates, documents"),
        ({"similarity": "l2"}, "similarity='l2'"),
        ({"kl_weight": -1.0}, "kl_weight must not be negative"),
        ({"kl_temperature": 0.0}, "kl_temperature must be above 0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Starbucks(**fields)


def test_a_width_above_the_embeddings_is_named():
    with pytest.raises(ConfigError, match="Starbucks.sizes: 64 is more than the width of the embeddings, 4"):
        Starbucks()(Q, C)
