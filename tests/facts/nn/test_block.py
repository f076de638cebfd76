"""Blocks and their parts against the formulas in their docstrings, with every parameter drawn (none is 0 or 1)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm, NoNorm, RMSNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import ORDERS, Block, stack_blocks, unstack_blocks
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Shared
from jaxemb.posemb.none import NoPos

N, D = 4, 8
X = normal(0, 2, N, D)
SHARED = Shared(jnp.zeros((1, N, 1), jnp.int32))
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def drawn(model, *inputs):
    """Parameters of the model's shapes, all of them random."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(scale=0.7, size=s.shape), jnp.float32), shapes)


# ---- norms -----------------------------------------------------------------------------------------------------------------------


def rms(x, factor, eps):
    x = np.asarray(x, np.float64)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * factor


@pytest.mark.parametrize("eps", [1e-6, 0.3])
@pytest.mark.parametrize("plus_one", [False, True])
def test_rms_norm_is_the_formula(plus_one, eps):
    norm = RMSNorm(eps, plus_one)
    start, params = norm.init(jax.random.key(0), X), drawn(norm, X)
    np.testing.assert_array_equal(start["params"]["scale"], np.full(D, 0 if plus_one else 1))
    np.testing.assert_allclose(norm.apply(start, X), rms(X, 1, eps), **CLOSE)
    scale = np.asarray(params["params"]["scale"])
    np.testing.assert_allclose(norm.apply(params, X), rms(X, 1 + scale if plus_one else scale, eps), **CLOSE)


def test_layer_norm_without_bias_has_none():
    params, x = drawn(LayerNorm(bias=False), X), np.asarray(X)
    scale = np.asarray(params["params"].pop("scale"))
    assert not params["params"]
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * scale
    np.testing.assert_allclose(LayerNorm(bias=False).apply({"params": {"scale": scale}}, X), expected, **CLOSE)


# ---- the feed-forward part -------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_feed_forward_is_the_formula(activation, gated, bias):
    model, f = FeedForward(hidden=6, activation=activation, gated=gated, bias=bias), FUNCTIONS[activation]
    params, x = drawn(model, X), np.asarray(X)
    p = jax.tree.map(np.asarray, params["params"])

    def dense(name, x):
        return x @ p[name]["kernel"] + (p[name]["bias"] if bias else 0)

    hidden = f(dense("gate", x)) * dense("up", x) if gated else f(dense("up", x))
    np.testing.assert_allclose(model.apply(params, X), dense("down", hidden), **CLOSE)


def test_dropout_is_of_the_hidden_features_and_of_the_result():
    """Where the last matrix is the identity, what is kept was kept twice: twice two times as large."""
    model = FeedForward(hidden=D, activation="relu", bias=False, dropout=0.5)
    params = {"params": {name: {"kernel": jnp.eye(D)} for name in ("up", "down")}}
    x = jnp.abs(X) + 1
    np.testing.assert_allclose(model.apply(params, x), x, **CLOSE)
    factors = np.asarray(model.apply(params, x, True, rngs={"dropout": jax.random.key(0)}) / x)
    np.testing.assert_allclose(factors, 4.0 * (factors > 1), **CLOSE)
    assert 0.1 < (factors > 1).mean() < 0.4


# ---- the order of a block --------------------------------------------------------------------------------------------------------


def by_hand(block, p, x):
    """The table in the docstring of `Block`."""

    def norm(name, x):
        return rms(x, p[name]["scale"], block.norm.eps)

    def attention(x):
        return np.asarray(block.attention.apply({"params": p["attention"]}, jnp.asarray(x, jnp.float32), SHARED, Allow()))

    def mlp(x):
        return np.asarray(block.mlp.apply({"params": p["mlp"]}, jnp.asarray(x, jnp.float32)))

    x = np.asarray(x, np.float64)
    a, b = (p.get(name, 1) for name in ("scale1", "scale2"))  # of `layer_scale`
    match block.order:
        case "pre":
            x = x + a * attention(norm("norm1", x))
            return x + b * mlp(norm("norm2", x))
        case "post":
            x = norm("norm1", x + a * attention(x))
            return norm("norm2", x + b * mlp(x))
        case "sandwich":
            x = x + a * norm("norm1_after", attention(norm("norm1", x)))
            return x + b * norm("norm2_after", mlp(norm("norm2", x)))
        case "parallel":
            y = norm("norm1", x)
            return x + a * attention(y) + b * mlp(y)


NAMES = {
    "pre": {"norm1", "norm2"},
    "post": {"norm1", "norm2"},
    "sandwich": {"norm1", "norm2", "norm1_after", "norm2_after"},
    "parallel": {"norm1"},
}


