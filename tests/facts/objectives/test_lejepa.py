import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.layers.projector import Projector
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.objectives.lejepa import LeJEPA, invariance
from jaxemb.ops.draws import Draws
from jaxemb.types import Now
from jaxemb.views.crops import CropViews

NOW = Now(0, 1, jax.random.key(0))


ENCODER = Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),))
MODEL = LeJEPA(encoder=ENCODER, projector=Projector((6, 5)), views=CropViews(count=3), slices=16)
LOCAL = MODEL.clone(views=CropViews(count=2), local=CropViews(count=1, size=4))
RAW = {"images": np.asarray(normal(0, 4, 8, 8, 3))}
RNGS = {"dropout": jax.random.key(2)}


def prepared(model=MODEL):
    return jax.tree.map(jnp.asarray, model.prepare(RAW, Draws((0,), len(RAW["images"]))))


def test_equal_views_are_invariant():
    z = normal(0, 4, 1, 5)
    assert float(invariance(jnp.broadcast_to(z, (4, 3, 5)), 2)) == pytest.approx(0, abs=1e-12)


def test_with_global_views_alone_the_centre_adds_no_gradient():
    z = normal(0, 4, 3, 5)

    def held(z):
        centre = jax.lax.stop_gradient(z.mean(1, keepdims=True))
        return jnp.square(centre - z).mean()

    np.testing.assert_allclose(jax.grad(lambda z: invariance(z, 3))(z), jax.grad(held)(z), atol=1e-7)


@pytest.mark.parametrize("model", [MODEL, LOCAL], ids=["global", "local"])
def test_loss_is_the_sum_of_its_parts(model):
    variables = jax.jit(model.init)(jax.random.key(1), prepared(model))
    convex = model.local is not None
    model = model.clone(weight=0.25, convex=convex)
    out = apply(model, variables, prepared(model), None, NOW, method="loss", rngs=RNGS)
    assert out.views["projections"].shape == (4, 3, 5)
    agree, normal = (float(out.logs[k]) for k in ("invariance", "sigreg"))
    assert agree == pytest.approx(float(invariance(out.views["projections"], model.views.count)), rel=1e-5)
    assert float(out.value) == pytest.approx((0.75 if convex else 1) * agree + 0.25 * normal, rel=1e-5)


def test_ijepa_takes_sigreg_as_a_term():
    """Sown, so that the train step adds it; the objective's own loss is what it was, and no random number is drawn without it."""
    plain = IJEPA(encoder=ENCODER, predictor=Predictor(width=8, depth=1), masks=FixedBlocks(1, (1, 1), 2))
    batch = jax.tree.map(jnp.asarray, plain.prepare(RAW, Draws((0,), len(RAW["images"]))))
    params = {"params": jax.jit(plain.init)(jax.random.key(1), batch)["params"]}
    padded = {**batch, "context": jnp.pad(batch["context"], ((0, 0), (0, 0), (0, 1)))}
    padded["context_mask"] = jnp.ones((4, 1, 3), bool).at[:, :, 2].set(False)

    def run(batch, rngs, **fields):
        model = plain.clone(**fields)
        y = jnp.zeros((4, 4, 8))
        out, new = apply(model, params, batch, y, NOW, method="loss", rngs=rngs, mutable=["losses"])
        return float(out.value), [float(x) for x in jax.tree.leaves(new)]

    expected, nothing = run(batch, {})
    assert nothing == []
    for on in ("pooled", "tokens"):
        value, (term,) = run(batch, RNGS, sigreg=0.02, sigreg_on=on)
        assert value == pytest.approx(expected, rel=1e-6)
        assert run(padded, RNGS, sigreg=0.04, sigreg_on=on)[1] == [pytest.approx(2 * term, rel=1e-4)]
    for fields, message in (({"sigreg": -1.0}, "sigreg must not be negative"), ({"sigreg_on": "all"}, "valid: pooled, tokens")):
        with pytest.raises(ConfigError, match=message):
            plain.clone(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": -0.1}, "LeJEPA: weight must not be negative, is -0.1"),
        ({"weight": 1.5, "convex": True}, "weight=1.5 must be at most 1 with convex=True"),
        ({"slices": 0}, "slices must be at least 1"),
        ({"points": 1}, "points must be at least 2"),
        ({"views": CropViews(count=1)}, "needs two views or more in all"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        MODEL.clone(**fields)
