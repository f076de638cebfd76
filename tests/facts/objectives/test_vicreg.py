import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.contrastive import VICRegLoss
from jaxemb.layers.projector import Projector
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.resnet import ResNet
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.vicreg import VICReg
from jaxemb.ops.draws import Draws
from jaxemb.types import Now
from jaxemb.views.crops import CropViews

NOW = Now(0, 1, jax.random.key(0))


MODEL = VICReg(encoder=Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),)), projector=Projector((6, 5)))
RAW = {"images": np.asarray(normal(0, 4, 8, 8, 3))}


def prepared(model=MODEL, raw=RAW):
    return jax.tree.map(jnp.asarray, model.prepare(raw, Draws((0,), len(raw["images"]))))


@pytest.fixture(scope="module")
def variables():
    return jax.jit(MODEL.init)(jax.random.key(1), prepared())


def test_loss_reads_the_projections_of_both_views(variables):
    out = apply(MODEL, variables, prepared(), None, NOW, method="loss")
    z = out.views["projections"]
    assert z.shape == (4, 2, 5)
    assert float(out.value) == pytest.approx(float(VICRegLoss()(z[:, 0], z[:, 1]).value), rel=1e-5)
    assert set(out.logs) == {"invariance", "variance", "covariance"}


def test_views_are_the_same_whenever_they_are_asked_for(variables):
    a, b = (apply(MODEL, variables, prepared(), method="embed") for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a[:, 0], a[:, 1])


def test_encode_is_below_the_projector_and_project_above_it(variables):
    batch = {"images": prepared()["images"]}
    z, k = (apply(MODEL, variables, batch, method=m) for m in ("encode", "project"))
    assert z.shape == (4, 8) and k.shape == (4, 5)
    np.testing.assert_allclose(
        apply(MODEL, variables, {"images": batch["images"][::-1]}, method="project")[::-1], k, rtol=1e-4, atol=1e-5
    )


def test_a_resnet_is_an_encoder_too():
    model = MODEL.clone(encoder=ResNet(18, width=4))
    variables = jax.eval_shape(model.init, jax.random.key(1), prepared(model))
    assert set(variables["batch_stats"]) == {"encoder", "projector"}

    def loss(variables, batch):
        return apply(model, variables, batch, None, NOW, method="loss", mutable=["batch_stats"])

    out, new = jax.eval_shape(loss, variables, prepared(model))
    assert out.value.shape == () and new["batch_stats"] == variables["batch_stats"]


def test_one_example_is_too_few(variables):
    one = prepared(raw={"images": RAW["images"][:1]})
    with pytest.raises(ConfigError, match=r"it needs at least 2 in a \(micro-\)batch, not 1"):
        apply(MODEL, variables, one, None, NOW, method="loss")
    jax.eval_shape(MODEL.init, jax.random.key(0), one)  # shapes of parameters are found from one example


def test_another_number_of_views_is_named():
    with pytest.raises(ConfigError, match="VICReg compares two views, not views.count=3"):
        MODEL.clone(views=CropViews(count=3))
