"""The preset "fsdp+tensor" on a transformer: devices talk to each other in sums alone, and the result is that of one device."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.train.sharding import batch_sharding, make_mesh, on_mesh, shardings

BATCH = {"images": normal(0, 4, 16, 16, 3), "labels": jnp.arange(4)}
DEPTH = 2


@pytest.mark.parametrize("kv_heads", [None, 1, 2])
def test_a_layer_costs_two_sums_forward_and_no_gather_of_activations(kv_heads):
    block = Block(attention=Attention(heads=4, kv_heads=kv_heads))
    model = Classify(encoder=Transformer(stem=Patches(4), width=32, depth=DEPTH, blocks=(block,)), classes=4)
    params = jax.jit(model.init)(jax.random.key(1), BATCH)["params"]
    mesh = make_mesh({"data": 2, "model": 4 if kv_heads == 2 else 2})
    placed = shardings(params, "fsdp+tensor", mesh)
    q, k = (placed["encoder"]["block_0"]["attention"][name]["kernel"].spec for name in "qk")
    assert q[1] == "model" and (k[1] == "model") == (kv_heads is None)

    def encode(params, batch):
        return model.apply({"params": params}, batch, method="encode")

    rows = batch_sharding(mesh)
    forward = jax.jit(on_mesh(encode, mesh), in_shardings=(placed, rows), out_shardings=rows)
    assert collectives(forward, params) == {"all-gather": 0, "all-to-all": 0, "all-reduce": 2 * DEPTH}
    np.testing.assert_allclose(forward(params, BATCH), encode(params, BATCH), rtol=1e-4, atol=1e-5)
    if kv_heads is None:
        loss = jax.grad(lambda params, batch: jnp.square(encode(params, batch)).mean())
        backward = jax.jit(on_mesh(loss, mesh), in_shardings=(placed, rows), out_shardings=placed)
        assert collectives(backward, params)["all-gather"] == 0


def collectives(jitted, params):
    """How often the compiled program has each."""
    text = jitted.lower(params, BATCH).compile().as_text()
    return {name: len(re.findall(rf"= \S+ {name}(?:-start)?\(", text)) for name in ("all-gather", "all-to-all", "all-reduce")}
