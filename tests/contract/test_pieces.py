"""Objectives that compare embeddings: loss and gradient are those of the whole batch, in any number of pieces and devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from tiny import tiny

from jaxemb.config import ConfigError
from jaxemb.discover import members
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.projector import Projector
from jaxemb.layers.recurrent_binary import RecurrentBinary
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.mlp import MLP
from jaxemb.nn.resnet import ResNet
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.binary import BinaryPairs
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.objectives.lejepa import LeJEPA
from jaxemb.objectives.pair_scores import PairScores
from jaxemb.objectives.pairs import Pairs
from jaxemb.objectives.simclr import SimCLR
from jaxemb.ops.draws import Draws
from jaxemb.posemb.sincos import SinCos
from jaxemb.train.optim import Optim
from jaxemb.train.sharding import on_mesh
from jaxemb.train.state import create
from jaxemb.train.step import make_step
from jaxemb.types import Now
from jaxemb.views.base import Views

B = 16
NOW = Now(0, 1, jax.random.key(0))
RAW = {"images": np.asarray(normal(0, B, 8, 8, 3))}
VIT = Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),))
TEXT = Transformer(stem=Tokens(16), pos=SinCos(axes=1), width=8, depth=1, blocks=(Block(Attention(2)),))


@dataclasses.dataclass(frozen=True)
class Shaded(Views):
    """Views that compile at once."""

    def view(self, x, seed):
        return x * (1 + 0.3 * jax.random.normal(jax.random.key(seed), x.shape[-1:]))[None, None]


def prepared(model):
    if isinstance(model, Pairs | PairScores):
        ids = token_ids(1, 16, 2, B, 4)
        batch = {"query": {"tokens": ids[0]}, "positive": {"tokens": ids[1]}}
        return batch if isinstance(model, Pairs) else batch | {"labels": ids[0, :, 0] % 2}
    if isinstance(model, BinaryPairs):
        return {role: {"vectors": normal(seed, B, 6)} for seed, role in enumerate(("query", "positive"))}
    return jax.tree.map(jnp.asarray, model.prepare(RAW, Draws((0,), B)))


def gradient(model, variables, batch, devices=1):
    """(value, gradient) of the loss, the rows over so many devices."""
    mesh = Mesh(np.array(jax.devices()[:devices]).reshape(devices, 1), ("data", "fsdp"))

    def loss(params):
        targets = jax.lax.stop_gradient(model.apply(variables, placed, NOW, method="targets"))
        rngs = {"dropout": jax.random.key(2)}
        mutable = [name for name in variables if name != "params"]
        return model.apply({**variables, "params": params}, placed, targets, NOW, method="loss", rngs=rngs, mutable=mutable)[
            0
        ].value

    placed = jax.device_put(batch, NamedSharding(mesh, P("data")))
    return jax.device_get(
        jax.jit(on_mesh(jax.value_and_grad(loss), mesh))(jax.device_put(variables["params"], NamedSharding(mesh, P())))
    )


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-5), a, b)


def far(a, b):
    return any(not np.allclose(x, y, rtol=1e-2, atol=1e-4) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


CASES = [m.cls for m in members("objectives") if issubclass(m.cls, Contrastive)]
OWN = (Pairs, PairScores, BinaryPairs)
"""They take no images."""


@pytest.mark.parametrize("cls", CASES, ids=lambda c: c.__name__)
def test_pieces_change_neither_loss_nor_gradient(cls):
    own = {"binariser": RecurrentBinary(8, 1, norm=False)} if cls is BinaryPairs else {"encoder": TEXT}
    model = tiny(cls, **own) if cls in OWN else tiny(cls, encoder=MLP((8,)), views=Shaded())
    if isinstance(model, LeJEPA):
        model = model.clone(local=Shaded(count=1))
    batch = prepared(model)
    variables = jax.jit(model.init)(jax.random.key(1), batch)
    whole = gradient(model, variables, batch)
    assert_close(gradient(model.clone(pieces=4), variables, batch), whole)


@pytest.fixture(scope="module")
def dropping():
    """(a model with dropout, its variables, its gradient in one piece)."""
    model = Pairs(encoder=TEXT.clone(blocks=(Block(Attention(2, dropout=0.3), FeedForward(dropout=0.3)),)))
    variables = jax.jit(model.init)(jax.random.key(1), prepared(model))
    return model, variables, gradient(model.clone(pieces=1), variables, prepared(model))


def test_dropout_is_that_of_the_row_in_any_number_of_pieces_and_devices(dropping):
    model, variables, expected = dropping
    for pieces, devices in ((2, 1), (16, 1), (4, 2), (2, 8)):
        assert_close(gradient(model.clone(pieces=pieces), variables, prepared(model), devices), expected)
    assert far(gradient(model, variables, prepared(model)), expected), "the rows have keys of their own"


def test_a_key_a_piece_is_found(dropping, monkeypatch):
    """The planted fault: dropout by the piece gives another gradient for every number of pieces."""
    model, variables, expected = dropping
    monkeypatch.setattr(jax.random, "split", lambda key, n=2: jnp.broadcast_to(key, (n,)))
    assert far(gradient(model.clone(pieces=2), variables, prepared(model)), expected)


def test_memory_is_that_of_a_piece():
    model = SimCLR(encoder=VIT.clone(depth=2, width=32), projector=Projector((6, 5)), views=Shaded())
    batch = prepared(model)
    shapes = jax.eval_shape(model.init, jax.random.key(1), batch)

    def temporaries(pieces):
        def loss(params, stats, batch):
            m = model.clone(pieces=pieces)
            return m.apply({"params": params, **stats}, batch, None, NOW, method="loss", mutable=["batch_stats"])[0].value

        stats = {"batch_stats": shapes["batch_stats"]}
        return jax.jit(jax.grad(loss)).lower(shapes["params"], stats, batch).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(16) < temporaries(None) / 4


def test_the_step_is_the_same_with_a_watched_first_layer_and_a_sown_loss():
    """TrAct's moments and losses that modules sow are means over the pieces."""

    class Sowing(MLP):
        def __call__(self, images, *, train=False):
            out = super().__call__(images, train=train)
            self.sow("losses", "size", jnp.square(out.tokens).mean())
            return out

    optim = Optim("sgd", lr=0.1, schedule="constant", tract=(("encoder/stem", 0.1),))
    found = []
    for pieces in (None, 4):
        model = SimCLR(encoder=Sowing((8,)), projector=Projector((6, 5)), views=Shaded(), pieces=pieces)
        batch = prepared(model)
        state = jax.jit(lambda b, model=model: create(model, optim.make(10), b, seed=0, ema=False))(batch)
        state, metrics = jax.jit(make_step(model, optim, steps=10))(state, batch)
        assert "size" in metrics and float(metrics["size"]) > 0
        found.append((state.params, metrics["size"], metrics["loss"]))
    assert_close(*found)


