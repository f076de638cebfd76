"""What a pooling is told by a model of an encoder and a pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import token_ids
from compiled import apply, init
from tiny import tiny

from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.mae import MAE
from jaxemb.objectives.next_token import NextToken
from jaxemb.objectives.simclr import SimCLR
from jaxemb.pooling.chunk_means import ChunkMeans
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.trainable import MultiLayer
from jaxemb.pooling.weighted_mean import WeightedMean
from jaxemb.posemb.learned import Learned

ENCODER = Transformer(stem=Tokens(11), pos=Learned(shape=(8,)), width=8, depth=3, blocks=(Block(Attention(2)),))
BATCH = {"tokens": token_ids(0, 11, 2, 5), "mask": jnp.arange(5)[None] < jnp.array([[5], [4]])}
PROMPT = {**BATCH, "pooled": jnp.arange(5)[None] >= jnp.array([[2], [2]])}


@pytest.fixture(scope="module")
def params():
    return init(Pooled(ENCODER), jax.random.key(0), BATCH)


def test_a_prompt_is_seen_and_does_not_count(params):
    tokens = apply(Pooled(ENCODER), params, BATCH, method="features").tokens
    means = jnp.stack([tokens[0, 2:].mean(0), tokens[1, 2:4].mean(0)])
    np.testing.assert_allclose(apply(Pooled(ENCODER), params, PROMPT), means, rtol=1e-5, atol=1e-6)
    weighted = apply(Pooled(ENCODER, WeightedMean()), params, PROMPT)
    np.testing.assert_allclose(weighted[1], (3 * tokens[1, 2] + 4 * tokens[1, 3]) / 7, rtol=1e-4, atol=1e-6)


def test_layers_are_asked_for_where_a_pooling_reads_them():
    model = Pooled(ENCODER, tiny(MultiLayer))
    z, found = apply(model, init(model, jax.random.key(0), BATCH), BATCH, mutable=["intermediates"])
    assert z.shape == (2, 8) and found["intermediates"]["pooling"]["summary"][0].shape == (2, 3, 8)


@pytest.mark.parametrize("objective", [Classify, SimCLR, NextToken, MAE])
def test_objectives_ask_for_them_as_well(objective):
    """No training: the shape of what `encode` gives is all."""
    text = objective is NextToken
    encoder = ENCODER.clone(causal=True) if text else Transformer(stem=Patches(4), width=8, depth=3, blocks=ENCODER.blocks)
    batch = BATCH if text else {"images": jnp.zeros((2, 8, 8, 3))}
    model = objective(encoder=encoder, pooling=tiny(MultiLayer))
    z = jax.eval_shape(lambda key: model.init_with_output(key, batch, method="encode")[0], jax.random.key(0))
    assert z.shape == (2, 8)


def test_chunks_reach_the_pooling(params):
    chunks = jnp.array([[-1, 0, 0, 1, 1], [-1, 0, 1, 1, -1]], jnp.int32)
    z = apply(Pooled(ENCODER, ChunkMeans(2)), params, {**BATCH, "chunks": chunks})
    first = apply(Pooled(ENCODER, Mean()), params, {**BATCH, "pooled": chunks == 0})
    np.testing.assert_allclose(z[:, 0], first, rtol=1e-5, atol=1e-6)
