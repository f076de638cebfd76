import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.matryoshka_2d import Matryoshka2D

Q, C = normal(0, 3, 3, 4), normal(1, 3, 5, 4)
BASE = InfoNCE(0.5)


@pytest.mark.parametrize(("layer", "factor"), [(1, np.log(3)), (11, np.log(13))])
def test_terms_by_hand(layer, factor):
    """Of a layer that equals the last one only the losses are left; of another one the divergence counts by its number."""
    full, cut = (float(call(BASE, Q[0][:, :k], C[0][:, :k]).value) for k in (4, 2))
    same = jnp.stack([Q[0], Q[0]]), jnp.stack([C[0], C[0]])
    loss = Matryoshka2D(BASE, (layer,), (2,))
    assert float(call(loss, *same).value) == pytest.approx((full + cut) * (1 + 1 / layer), rel=1e-5) and loss.needs == ()
    two = call(loss, Q[:2], C[:2])
    without = float(call(Matryoshka2D(BASE, (layer,), (2,), kl_weight=0.0), Q[:2], C[:2]).value)
    assert float(two.value) - without == pytest.approx(float(two.logs["kl"]), rel=1e-4)
    log_t, log_s = (jnp.concatenate([jax.nn.log_softmax(x[i]) for x in (Q, C)]) for i in (1, 0))
    assert float(two.logs["kl"]) == pytest.approx(factor * float((jnp.exp(log_t) * (log_t - log_s)).sum(1).mean()), rel=1e-4)


def test_the_divergence_pulls_the_last_layer_too_unless_it_is_detached():
    def kl(detach):
        return jax.jit(jax.grad(lambda q: Matryoshka2D(BASE, (1,), (2,), detach=detach)(q, C[:2]).logs["kl"]))(Q[:2])

    assert (kl(False)[-1] != 0).any() and (kl(True)[-1] == 0).all()


def test_the_drawn_layer_and_width_follow_from_the_key():
    loss = Matryoshka2D(BASE, (1, 2), (1, 2))
    each = np.asarray(
        [
            float(call(Matryoshka2D(BASE, (i + 1,), (d,)), Q[jnp.array([i, 2])], C[jnp.array([i, 2])]).value)
            for i in (0, 1)
            for d in (1, 2)
        ]
    )
    of = jax.jit(lambda key: loss(Q, C, known=Known(key=key)).value)
    found = [float(of(jax.random.key(i))) for i in range(16)]
    assert {int(np.argmin(np.abs(each - x))) for x in found} == {0, 1, 2, 3} and all(np.abs(each - x).min() < 1e-5 for x in found)
    with pytest.raises(ConfigError, match="Matryoshka2D needs known.key"):
        loss(Q, C)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shallow": (0, 1)}, r"Matryoshka2D.shallow=\(0, 1\): layers below the last one, each once, from 1 on"),
        ({"dims": ()}, "Matryoshka2D.dims"),
        ({"kl_weight": -1.0}, "kl_weight must not be negative"),
        ({"kl_temperature": 0.0}, "kl_temperature must be above 0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Matryoshka2D(**fields)


def test_a_width_above_the_embeddings_is_named():
    with pytest.raises(ConfigError, match="Matryoshka2D.dims: 8 is more than the width of the embeddings, 4"):
        Matryoshka2D(BASE, (1,), (8,))(Q[:2], C[:2])