def test_several_views_of_a_row_under_dropout_stay_with_their_row_on_two_devices():
    """In pieces the views of an image are rows that the devices could divide, and must not."""
    block = Block(Attention(2, dropout=0.3), FeedForward(dropout=0.3))
    model = SimCLR(encoder=VIT.clone(blocks=(block,)), projector=Projector((6, 5)), views=Shaded(), pieces=2)
    batch = prepared(model)
    shapes = jax.eval_shape(model.init, {"params": jax.random.key(1), "dropout": jax.random.key(2)}, batch)
    mesh = Mesh(np.array(jax.devices()[:2]).reshape(2, 1), ("data", "fsdp"))

    def loss(params, batch):
        held = {**shapes, "params": params} | {k: jax.tree.map(lambda x: jnp.zeros(x.shape), v) for k, v in rest.items()}
        out = model.apply(held, batch, None, NOW, method="loss", rngs={"dropout": jax.random.key(2)}, mutable=[*rest])
        return out[0].value

    rest = {name: x for name, x in shapes.items() if name != "params"}
    placed = jax.device_put(batch, NamedSharding(mesh, P("data")))
    assert jax.jit(on_mesh(jax.grad(loss), mesh)).lower(shapes["params"], placed)


def test_what_modules_sow_is_averaged_over_rows_with_keys_of_their_own():
    class Sowing(MLP):
        def __call__(self, images, *, train=False):
            out = super().__call__(images, train=train)
            self.sow("losses", "size", jnp.square(out.tokens).mean() + 0 * jax.random.uniform(self.make_rng("dropout")))
            return out

    model = SimCLR(encoder=Sowing((8,)), projector=Projector((6, 5)), views=Shaded())
    batch = prepared(model)
    variables = jax.jit(model.init)({"params": jax.random.key(1), "dropout": jax.random.key(2)}, batch)
    variables = {name: x for name, x in variables.items() if name != "losses"}
    rngs, mutable = {"dropout": jax.random.key(3)}, ["losses", "batch_stats"]

    def sown(pieces):
        run = jax.jit(lambda v: model.clone(pieces=pieces).apply(v, batch, None, NOW, method="loss", rngs=rngs, mutable=mutable))
        return run(variables)[1]["losses"]

    assert_close(sown(4), sown(None))


@pytest.mark.parametrize(
    ("pieces", "devices", "message"),
    [
        (3, 1, "a .micro-.batch of 16 rows cannot be cut into pieces=3 of equal size that 1 devices share"),
        (4, 8, "pieces=4 of equal size that 8 devices share; choose pieces so that 16 / pieces is a multiple of 8"),
    ],
)
def test_pieces_that_do_not_divide_are_refused(dropping, pieces, devices, message):
    model, variables, _ = dropping
    with pytest.raises(ConfigError, match=message):
        gradient(model.clone(pieces=pieces), variables, prepared(model), devices)


def test_an_encoder_with_batch_norm_is_refused_in_pieces_and_no_pieces_as_well():
    model = SimCLR(encoder=ResNet(18, width=4), projector=Projector((6, 5)), views=Shaded(), pieces=2)
    batch = prepared(model)
    shapes = jax.eval_shape(model.init, jax.random.key(1), batch)
    with pytest.raises(ConfigError, match=r"SimCLR.pieces=2: 'encoder/stage1_block0_norm1/mean' is a statistic of the batch"):
        jax.eval_shape(lambda v: model.apply(v, batch, None, NOW, method="loss", mutable=["batch_stats"]), shapes)
    with pytest.raises(ConfigError, match="SimCLR.pieces must be at least 1, is 0"):
        model.clone(pieces=0)
