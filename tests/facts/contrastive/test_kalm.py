import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.kalm import KaLM, pair_shares

Q, C = normal(0, 3, 4), normal(1, 6, 4)
OWN = jnp.asarray(np.array([[3, 4], [4, 5], [5, -1]]))
UNMIXED = {"mix_pair": False, "mix_list": False}


def test_focal_weights_by_hand():
    """gamma 0 is InfoNCE; of two equal candidates P is a half."""
    assert float(call(KaLM(0.5, 0.0, **UNMIXED), Q, C).value) == pytest.approx(float(call(InfoNCE(0.5), Q, C).value), rel=1e-6)
    half = call(KaLM(1.0, 0.5, **UNMIXED), jnp.ones((2, 2)), jnp.ones((2, 2))).value
    assert float(half) == pytest.approx(math.sqrt(0.5) * math.log(2), rel=1e-5)


def test_focal_weights_as_constants_scale_the_gradient_and_those_with_a_slope_do_not():
    def gradient(loss):
        return jax.jit(jax.grad(lambda q: loss(q, C[:2]).value))(Q[:1])

    plain = gradient(InfoNCE(0.5))
    p = float(jnp.exp(-call(InfoNCE(0.5), Q[:1], C[:2]).value))
    np.testing.assert_allclose(gradient(KaLM(0.5, 2.0, True, **UNMIXED)), (1 - p) ** 2 * plain, rtol=1e-4)
    both = (1 - p) ** 2 + 2 * (1 - p) * p * -math.log(p)
    np.testing.assert_allclose(gradient(KaLM(0.5, 2.0, **UNMIXED)), both * plain, rtol=1e-4)


def test_a_pair_that_is_sure_has_a_finite_gradient():
    grads = jax.jit(jax.grad(lambda q: KaLM(0.001, 0.5, **UNMIXED)(q, jnp.eye(4)).value))(jnp.eye(4))
    assert bool(jnp.isfinite(grads).all())


def test_shares_of_a_pair_stand_at_two_places_that_are_there_and_are_beta():
    there = jnp.asarray(np.tile([True, False, True, True], (2000, 1)))
    shares = np.asarray(pair_shares(jax.random.key(0), there))
    assert ((shares > 0).sum(1) == 2).all() and (shares[:, 1] == 0).all()
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    drawn = shares[shares > 0]
    assert abs(drawn.mean() - 0.5) < 0.01 and abs(drawn.var() - 1 / 20) < 0.003
    assert np.allclose((shares > 0).mean(0), [2 / 3, 0, 2 / 3, 2 / 3], atol=0.04), "each pair as often"


def test_mixtures_are_negatives_of_their_query_with_two_hard_negatives():
    """Equal hard negatives mix into themselves: two more of each in the denominator, where there are two to mix."""
    c = C.at[4].set(C[3]).at[5].set(C[3])
    known, key = Known(own=OWN, key=jax.random.key(0)), {"weights": jnp.array([0.0, 0.0, 1.0])}
    assert float(call(KaLM(0.5, 0.0), Q, c, known=known, **key).value) == pytest.approx(
        float(call(InfoNCE(0.5), Q, c, **key).value), rel=1e-6
    )
    unit = [np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q[:1], c)]
    e = np.exp(unit[0] @ unit[1].T / 0.5)[0]
    expected = -np.log(e[0] / (e.sum() + 2 * e[3]))
    first = call(KaLM(0.5, 0.0), Q, c, known=known, weights=jnp.array([1.0, 0.0, 0.0]))
    assert float(first.value) == pytest.approx(expected, rel=1e-5)


def test_hard_negatives_that_are_masked_are_not_mixed():
    keep = jnp.ones((3, 6), bool).at[:, 4].set(False)
    without = keep.at[:, 3].set(False)
    known = Known(own=OWN, key=jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda c: KaLM(0.5)(Q, c, keep=keep, known=known).value))(C)
    assert (gradient[4] == 0).all() and (gradient[3] != 0).any()
    assert float(call(KaLM(0.5), Q, C, keep=without, known=known).value) < float(
        call(KaLM(0.5), Q, C, keep=keep, known=known).value
    )


def test_what_kalm_needs_follows_from_what_it_mixes():
    assert KaLM().needs == ("own", "key") and KaLM(mix_pair=False).needs == ("own",) and KaLM(**UNMIXED).needs == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "KaLM: temperature must be above 0, is 0.0"),
        ({"gamma": -1.0}, "KaLM: gamma must not be negative, is -1.0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        KaLM(**fields)


def test_mixtures_are_unit_vectors_whose_shares_are_constants():
    """The shares of `mix_list` come from cosines, and have no part in the gradient; a mixture of two unit rows is shorter."""
    q, c = jnp.eye(3)[:1], jnp.asarray([[0.9, 0.1, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    c = c / jnp.linalg.norm(c, axis=1, keepdims=True)
    known = Known(own=jnp.asarray([[1, 2]]), key=jax.random.key(0))
    shares = jax.nn.softmax((q @ c[1:].T)[0])
    mixture = shares @ c[1:]

    def expected(q, mixture=mixture):
        u = q / jnp.linalg.norm(q)
        logits = jnp.concatenate([(u @ c.T)[0], (u @ (mixture / jnp.linalg.norm(mixture)))])
        return jax.nn.logsumexp(logits) - logits[0]

    found = jax.value_and_grad(lambda q: KaLM(1.0, 0.0, mix_pair=False)(q, c, known=known).value)(q)
    for x, y in zip(found, jax.value_and_grad(expected)(q), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
