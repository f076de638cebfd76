"""Stacks over layers are known by how the model runs."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import Objective
from jaxemb.objectives.classify import Classify
from jaxemb.ops.paths import by_path
from jaxemb.train.initialised import initialiser
from jaxemb.train.optim import Optim
from jaxemb.train.scanned import scanned_paths
from jaxemb.train.state import create

BATCH = {"images": jnp.zeros((2, 8, 8, 1)), "labels": jnp.zeros(2, jnp.int32)}


def test_those_of_a_scan_and_no_others():
    for scan in (False, True):
        model = Classify(encoder=Transformer(stem=Patches(4), width=8, depth=2, blocks=(Block(Attention(2)),), scan=scan))
        paths = by_path(jax.eval_shape(model.init, jax.random.key(0), BATCH)["params"])
        expected = {p for p in paths if p.startswith("encoder/blocks/")} if scan else set()
        assert scanned_paths(model, BATCH) == expected and bool(expected) == scan


class Named(Objective):
    """Has a layer that is called `blocks`, and stacks that are not."""

    fields: dict  # no hash: nothing is kept

    @nn.compact
    def __call__(self, batch):
        x = nn.Dense(3, name="blocks")(batch["images"].reshape(2, -1))
        many = nn.vmap(nn.Dense, in_axes=None, variable_axes={"params": 0}, split_rngs={"params": True}, axis_size=5)
        return many(2, name="many")(x)


def test_names_decide_nothing():
    assert scanned_paths(Named({}), BATCH) == {"many/kernel", "many/bias"}


class Counted(Objective):
    """Says when it is traced."""

    @nn.compact
    def __call__(self, batch):
        TRACED.append(batch["images"].shape[0])
        return nn.Dense(3)(batch["images"].reshape(len(batch["images"]), -1))


TRACED = []


def test_shapes_stacks_and_the_first_state_share_a_trace_of_init():
    shapes = initialiser(Counted()).shapes(BATCH)
    assert scanned_paths(Counted(), BATCH) == set() and TRACED == [2]
    state = jax.jit(lambda b: create(Counted(), Optim().make(1), b, seed=0, ema=False))(BATCH)
    assert TRACED == [2] and jax.tree.map(jnp.shape, state.params) == jax.tree.map(jnp.shape, shapes["params"])
