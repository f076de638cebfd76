"""Vectors of distances, against the formula in the docstring and rows that published code gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.layers.norms import RMSNorm
from jaxemb.nn.attention import DisentangledAttention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places
from jaxemb.posemb.disentangled import Disentangled, Distances
from jaxemb.posemb.none import NoPos

N, H, E = 5, 2, 3
APART = jnp.arange(N)[:, None] - jnp.arange(N)[None]
PLACES = Places(jnp.arange(N)[None, :, None])


def test_rows_are_those_of_the_published_rule():
    """Numbers of transformers 4.57 with torch 2.13, at powers (4 8^(1/3) = 8) and of an odd S too, where a step is left out."""
    row = Disentangled(span=4, longest=9).row
    np.testing.assert_array_equal(row(jnp.array([0, 1, 2, 3, 8, 9, 50])), [4, 5, 6, 7, 7, 7, 7])
    np.testing.assert_array_equal(row(-jnp.array([0, 1, 2, 3, 8, 9, 50])), [4, 3, 2, 1, 1, 0, 0])
    np.testing.assert_array_equal(row(jnp.array([1.9, -1.9, -0.5])), [5, 3, 4])
    np.testing.assert_array_equal(Disentangled(span=8, longest=33).row(-jnp.arange(4, 34, 4)), [4, 3, 2, 2, 1, 1, 1, 1])
    expected = [9, 10, 11, 12, 13, 15, 16, 16, 17, 17, 17, 17]
    np.testing.assert_array_equal(Disentangled(span=9, longest=8).row(jnp.arange(12)), expected)
    np.testing.assert_array_equal(Disentangled(span=3, log=False).row(jnp.arange(-5, 6)), [0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 5])


def by_hand(posemb, q, k, v, keys, queries):
    """Softmax of the docstring's logits, in float64."""
    q, k, v, keys, queries = (np.asarray(x, np.float64) for x in (q, k, v, keys, queries))
    row = np.asarray(posemb.row(APART))
    logits = np.einsum("bnhe,bmhe->bhnm", q, k)
    if "c2p" in posemb.terms:
        logits += np.einsum("bnhe,nmhe->bhnm", q, keys[row])
    if "p2c" in posemb.terms:
        logits += np.einsum("bmhe,nmhe->bhnm", k, queries[row])
    w = np.exp(logits / np.sqrt((1 + len(posemb.terms)) * q.shape[-1]))
    return np.einsum("bhnm,bmhe->bnhe", w / w.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("terms", [("c2p",), ("p2c",), ("c2p", "p2c")])
def test_is_the_formula_with_projections_of_its_own(terms):
    posemb = Disentangled(span=3, longest=5, terms=terms, norm=RMSNorm(0.1))
    q, k, v = (normal(i, 1, N, H, E) for i in range(3))
    names = {"c2p": "k", "p2c": "q"}
    own = {names[t]: {"kernel": normal(3 + i, H * E, H, E), "bias": normal(5 + i, H, E)} for i, t in enumerate(terms)}
    params = {"table": {"rows": normal(7, 6, H * E)}, "norm": {"scale": normal(8, H * E)}}
    shared = posemb.apply({"params": params}, PLACES, heads=H, width=E, method="prepare")
    rows = np.asarray(params["table"]["rows"])
    table = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 0.1) * params["norm"]["scale"][None]
    np.testing.assert_allclose(shared.table, table, rtol=1e-5)
    y = posemb.apply({"params": own}, q, k, v, shared, Allow(), method="attend")
    keys, queries = (
        np.einsum("rd,dhe->rhe", table, own[n]["kernel"]) + np.asarray(own[n]["bias"]) if n in own else np.zeros(())
        for n in ("k", "q")
    )
    np.testing.assert_allclose(y, by_hand(posemb, q, k, v, keys, queries), rtol=1e-4, atol=1e-5)
    last = posemb.apply({"params": own}, q[:, -2:], k, v, shared, Allow(), method="attend")
    np.testing.assert_allclose(last, y[:, -2:], rtol=1e-5, atol=1e-6)


def test_attention_makes_keys_and_queries_of_distances_as_of_tokens():
    posemb = Disentangled(span=3, longest=5)
    shared = Distances(normal(0, 6, H * E), posemb.row(APART)[None])
    x, model = normal(1, 2, N, H * E), DisentangledAttention(H, pos=posemb)
    params = jax.tree.map(lambda x: normal(x.ndim, *x.shape), model.init(jax.random.key(0), x, shared, Allow()))
    p = params["params"]
    assert set(p) == {"q", "k", "v", "out"}

    def heads(name, x):
        return np.einsum("...d,dhe->...he", x, p[name]["kernel"]) + np.asarray(p[name]["bias"])

    y = by_hand(posemb, *(heads(name, x) for name in "qkv"), heads("k", shared.table), heads("q", shared.table))
    expected = np.einsum("bnhe,hed->bnd", y, p["out"]["kernel"]) + np.asarray(p["out"]["bias"])
    np.testing.assert_allclose(model.apply(params, x, shared, Allow()), expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_named():
    for fields, message in (
        ({"terms": ()}, r"terms=\(\) must be one or both of c2p, p2c"),
        ({"terms": ("c2c",)}, r"terms=\('c2c',\) must be one or both of c2p, p2c"),
        ({"span": 1}, "span must be at least 2, is 1"),
        ({"span": 8, "longest": 5}, "longest=5 must be above 5"),
    ):
        with pytest.raises(ConfigError, match=message):
            Disentangled(**fields)
    with pytest.raises(ConfigError, match="positions of 2 numbers; it is for sequences"):
        Disentangled().init(jax.random.key(0), Places(jnp.zeros((1, 3, 2))), heads=1, width=2, method="prepare")
    for fields in ({"kv_heads": 2}, {"qk_norm": RMSNorm()}):
        with pytest.raises(ConfigError, match=f"DisentangledAttention.{next(iter(fields))} must be None"):
            DisentangledAttention(**fields)
    model = Transformer(stem=Tokens(5), pos=NoPos(), width=4, depth=1, blocks=(Block(DisentangledAttention(2)),))
    with pytest.raises(ConfigError, match="DisentangledAttention is for the positional embedding Disentangled"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 3), jnp.int32))
