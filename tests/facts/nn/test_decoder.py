import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.decoder import Decoder
from jaxemb.types import Features

DECODER = Decoder(width=12, depth=1, blocks=(Block(Attention(3)),))
VISIBLE = jnp.array([[[0, 0], [1, 2]], [[2, 1], [3, 3]]])
HIDDEN = jnp.array([[[0, 1], [2, 2], [3, 0]], [[0, 0], [1, 1], [0, 3]]])


def seen(prefix=0):
    z = normal(0, 2, 2 + prefix, 8)
    return Features(z[:, prefix:], jnp.ones((2, 2), bool), (), z[:, :prefix] if prefix else None)


def run(params, f, visible, hidden, branches=("a", "b")):
    fields = {"outputs": 5, "branches": branches, "grid": (4, 4)}
    if params is None:
        return DECODER.init(jax.random.key(1), f, visible, hidden, **fields)
    return DECODER.apply(params, f, visible, hidden, **fields)


@pytest.fixture(scope="module")
def params():
    return run(None, seen(), VISIBLE, HIDDEN)


def test_parameters_are_those_that_are_listed(params):
    assert set(params["params"]) == {"embed", "mask_token", "a", "b"}
    assert set(params["params"]["a"]) == {"block_0", "norm", "out"}
    assert params["params"]["a"]["out"]["kernel"].shape == (12, 5)


def test_order_of_tokens_does_not_matter(params):
    out = run(params, seen(), VISIBLE, HIDDEN)
    assert [x.shape for x in out] == [(2, 3, 5)] * 2 and not np.allclose(*out)
    f = seen()._replace(tokens=seen().tokens[:, ::-1])
    turned = run(params, f, VISIBLE[:, ::-1], HIDDEN[:, ::-1])
    for a, b in zip(out, turned, strict=True):
        np.testing.assert_allclose(a[:, ::-1], b, rtol=1e-4, atol=1e-5)


def test_a_branch_alone_says_the_same(params):
    np.testing.assert_array_equal(run(params, seen(), VISIBLE, HIDDEN, ("b",))[0], run(params, seen(), VISIBLE, HIDDEN)[1])


def test_without_hidden_places_the_visible_ones_are_answered(params):
    (out,) = run(params, seen(), VISIBLE, None, ("a",))
    assert out.shape == (2, 2, 5)


def test_a_class_token_is_seen(params):
    a, b = run(params, seen(1), VISIBLE, HIDDEN), run(params, seen(), VISIBLE, HIDDEN)
    assert a[0].shape == b[0].shape and not np.allclose(a[0], b[0])
    assert run(params, seen(1), VISIBLE, None, ("a",))[0].shape == (2, 2, 5)


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="width 10 is not divisible by heads 4"):
        Decoder(width=10, blocks=(Block(Attention(4)),))


def test_the_row_of_the_class_token_is_added_to_it_alone(params):
    decoder, row = DECODER.copy(class_row=True), normal(5, 1, 1, 12)
    fields = {"outputs": 5, "branches": ("a",), "grid": (4, 4)}
    own = {"params": {**params["params"], "class_row": row}}
    out = decoder.apply(own, seen(1), VISIBLE, HIDDEN, **fields)[0]
    assert np.abs(out - run(params, seen(1), VISIBLE, HIDDEN, ("a",))[0]).max() > 1e-4
    kernel = params["params"]["embed"]["kernel"]
    moved = seen(1)._replace(prefix=seen(1).prefix + (row[0] @ jnp.linalg.pinv(kernel))[None])  # the same, before the first layer
    np.testing.assert_allclose(out, run(params, moved, VISIBLE, HIDDEN, ("a",))[0], rtol=1e-3, atol=1e-4)
    with pytest.raises(ConfigError, match=r"Decoder\(class_row=True\) adds a vector to the class token, and the encoder has none"):
        decoder.init(jax.random.key(1), seen(), VISIBLE, HIDDEN, **fields)
