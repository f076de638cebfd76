"""Parameters cut over the devices that share the batch: they are gathered, activations never; lookups gather no table."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import token_ids

from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.next_token import NextToken
from jaxemb.objectives.pairs import Pairs
from jaxemb.ops.rows import by_rows, looked_up
from jaxemb.posemb.rotary import Rotary
from jaxemb.train.scanned import scanned_paths
from jaxemb.train.sharding import batch_sharding, make_mesh, on_mesh, shardings
from jaxemb.train.summary import nbytes, on_device
from jaxemb.types import Now

B, N, WIDTH, VOCABULARY = 24, 5, 32, 1024  # no size of a parameter is one of a batch
BATCH = {"tokens": token_ids(0, VOCABULARY, B, N)}
NOW = Now(0, 1, jax.random.key(0))
MODEL = NextToken(
    encoder=Transformer(
        stem=Tokens(VOCABULARY),
        pos=Rotary(),
        width=WIDTH,
        depth=2,
        blocks=(Block(Attention(4, kv_heads=2), FeedForward(gated=True)),),
        causal=True,
        scan=True,
    )
)


def moved(compiled):
    """(kind, shape) of everything that devices send each other."""
    kinds = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
    lines = re.findall(rf"= (.+?) ({kinds})(?:-start)?\(", compiled.as_text())
    return [(kind, tuple(map(int, s.split(",")))) for shapes, kind in lines for s in re.findall(r"\[([\d,]+)\]", shapes)]


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(jax.random.key(1), BATCH)["params"]


def loss(params, batch):
    return MODEL.apply({"params": params}, batch, None, NOW, method="loss").value


@pytest.fixture(scope="module")
def alone(params):
    return jax.device_get(jax.jit(jax.value_and_grad(loss))(params, BATCH))


@pytest.mark.parametrize(
    ("axes", "preset"), [({"fsdp": 8}, "fsdp"), ({"data": 2, "fsdp": 2, "model": 2}, "fsdp+tensor")], ids=["fsdp", "fsdp+tensor"]
)
def test_a_step_moves_parameters_and_no_activation_of_all_rows(params, alone, axes, preset):
    mesh = make_mesh(axes)
    placed = shardings(params, preset, mesh, scanned_paths(MODEL, BATCH))
    step = jax.jit(
        on_mesh(jax.value_and_grad(loss), mesh), in_shardings=(placed, batch_sharding(mesh)), out_shardings=(None, placed)
    )
    compiled = step.lower(params, BATCH).compile()
    rows = B * N // math.prod(mesh.shape[a] for a in ("data", "fsdp"))
    for kind, shape in moved(compiled):
        if not {B, N, B * N} & set(shape) or math.prod(shape) <= B * N:
            continue  # a parameter; ids, masks and sums of a row may be whole
        assert kind in ("all-reduce", "all-to-all"), (kind, shape)  # over model; features of a lookup that change places
        assert math.prod(shape) <= rows * WIDTH * mesh.shape["fsdp"] / mesh.shape["data"], (kind, shape)
    held = compiled.memory_analysis().argument_size_in_bytes - BATCH["tokens"].nbytes / math.prod(
        mesh.shape[a] for a in ("data", "fsdp")
    )
    assert held == on_device(jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), params, placed))
    assert held <= 1.1 * nbytes(params) / (mesh.size / mesh.shape["data"])
    value, gradient = jax.device_get(compiled(jax.device_put(params, placed), jax.device_put(BATCH, batch_sharding(mesh))))
    np.testing.assert_allclose(value, alone[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), gradient, alone[1])


def test_without_a_mesh_or_with_rows_that_do_not_divide_nothing_is_said():
    x = jnp.zeros((6, 2, 8))
    assert by_rows(x) is x and looked_up(x) is x
    text = jax.make_jaxpr(on_mesh(lambda x: looked_up(by_rows(x)), make_mesh({"fsdp": 4})))
    assert "sharding_constraint" not in str(text(x)) and "sharding_constraint" in str(text(jnp.zeros((8, 2, 8))))


def test_rows_with_a_key_each_stay_on_their_devices_while_pieces_are_embedded():
    """Left to XLA, every device embeds all rows of a piece: of 7 billion parameters on 64 chips fourteen times the work."""
    block = Block(Attention(4, dropout=0.1), FeedForward())
    pairs = Pairs(
        encoder=Transformer(stem=Tokens(VOCABULARY), pos=Rotary(), width=WIDTH, depth=2, blocks=(block,), scan=True), pieces=3
    )
    batch = BATCH | {"mask": jnp.ones((B, N), bool)}
    params = jax.eval_shape(jax.jit(pairs.init), {"params": jax.random.key(0), "dropout": jax.random.key(0)}, batch)["params"]
    mesh = make_mesh({"fsdp": 8})

    def loss(params, batch, key):
        return pairs.apply({"params": params}, batch, None, NOW, method="loss", rngs={"dropout": key}).value

    placed = shardings(params, "fsdp", mesh, scanned_paths(pairs, batch))
    step = jax.jit(on_mesh(jax.grad(loss), mesh), in_shardings=(placed, batch_sharding(mesh), None), out_shardings=placed)
    for kind, shape in moved(step.lower(params, batch, jax.random.key(0)).compile()):
        activation = N in shape and math.prod(shape) > B * N
        assert not activation or kind == "all-to-all", (kind, shape)
