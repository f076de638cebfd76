"""`Loss.weight` is the denominator of `value`: what batches with padding give together, their parts give as well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.objectives.next_token import NextToken, decoder
from jaxemb.ops.draws import Draws
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))
VIT = Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),))
IMAGES = np.asarray(jax.random.normal(jax.random.key(0), (4, 16, 16, 3)))


def tokens(kept):
    mask = np.arange(6)[None] < np.asarray(kept)[:, None]
    return {"tokens": jax.random.randint(jax.random.key(1), (4, 6), 0, 16), "mask": mask}


def blocks(kept):
    batch = IJEPA(encoder=VIT, masks=FixedBlocks()).prepare({"images": IMAGES}, Draws((0,), 4))
    mask = np.arange(batch["targets"].shape[2])[None, None] < np.asarray(kept)[:, None, None]
    return batch | {"targets_mask": np.broadcast_to(mask, batch["targets"].shape)}


CASES = {
    "NextToken": (
        NextToken(encoder=decoder(stem=Tokens(16), width=8, depth=1, blocks=(Block(Attention(2)),))),
        tokens,
        [6, 3, 2, 4],
    ),
    "IJEPA": (IJEPA(encoder=VIT, predictor=Predictor(width=8, depth=1), masks=FixedBlocks()), blocks, [4, 1, 2, 4]),
    "Classify": (Classify(encoder=VIT, classes=3), lambda known: {"images": IMAGES, "labels": np.asarray(known)}, [0, -1, 1, 2]),
}
NOTHING = {"NextToken": [0] * 4, "IJEPA": [0] * 4, "Classify": [-1] * 4}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    model, make, kept = CASES[request.param]
    batch = jax.tree.map(jnp.asarray, make(kept))
    variables = jax.jit(model.init)(jax.random.key(1), batch)
    if "head" in variables["params"]:  # zeros at the start, where every loss is the same
        variables["params"]["head"]["kernel"] = jax.random.normal(jax.random.key(2), variables["params"]["head"]["kernel"].shape)

    @jax.jit
    def loss(params, batch):
        targets = jax.lax.stop_gradient(model.apply({"params": params}, batch, NOW, method="targets"))
        out = model.apply({"params": params}, batch, targets, NOW, method="loss", rngs={"dropout": jax.random.key(0)})
        return out.value, jnp.asarray(out.weight)

    return jax.jit(jax.value_and_grad(loss, has_aux=True)), variables["params"], batch, make(NOTHING[request.param])


def test_the_weighted_mean_of_the_halves_is_the_loss_of_the_whole(case):
    loss, params, batch, _ = case
    (value, weight), grads = loss(params, batch)
    halves = [loss(params, jax.tree.map(lambda x, i=i: x[i::2], batch)) for i in range(2)]
    weights = np.array([float(w) for (_, w), _ in halves])
    assert weights.sum() == float(weight) and len(set(weights)) == 2, "the case should have uneven halves"
    shares = weights / weights.sum()
    assert float(value) == pytest.approx(sum(s * float(v) for s, ((v, _), _) in zip(shares, halves, strict=True)), rel=1e-5)
    mean = jax.tree.map(lambda *g: sum(s * x for s, x in zip(shares, g, strict=True)), *(g for _, g in halves))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), grads, mean)


def test_where_nothing_counts_the_loss_is_zero_and_its_gradient_as_well(case):
    loss, params, _, nothing = case
    (value, weight), grads = loss(params, jax.tree.map(jnp.asarray, nothing))
    assert float(value) == float(weight) == 0
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(grads))
