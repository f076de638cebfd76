"""Section 8 of the method's description."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.layers.cross import CrossBlock
from jaxemb.layers.norms import normalise
from jaxemb.ops.similarity import unit
from jaxemb.pooling.trainable import MultiLayer, TrainablePooling
from jaxemb.types import Features

B, N, D, R, L = 2, 5, 8, 4, 3
BLOCK = CrossBlock(2, 3)
TOKENS = TrainablePooling(R, BLOCK)
LAYERS = MultiLayer(R, BLOCK)
F = Features(
    normal(0, B, N, D),
    jnp.arange(N)[None] < jnp.array([[5], [3]]),
    tuple(normal(i + 1, B, N, D) for i in LAYERS.wants(L)),
)


@pytest.fixture(scope="module")
def params():
    leaves, tree = jax.tree.flatten(init(LAYERS, jax.random.key(0), F))
    return jax.tree.unflatten(tree, [x + 0.1 * normal(i, *x.shape) for i, x in enumerate(leaves)])


@pytest.fixture(scope="module")
def of_tokens(params):
    """Without the embeddings of layers."""
    return {"params": {name: x for name, x in params["params"].items() if name != "layers"}}


def changed(params, **new):
    return {"params": {**params["params"], **new}}


def test_one_token_to_read_is_read_whole(of_tokens):
    """The attention weighs it 1 for every latent, and says (LN(s) W_v) W_o."""
    pool = TrainablePooling(R, BLOCK, reads="last")
    seen = apply(pool, of_tokens, F, mutable=["intermediates"])[1]["intermediates"]["block"]
    np.testing.assert_array_equal(seen["weights"][0], np.ones((B, R, 2, 1)))
    block, last = of_tokens["params"]["block"], jnp.stack([F.tokens[0, 4], F.tokens[1, 2]])
    s = normalise(last, 1e-5) * block["norm_memory"]["scale"][None] + block["norm_memory"]["bias"][None]
    said = jnp.einsum("bd,dhe,hek->bk", s, block["v"]["kernel"], block["out"]["kernel"])
    expected = of_tokens["params"]["latents"][None] + said[:, None]
    np.testing.assert_allclose(seen["attended"][0], expected, rtol=1e-4, atol=1e-5)


def test_without_out_and_down_every_input_gets_the_mean_latent(params):
    block = params["params"]["block"]
    zero = jax.tree.map(jnp.zeros_like, block)
    silent = changed(params, block={**block, "out": zero["out"], "mlp": {**block["mlp"], "down": zero["mlp"]["down"]}})
    expected = unit(params["params"]["latents"].mean(0))
    np.testing.assert_allclose(apply(LAYERS, silent, F), jnp.broadcast_to(expected, (B, D)), rtol=1e-4, atol=1e-6)


def test_the_order_of_layers_is_in_their_embeddings(params):
    z = apply(LAYERS, params, F)
    swapped = F._replace(layers=F.layers[::-1])
    names = params["params"]["layers"]
    together = changed(params, layers=names[jnp.array([1, 0, 2])])
    np.testing.assert_allclose(apply(LAYERS, together, swapped), z, rtol=1e-4, atol=1e-5)
    assert not np.allclose(apply(LAYERS, params, swapped), z, atol=1e-3)
    turned = changed(params, latents=params["params"]["latents"][::-1])
    np.testing.assert_allclose(apply(LAYERS, turned, F), z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), np.ones(B), rtol=1e-5)


def test_summaries_are_means_or_last_tokens_of_every_layer(params):
    every = jnp.stack([*F.layers, F.tokens], axis=1)
    means = jnp.stack([every[0].mean(1), every[1, :, :3].mean(1)])
    lasts = jnp.stack([every[0, :, 4], every[1, :, 2]])
    for pool, expected in ((LAYERS, means), (MultiLayer(R, BLOCK, reads="last"), lasts)):
        seen = apply(pool, params, F, mutable=["intermediates"])[1]["intermediates"]["summary"][0]
        np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


def test_padding_is_read_where_the_repository_reads_it(of_tokens):
    padded = F._replace(tokens=jnp.pad(F.tokens, ((0, 0), (0, 2), (0, 0))), mask=jnp.pad(F.mask, ((0, 0), (0, 2))))
    z = apply(TOKENS, of_tokens, F)
    np.testing.assert_allclose(apply(TOKENS, of_tokens, padded), z, rtol=1e-4, atol=1e-5)
    blind = TrainablePooling(R, BLOCK, masked=False)
    assert not np.allclose(apply(blind, of_tokens, padded), apply(blind, of_tokens, F), atol=1e-3)
    nothing = apply(TOKENS, of_tokens, F._replace(mask=jnp.zeros_like(F.mask)))
    assert bool(jnp.isfinite(nothing).all())


def test_asks_for_all_layers_but_the_last():
    assert LAYERS.wants(L) == (0, 1) and LAYERS.wants(1) == () and TOKENS.wants(L) == ()


def test_what_it_cannot_read_is_named(key):
    with pytest.raises(ConfigError, match="MultiLayer reads the outputs of all layers"):
        LAYERS.init(key, F._replace(layers=()))
    for cls in (TrainablePooling, MultiLayer):
        with pytest.raises(ConfigError, match="reads='frist'"):
            cls(reads="frist")
        with pytest.raises(ConfigError, match="latents=0"):
            cls(latents=0)
