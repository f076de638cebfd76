import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.layers.projector import Projector
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.byol import BYOL
from jaxemb.ops.draws import Draws
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))

ENCODER = Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),))
MODEL = BYOL(encoder=ENCODER, projector=Projector((16, 5)), predictor=Projector((7, 5)))
RAW = {"images": np.asarray(normal(0, 4, 8, 8, 3))}


def prepared():
    return jax.tree.map(jnp.asarray, MODEL.prepare(RAW, Draws((0,), len(RAW["images"]))))


@pytest.fixture(scope="module")
def variables():
    return jax.jit(MODEL.init)(jax.random.key(1), prepared())


def test_targets_are_the_teachers_projections_of_the_same_views(variables):
    y = apply(MODEL, {"params": variables["params"]}, prepared(), NOW, method="targets")  # no statistics are needed
    np.testing.assert_allclose(jnp.square(y).sum(-1), 1, rtol=1e-5)
    z = apply(MODEL, variables, prepared(), y, NOW, method="loss").views["projections"]
    np.testing.assert_allclose(y, z / np.linalg.norm(z, axis=-1, keepdims=True), rtol=1e-4, atol=1e-5)


def test_each_view_is_compared_with_the_other(variables):
    y = normal(5, 4, 2, 5)
    y = y / jnp.linalg.norm(y, axis=-1, keepdims=True)

    def value(y):
        return float(apply(MODEL, variables, prepared(), y, NOW, method="loss").value)

    z = apply(MODEL, variables, prepared(), y, NOW, method="loss").views["projections"]
    p, _ = MODEL.predictor.apply(
        {"params": variables["params"]["predictor"], "batch_stats": variables["batch_stats"]["predictor"]},
        z.reshape(8, 5),
        train=True,
        mutable=["batch_stats"],
    )
    p = (p / jnp.linalg.norm(p, axis=-1, keepdims=True)).reshape(4, 2, 5)
    cos = (p * y[:, ::-1]).sum(-1)
    assert value(y) == pytest.approx(float((2 - 2 * cos).sum(1).mean()), rel=1e-4)
    assert value(p[:, ::-1]) == pytest.approx(0, abs=1e-5)
    assert value(-p[:, ::-1]) == pytest.approx(8, rel=1e-5)


def test_monitor_sees_collapse(variables):
    y = jnp.full((4, 2, 5), 5**-0.5)
    assert float(apply(MODEL, variables, prepared(), y, NOW, method="loss").logs["target_std"]) == pytest.approx(0, abs=1e-6)


def test_one_object_for_both_is_two_modules():
    both = Projector((5, 5))
    params = jax.eval_shape(MODEL.clone(projector=both, predictor=both).init, jax.random.key(1), prepared())["params"]
    assert {k: params[k]["dense_0"]["kernel"].shape for k in ("projector", "predictor")} == {
        "projector": (8, 5),
        "predictor": (5, 5),
    }


def test_the_predictor_must_end_where_the_projector_does():
    with pytest.raises(ConfigError, match=r"predictor.widths=\(7, 4\) must end in the last of projector.widths=\(16, 5\)"):
        MODEL.clone(predictor=Projector((7, 4)))
