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

Q, C = normal(0, 3, 3, 4), normal(1, 3, 5, 4)
BASE = InfoNCE(0.5)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl(t, s, temperature):
    t, s = (softmax(np.asarray(x) / temperature) for x in (t, s))
    return (t * np.log(t / s)).sum(-1)


def test_terms_by_hand():
    each = [float(call(BASE, q, c).value) for q, c in zip(Q, C, strict=True)]
    drawn = sum(np.concatenate([kl(Q[-1], Q[i], 0.7), kl(C[-1], C[i], 0.7)]).mean() for i in (0, 1))
    loss = AdaptiveLayer(BASE, (0, 3), last_weight=1.5, prior_weight=0.5, weighting="linear", kl_weight=2.0, kl_temperature=0.7)
    out = call(loss, Q, C)
    expected = 1.5 * each[2] + 0.5 * (each[0] + each[1] / 4) / 2 + 2 * 0.7 * drawn
    assert float(out.value) == pytest.approx(expected, rel=1e-4) and float(out.logs["kl"]) == pytest.approx(drawn, rel=1e-4)
    assert loss.layers() == (0, 3, -1) and "accuracy" in out.logs


def test_equal_layers_have_no_divergence_and_the_last_is_a_constant_in_it():
    same = jnp.stack([Q[0], Q[0]]), jnp.stack([C[0], C[0]])
    loss = AdaptiveLayer(BASE, (1,), last_weight=0.0, prior_weight=0.0)
    value, grads = jax.jit(jax.value_and_grad(lambda q, c: loss(q, c).value, (0, 1)))(*same)
    assert float(value) == pytest.approx(0, abs=1e-6) and all(np.abs(g).max() < 1e-6 for g in grads)
    grads = jax.jit(jax.grad(lambda q, c: loss(q, c).value, (0, 1)))(Q[:2], C[:2])
    assert all((g[-1] == 0).all() and (g[0] != 0).any() for g in grads)


def test_without_what_lies_below_it_is_the_loss_of_the_last_layer():
    loss = AdaptiveLayer(BASE, (1, 2), prior_weight=0.0, kl_weight=0.0)
    assert float(call(loss, Q, C).value) == pytest.approx(float(call(BASE, Q[-1], C[-1]).value), rel=1e-6)


def test_the_drawn_layer_follows_from_the_key():
    loss = AdaptiveLayer(BASE, (1, 2), per_step=1)
    each = [float(call(AdaptiveLayer(BASE, (1,)), Q[jnp.array([i, 2])], C[jnp.array([i, 2])]).value) for i in (0, 1)]
    of = jax.jit(lambda key: loss(Q, C, known=Known(key=key)).value)
    found = [float(of(jax.random.key(i))) for i in range(8)]
    assert {int(np.argmin(np.abs(np.asarray(each) - x))) for x in found} == {0, 1}
    assert all(min(abs(x - y) for y in each) < 1e-5 for x in found) and float(of(jax.random.key(0))) == found[0]
    with pytest.raises(ConfigError, match="AdaptiveLayer needs known.key"):
        loss(Q, C)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shallow": ()}, r"AdaptiveLayer.shallow=\(\): layers below the last one, each once, from 0 on"),
        ({"shallow": (-1,)}, "from 0 on"),
        ({"weighting": "square"}, "weighting='square'.*linear, log, uniform"),
        ({"kl_weight": -1.0}, "kl_weight must not be negative, is -1.0"),
        ({"kl_temperature": 0.0}, "kl_temperature must be above 0, is 0.0"),
        ({"per_step": 0}, "AdaptiveLayer.per_step=0: 1 to 2, as many as shallow has"),
        ({"loss": AdaptiveLayer()}, "AdaptiveLayer.loss: AdaptiveLayer compares layers itself"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        AdaptiveLayer(**fields)


def test_layers_draw_apart():
    """What a loss of a layer draws is its own: of equal layers the values differ."""
    from jaxemb.contrastive import KaLM

    own, inner = jnp.asarray([[3, 4], [4, 3], [3, 4]]), KaLM(0.5, 0.0, mix_list=False)
    same = jnp.stack([Q[0]] * 3), jnp.stack([C[0]] * 3)
    loss = AdaptiveLayer(inner, (0, 1), kl_weight=0.0, last_weight=0.0, weighting="uniform")
    known = Known(own=own, key=jax.random.key(0))
    once = inner(Q[0], C[0], known=known._replace(key=jax.random.fold_in(jax.random.key(0), 1))).value
    both = loss(*same, known=known).value
    assert abs(float(both) - float(once)) > 1e-5, "two layers with one draw would be the mean of equal values"
