"""Section 8 of the method's description, and what the paper's equation shares with the code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.layers.cross import CrossBlock
from jaxemb.layers.norms import normalise
from jaxemb.pooling.latent_attention import LatentAttention, LatentAttentionPaper
from jaxemb.pooling.mean import Mean
from jaxemb.types import Features

B, N, D, R = 2, 5, 8, 4
POOL = LatentAttention(latents=R, block=CrossBlock(2, 3))
F = Features(normal(0, B, N, D), jnp.arange(N)[None] < jnp.array([[5], [3]]))


@pytest.fixture(scope="module")
def params():
    found = init(POOL, jax.random.key(0), F)
    leaves, tree = jax.tree.flatten(found)  # what starts at zero or one should count as well
    return jax.tree.unflatten(tree, [x + 0.1 * normal(i, *x.shape) for i, x in enumerate(leaves)])


def with_block(params, **changed):
    return {"params": {**params["params"], "block": {**params["params"]["block"], **changed}}}


def inside(params, f):
    return apply(POOL, params, f, mutable=["intermediates"])[1]["intermediates"]["block"]


def test_without_out_and_down_it_is_the_masked_mean(params):
    block = jax.tree.map(jnp.zeros_like, params["params"]["block"])
    silent = with_block(params, out=block["out"], mlp={**params["params"]["block"]["mlp"], "down": block["mlp"]["down"]})
    np.testing.assert_allclose(apply(POOL, silent, F), Mean().apply({}, F), rtol=1e-5, atol=1e-6)


def test_order_of_tokens_and_latents_and_padding_do_not_matter(params):
    z, order = apply(POOL, params, F), np.array([3, 0, 4, 2, 1])
    mixed = F._replace(tokens=F.tokens[:, order], mask=F.mask[:, order])
    np.testing.assert_allclose(apply(POOL, params, mixed), z, rtol=1e-4, atol=1e-5)
    turned = {"params": {**params["params"], "latents": params["params"]["latents"][::-1]}}
    np.testing.assert_allclose(apply(POOL, turned, F), z, rtol=1e-4, atol=1e-5)
    for side in ((2, 0), (0, 2)):
        wide = F._replace(tokens=jnp.pad(F.tokens, ((0, 0), side, (0, 0))), mask=jnp.pad(F.mask, ((0, 0), side)))
        np.testing.assert_allclose(apply(POOL, params, wide), z, rtol=1e-4, atol=1e-5)


def test_equal_latents_say_the_same_to_all_tokens(params):
    equal = {"params": {**params["params"], "latents": jnp.tile(normal(7, 1, D), (R, 1))}}
    seen = inside(equal, F)
    np.testing.assert_allclose(seen["weights"][0], np.full((B, N, 2, R), 1 / R), rtol=1e-5)
    said = seen["attended"][0] - F.tokens
    np.testing.assert_allclose(said, jnp.broadcast_to(said[:1, :1], said.shape), rtol=1e-3, atol=1e-5)


def test_one_latent_is_said_whole(params):
    np.testing.assert_allclose(inside(params, F)["weights"][0].sum(-1), np.ones((B, N, 2)), rtol=1e-5)
    one = {"params": {**params["params"], "latents": params["params"]["latents"][:1]}}
    block = one["params"]["block"]
    s = normalise(one["params"]["latents"], 1e-5) * block["norm_memory"]["scale"][None] + block["norm_memory"]["bias"][None]
    said = jnp.einsum("d,dhe,hek->k", s[0], block["v"]["kernel"], block["out"]["kernel"])
    pool = LatentAttention(latents=1, block=POOL.block)
    attended = apply(pool, one, F, mutable=["intermediates"])[1]["intermediates"]["block"]["attended"][0]
    np.testing.assert_allclose(attended, F.tokens + said[None, None], rtol=1e-4, atol=1e-5)


def test_a_single_token_is_taken_as_it_comes(params):
    f = F._replace(mask=jnp.arange(N)[None] == jnp.array([[2], [4]]))
    rows = Features(F.tokens[jnp.arange(B), jnp.array([2, 4])][:, None], jnp.ones((B, 1), bool))
    np.testing.assert_allclose(apply(POOL, params, f), apply(POOL, params, rows), rtol=1e-4, atol=1e-5)


def test_length_one_and_nothing_that_counts(params):
    pool = LatentAttention(latents=R, block=POOL.block, normalize=True)
    z = apply(pool, params, F._replace(mask=F.mask.at[1].set(False)))
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), [1.0, 0.0], rtol=1e-5)


def test_the_papers_equation_by_hand():
    pool = LatentAttentionPaper(latents=3, heads=1)
    params = init(pool, jax.random.key(0), F)
    z, x = np.asarray(params["params"]["latents"]), np.asarray(F.tokens[0])
    raised = np.exp(x @ z.T)
    o = apply(pool, params, F, mutable=["intermediates"])[1]["intermediates"]["attended"][0][0]
    np.testing.assert_allclose(o, raised / raised.sum(1, keepdims=True) @ z, rtol=1e-4, atol=1e-5)


def test_heads_and_sizes_are_refused(key):
    with pytest.raises(ConfigError, match="heads=3 does not divide the width 8; choose others, or set head_width"):
        LatentAttention(latents=2, block=CrossBlock(3)).init(key, F)
    with pytest.raises(ConfigError, match=r"LatentAttentionPaper\.heads=3 does not divide the width 8"):
        LatentAttentionPaper(latents=2, heads=3).init(key, F)
    for cls in (LatentAttention, LatentAttentionPaper):
        with pytest.raises(ConfigError, match="latents=0"):
            cls(latents=0)
