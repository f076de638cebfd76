import jax
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.adaptive_layer import AdaptiveLayer
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.gist import GIST
from jaxemb.contrastive.matryoshka import Matryoshka
from jaxemb.contrastive.sigmoid import Sigmoid

Q, C = normal(0, 3, 4), normal(1, 5, 4)


def test_of_the_full_width_alone_it_is_the_loss_and_of_more_their_weighted_sum():
    base = InfoNCE(0.5)
    assert float(call(Matryoshka(base, (4,)), Q, C).value) == pytest.approx(float(call(base, Q, C).value), rel=1e-6)
    parts = [float(call(base, Q[:, :d], C[:, :d]).value) for d in (2, 4)]
    assert float(call(Matryoshka(base, (4, 2), (1.0, 0.3)), Q, C).value) == pytest.approx(parts[1] + 0.3 * parts[0], rel=1e-5)


def test_a_size_has_no_gradient_beyond_itself_and_logs_are_those_of_the_largest():
    loss = Matryoshka(InfoNCE(), (1, 2))
    grads = jax.jit(jax.grad(lambda q: loss(q, C).value))(Q)
    assert (grads[:, 2:] == 0).all() and (grads[:, :2] != 0).any()
    assert float(call(loss, Q, C).logs["accuracy"]) == float(call(InfoNCE(), Q[:, :2], C[:, :2]).logs["accuracy"])


def test_rows_are_cut_before_they_are_made_unit_vectors():
    dot = InfoNCE(similarity="dot")
    assert float(call(Matryoshka(dot, (2,)), Q, C).value) == pytest.approx(
        float(call(InfoNCE(), Q[:, :2], C[:, :2]).value), rel=1e-5
    )


def test_drawn_sizes_follow_from_the_key_and_are_each_of_them_in_turn():
    loss = Matryoshka(InfoNCE(0.5), (1, 2, 4), (1.0, 10.0, 100.0), per_step=1)
    each = [w * float(call(InfoNCE(0.5), Q[:, :d], C[:, :d]).value) for d, w in ((1, 1), (2, 10), (4, 100))]
    of = jax.jit(lambda key: loss(Q, C, known=Known(key=key)).value)
    found = [float(of(jax.random.key(i))) for i in range(12)]
    which = [int(np.argmin(np.abs(np.asarray(each) - x))) for x in found]
    np.testing.assert_allclose(found, np.asarray(each)[which], rtol=1e-5)
    assert set(which) == {0, 1, 2} and float(of(jax.random.key(0))) == found[0]
    with pytest.raises(ConfigError, match=r"Matryoshka needs known.key, .* an objective in training"):
        loss(Q, C)


def test_it_needs_and_learns_what_its_loss_does():
    assert Matryoshka(GIST(), (2,)).needs == ("guide",) and Matryoshka(GIST(), (2, 4), per_step=1).needs == ("guide", "key")
    assert Matryoshka(Sigmoid(), (2,)).learned() == Sigmoid().learned() and Matryoshka(Sigmoid(), (2,)).alone
    assert Matryoshka(AdaptiveLayer(shallow=(1,)), (2,)).layers() == (1, -1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dims": ()}, r"Matryoshka.dims=\(\): sizes of at least 1, each once"),
        ({"dims": (4, 4)}, "each once"),
        ({"dims": (0, 4)}, "at least 1"),
        ({"dims": (2, 4), "weights": (1.0,)}, r"Matryoshka.weights=\(1.0,\): one for each of dims=\(2, 4\)"),
        ({"dims": (2,), "weights": (-1.0,)}, "Matryoshka: weights must not be negative"),
        ({"dims": (2, 4), "per_step": 3}, "Matryoshka.per_step=3: 1 to 2, as many as dims has"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Matryoshka(**fields)


def test_a_size_above_the_width_is_named():
    with pytest.raises(ConfigError, match="Matryoshka.dims: 512 is more than the width of the embeddings, 4"):
        Matryoshka(dims=(2, 512))(Q, C)