@pytest.mark.parametrize("layer_scale", [None, 0.1])
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_is_its_formula(order, layer_scale):
    block = Block(Attention(2), FeedForward(hidden=6, activation="silu"), RMSNorm(), order, layer_scale)
    params = drawn(block, X, None, SHARED, Allow())
    p = jax.tree.map(np.asarray, params["params"])
    assert set(p) == {"attention", "mlp"} | NAMES[order] | ({"scale1", "scale2"} if layer_scale else set())
    np.testing.assert_allclose(block.apply(params, X, None, SHARED, Allow()), by_hand(block, p, X), **CLOSE)


def test_the_norm_of_the_attention_may_be_another():
    block = Block(Attention(2), FeedForward(hidden=6), RMSNorm(), first=NoNorm())
    params = drawn(block, X, None, SHARED, Allow())
    assert set(params["params"]) == {"attention", "mlp", "norm2"}
    np.testing.assert_array_equal(NoNorm().apply({}, X), X)
    one = {"params": params["params"] | {"norm1": {"scale": jnp.ones(D)}}}
    assert not np.allclose(
        block.copy(first=None).apply(one, X, None, SHARED, Allow()), block.apply(params, X, None, SHARED, Allow())
    )
    p, x = params["params"], np.asarray(X, np.float64)
    x = x + np.asarray(block.attention.apply({"params": p["attention"]}, X, SHARED, Allow()))
    y = jnp.asarray(rms(x, np.asarray(p["norm2"]["scale"]), block.norm.eps), jnp.float32)
    expected = x + np.asarray(block.mlp.apply({"params": p["mlp"]}, y))
    np.testing.assert_allclose(block.apply(params, X, None, SHARED, Allow()), expected, **CLOSE)


def test_stochastic_depth_skips_a_branch_for_whole_examples():
    """Here the feed-forward part alone, at half the rate: what stays is scaled up to keep the mean."""
    block = Block(Attention(2), FeedForward(hidden=6), RMSNorm(), "parallel", 1.0, drop_path=0.5)
    x = jnp.tile(X[:1], (32, 1, 1))
    params = drawn(block, x, None, SHARED, Allow())
    params["params"]["scale1"] *= 0
    full = block.apply(params, x, None, SHARED, Allow(), True) - x
    found = block.apply(params, x, jnp.array(0.5), SHARED, Allow(), True, rngs={"dropout": jax.random.key(0)}) - x
    factors = np.asarray((found * full).sum((1, 2)) / (full * full).sum((1, 2)))
    np.testing.assert_allclose(found, factors[:, None, None] * full, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(factors, (factors > 1) / 0.75, rtol=1e-4, atol=1e-4)
    assert 0.5 < (factors > 1).mean() < 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": "middle"}, "order='middle'.*parallel, post, pre, sandwich"),
        ({"drop_path": 1.0}, r"Block.drop_path must be in \[0, 1\), is 1.0"),
        ({"layer_scale": -0.1}, "Block.layer_scale must not be negative, is -0.1"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Block(**fields)


# ---- periods ---------------------------------------------------------------------------------------------------------------------


def test_a_period_of_two_blocks_repeats_and_is_the_same_with_scan():
    """Blocks alike in their parameters and not in what they see: taken for one another, they give something else."""
    blocks = tuple(Block(Attention(2, window=window), FeedForward(hidden=6), RMSNorm()) for window in (0, None))
    model = Transformer(stem=Tokens(5), width=D, depth=4, blocks=blocks, pos=NoPos(), norm=RMSNorm())
    ids = jnp.array([[1, 2, 3, 4], [4, 0, 0, 2]])
    params = drawn(model, ids)
    f = model.apply(params, ids, layers=(-5, 0, 1, 2, 3))
    np.testing.assert_array_equal(f.layers[0], params["params"]["stem"]["embedding"][ids])
    for i in range(4):
        own = {"params": params["params"][f"block_{i}"]}
        np.testing.assert_allclose(f.layers[i + 1], blocks[i % 2].apply(own, f.layers[i], None, SHARED, Allow()), **CLOSE)

    stacked = stack_blocks(params["params"], period=2)
    jax.tree.map(np.testing.assert_array_equal, unstack_blocks(stacked), params["params"])
    g = model.clone(scan=True).apply({"params": stacked}, ids, layers=(-5, 0, 1, 2, 3))
    np.testing.assert_allclose(g.tokens, f.tokens, **CLOSE)
    for a, b in zip(g.layers, f.layers, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)
