import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.layers.projector import Projector
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.simclr import SimCLR, nt_xent
from jaxemb.ops.draws import Draws
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))

MODEL = SimCLR(encoder=Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),)), projector=Projector((6, 5)))
RAW = {"images": np.asarray(jax.random.normal(jax.random.key(0), (4, 8, 8, 3)))}


def prepared():
    return jax.tree.map(jnp.asarray, MODEL.prepare(RAW, Draws((0,), len(RAW["images"]))))


def test_loss_by_hand():
    z = np.random.default_rng(0).normal(size=(3, 2, 4))
    rows = (z / np.linalg.norm(z, axis=-1, keepdims=True)).reshape(6, 4)
    similarity = np.exp(rows @ rows.T / 0.5)
    losses = [-np.log(similarity[r, r ^ 1] / (similarity[r].sum() - similarity[r, r])) for r in range(6)]
    value, _ = nt_xent(jnp.asarray(z, jnp.float32), 0.5)
    assert float(value) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(nt_xent(jnp.asarray(3 * z, jnp.float32), 0.5)[0]) == pytest.approx(np.mean(losses), rel=1e-5)


def test_equal_projections_give_the_logarithm_of_the_others():
    value, _ = nt_xent(jnp.ones((4, 2, 3)), 0.1)
    assert float(value) == pytest.approx(np.log(7), rel=1e-6)


def test_pairs_far_from_all_others_give_nothing():
    value, accuracy = nt_xent(jnp.broadcast_to(10 * jnp.eye(4)[:, None], (4, 2, 4)), 0.05)
    assert float(value) == pytest.approx(0, abs=1e-6) and float(accuracy) == 1


def test_gradient_is_finite_and_for_zero_projections_too():
    for z in (jax.random.normal(jax.random.key(0), (3, 2, 4)), jnp.zeros((3, 2, 4))):
        assert bool(jnp.isfinite(jax.grad(lambda z: nt_xent(z, 0.1)[0])(z)).all())


def test_loss_reads_the_projections_of_both_views():
    variables = jax.jit(MODEL.init)(jax.random.key(1), prepared())
    out = MODEL.apply(variables, prepared(), None, NOW, method="loss")
    value, accuracy = nt_xent(out.views["projections"], 0.1)
    assert float(out.value) == pytest.approx(float(value)) and float(out.logs["accuracy"]) == float(accuracy)
    one = {k: v[:1] for k, v in prepared().items()}
    with pytest.raises(ConfigError, match="SimCLR compares the examples of a batch: it needs at least 2"):
        MODEL.apply(variables, one, None, NOW, method="loss")


def test_bad_temperature_is_named():
    with pytest.raises(ConfigError, match="temperature must be above 0, is 0.0"):
        MODEL.clone(temperature=0.0)
