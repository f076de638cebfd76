import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.layers.projector import Projector
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.resnet import ResNet
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.vicreg import VICReg, covariance, variance
from jaxemb.ops.draws import Draws
from jaxemb.types import Now
from jaxemb.views.crops import CropViews

NOW = Now(0, 1, jax.random.key(0))


MODEL = VICReg(encoder=Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),)), projector=Projector((6, 5)))
RAW = {"images": np.asarray(jax.random.normal(jax.random.key(0), (4, 8, 8, 3)))}


def prepared(model=MODEL, raw=RAW):
    return jax.tree.map(jnp.asarray, model.prepare(raw, Draws((0,), len(raw["images"]))))


@pytest.fixture(scope="module")
def variables():
    return jax.jit(MODEL.init)(jax.random.key(1), prepared())


def test_terms_by_hand():
    z = np.random.default_rng(0).normal(size=(7, 4))
    c = np.cov(z, rowvar=False)
    assert float(variance(jnp.asarray(z))) == pytest.approx(np.maximum(0, 1 - np.sqrt(np.diag(c) + 1e-4)).mean(), rel=1e-5)
    assert float(covariance(jnp.asarray(z))) == pytest.approx((np.square(c).sum() - np.square(np.diag(c)).sum()) / 4, rel=1e-5)


def test_collapse_costs_variance_and_copies_cost_covariance():
    assert float(variance(jnp.ones((6, 3)))) == pytest.approx(0.99)
    z = jax.random.normal(jax.random.key(0), (6, 1))
    var = float(z.var(ddof=1))
    assert float(covariance(jnp.broadcast_to(z, (6, 3)))) == pytest.approx(2 * var**2, rel=1e-5)
    assert float(variance(100 * jax.random.normal(jax.random.key(1), (50, 3)))) == 0


def test_loss_is_the_weighted_sum(variables):
    model = MODEL.clone(invariance_weight=2.0, variance_weight=3.0, covariance_weight=5.0)
    out = model.apply(variables, prepared(), None, NOW, method="loss")
    expected = np.dot([2, 3, 5], [float(out.logs[k]) for k in ("invariance", "variance", "covariance")])
    assert float(out.value) == pytest.approx(expected, rel=1e-5)
    z = out.views["projections"]
    assert z.shape == (4, 2, 5)
    assert float(out.logs["invariance"]) == pytest.approx(float(jnp.square(z[:, 0] - z[:, 1]).mean()), rel=1e-5)


def test_views_are_the_same_whenever_they_are_asked_for(variables):
    a, b = (MODEL.apply(variables, prepared(), method="embed") for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a[:, 0], a[:, 1])


def test_encode_is_below_the_projector_and_project_above_it(variables):
    batch = {"images": prepared()["images"]}
    z, k = (MODEL.apply(variables, batch, method=m) for m in ("encode", "project"))
    assert z.shape == (4, 8) and k.shape == (4, 5)
    np.testing.assert_allclose(
        MODEL.apply(variables, {"images": batch["images"][::-1]}, method="project")[::-1], k, rtol=1e-4, atol=1e-5
    )


def test_a_resnet_is_an_encoder_too():
    model = MODEL.clone(encoder=ResNet(18, width=4))
    variables = jax.eval_shape(model.init, jax.random.key(1), prepared(model))
    assert set(variables["batch_stats"]) == {"encoder", "projector"}

    def loss(variables, batch):
        return model.apply(variables, batch, None, NOW, method="loss", mutable=["batch_stats"])

    out, new = jax.eval_shape(loss, variables, prepared(model))
    assert out.value.shape == () and new["batch_stats"] == variables["batch_stats"]


def test_one_example_is_too_few(variables):
    one = prepared(raw={"images": RAW["images"][:1]})
    with pytest.raises(ConfigError, match=r"it needs at least 2 in a \(micro-\)batch, not 1"):
        MODEL.apply(variables, one, None, NOW, method="loss")
    jax.eval_shape(MODEL.init, jax.random.key(0), one)  # shapes of parameters are found from one example


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"variance_weight": -1.0}, "VICReg: variance_weight must not be negative, is -1.0"),
        ({"views": CropViews(count=3)}, "VICReg compares two views, not views.count=3"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        MODEL.clone(**fields)
