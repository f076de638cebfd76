import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.aggregation import Aggregation
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.dmt_jepa import DMTJEPA
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.ops.draws import Draws
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))


ENCODER = Transformer(
    stem=Patches(2), width=16, depth=1, blocks=(Block(Attention(2, kernel_init="xavier"), FeedForward(kernel_init="xavier")),)
)
FIELDS = {"encoder": ENCODER, "predictor": Predictor(width=16, depth=1), "masks": FixedBlocks()}


@pytest.fixture(scope="module")
def batch():
    images = np.random.default_rng(1).standard_normal((4, 8, 8, 1), np.float32)
    return {k: jnp.asarray(v) for k, v in DMTJEPA(**FIELDS).prepare({"images": images}, Draws((0,), len(images))).items()}


@pytest.fixture(scope="module")
def variables(batch):
    return jax.jit(DMTJEPA(**FIELDS).init)(jax.random.key(0), batch)


def targets(objective, variables, batch):
    return apply(objective, variables, batch, NOW, method="targets")


def test_equal_features_give_one_target(variables):
    features = jnp.broadcast_to(jnp.arange(16.0), (2, 16, 16))
    for fields in ({}, {"neighbours": 8}, {"wrap": False, "neighbours": 2}):
        got = apply(DMTJEPA(**FIELDS, **fields), variables, features, (4, 4), method="aggregate")
        np.testing.assert_allclose(got, jnp.broadcast_to(got[:1, :1], got.shape), rtol=1e-5, atol=1e-5)


def test_a_patch_enters_its_own_target_through_the_mean_alone(variables):
    features = normal(0, 1, 16, 16)
    moved = features.at[0, 5].add(1.0).at[0, 0].add(-1.0)  # the same mean; patch 0 is a neighbour of 5
    assert (moved.mean(1) - features.mean(1)).max() < 1e-6

    @jax.jit
    def target(x, valid):
        objective = DMTJEPA(**FIELDS)
        ids = jnp.broadcast_to(jnp.array([1, 2, 4, 6]), (1, 16, 4))  # neither 0 nor 5
        head = objective.bind(variables).head
        return head.neighbours(x, ids, jnp.broadcast_to(valid, (1, 16, 4)), x.mean(1, keepdims=True))

    every = jnp.array([True] * 4)
    np.testing.assert_allclose(target(features, every)[0, 5], target(moved, every)[0, 5], atol=1e-5)
    order = features[:, jnp.array([0, 2, 1, 3, 6, 5, 4, *range(7, 16)])]  # the order of neighbours does not matter
    np.testing.assert_allclose(target(features, every), target(order, every), atol=1e-5)
    # A neighbour beyond the border counts for nothing.
    cut = jnp.array([True, True, True, False])
    far = features.at[0, 6].add(3.0).at[0, 9].add(-3.0)
    np.testing.assert_allclose(target(far, cut)[0, 5], target(features, cut)[0, 5], atol=1e-5)


def test_from_zero_a_target_knows_its_neighbours_alone(variables):
    """A change far away moves targets that start from the mean of the image, and not those that start from zero."""
    features = normal(0, 1, 36, 16)
    far = features.at[0, 35].add(0.1)  # a corner: with wrap=False no neighbour of patch 0
    moved = {}
    for start in ("mean", "zero"):
        objective = DMTJEPA(**FIELDS, start=start, wrap=False, neighbours=2)
        a, b = (apply(objective, variables, x, (6, 6), method="aggregate") for x in (features, far))
        moved[start] = float(jnp.abs(a[0, 0] - b[0, 0]).max())
    assert moved["zero"] == 0 < moved["mean"]


def test_the_head_of_the_teacher_has_no_gradient_and_that_of_the_context_has(batch, variables):
    objective = DMTJEPA(**FIELDS)
    fixed = targets(objective, variables, batch)

    def loss(params):
        return apply(objective, {"params": params}, batch, fixed, NOW, method="loss", rngs={"dropout": jax.random.key(0)}).value

    grads = jax.jit(jax.grad(loss))(variables["params"])
    assert all(np.any(np.asarray(g)) for g in jax.tree.leaves(grads["head"]["blocks_0"]["out"]))
    alone = DMTJEPA(**FIELDS, context_head=False)
    grads = jax.jit(
        jax.grad(lambda p: apply(alone, {"params": p}, batch, fixed, NOW, method="loss", rngs={"dropout": jax.random.key(0)}).value)
    )(variables["params"])
    assert not any(np.any(np.asarray(g)) for g in jax.tree.leaves(grads["head"]))


def test_without_heads_it_is_ijepa(batch, variables):
    plain, none = IJEPA(**FIELDS), DMTJEPA(**FIELDS, target_head=False, context_head=False)
    np.testing.assert_array_equal(targets(none, variables, batch), targets(plain, variables, batch))
    fixed = targets(plain, variables, batch)
    values = [
        apply(o, variables, batch, fixed, NOW, method="loss", rngs={"dropout": jax.random.key(0)}).value for o in (plain, none)
    ]
    assert float(values[0]) == float(values[1])


def context(variables, z, mask=None):
    return jax.jit(lambda v, z, m: DMTJEPA(**FIELDS).bind(v).head.context(z, m))(variables, z, mask)


def test_masked_context_patches_are_not_averaged(variables):
    z = normal(3, 2, 5, 16)
    mask = jnp.array([[True] * 5, [True, True, True, False, False]])
    out = context(variables, z, mask)
    np.testing.assert_allclose(out[1, :3], context(variables, z[1:, :3])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"neighbours": 9}, "neighbours=9 must lie in 1 to 8, the patches of window=3"),
        ({"neighbours": 0}, "neighbours=0 must lie in 1 to 8"),
        ({"window": 4}, "window=4 must be odd"),
        ({"start": "men"}, "start='men'; did you mean 'mean'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigError, match=message):
        DMTJEPA(**FIELDS, **fields)


def test_bad_choices_that_show_when_it_runs(batch):
    with pytest.raises(ConfigError, match="kind='both'"):
        jax.eval_shape(DMTJEPA(**FIELDS, head=Aggregation(kind="both")).init, jax.random.key(0), batch)
    with pytest.raises(ConfigError, match="window=5 is larger than the grid of 4 x 4 patches"):
        jax.eval_shape(DMTJEPA(**FIELDS, window=5).init, jax.random.key(0), batch)
