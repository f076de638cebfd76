import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids, uniform
from compiled import apply, init

from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.towers import TwoTowers
from jaxemb.nn.transformer import Transformer
from jaxemb.posemb.sincos import SinCos

SMALL = {"width": 8, "depth": 1, "blocks": (Block(Attention(2)),)}
MODEL = TwoTowers(
    Pooled(Transformer(stem=Tokens(16), pos=SinCos(axes=1), **SMALL)),
    Pooled(Transformer(stem=Patches(4), **SMALL)),
    bias=True,
    scale_start=10.0,
    bias_start=-2.0,
)
TEXTS, IMAGES = {"tokens": token_ids(0, 16, 3, 5)}, {"images": uniform(1, 2, 8, 8, 3)}


@pytest.fixture(scope="module")
def variables():
    import jax

    return init(MODEL, jax.random.key(0), {"text": TEXTS, "image": IMAGES})


def test_a_batch_goes_to_the_tower_of_its_kind(variables):
    assert set(variables["params"]) == {"text", "image", "logit_scale", "logit_bias"}
    for key, given, tower in (("text", TEXTS, MODEL.text), ("image", IMAGES, MODEL.image)):
        expected = apply(tower, {"params": variables["params"][key]}, given)
        np.testing.assert_allclose(apply(MODEL, variables, given), expected, rtol=1e-6)


def test_logits_are_scaled_cosines(variables):
    images, texts = normal(2, 2, 4), normal(3, 3, 4)
    got = MODEL.apply(variables, images, texts, method="logits")
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    np.testing.assert_allclose(got, 10 * a @ b.T - 2, rtol=1e-5, atol=1e-5)
    both = apply(MODEL, variables, {"text": TEXTS, "image": IMAGES})
    expected = MODEL.apply(variables, apply(MODEL, variables, IMAGES), apply(MODEL, variables, TEXTS), method="logits")
    np.testing.assert_allclose(both, expected, rtol=1e-5, atol=1e-5)
    assert both.shape == (2, 3) and jnp.isfinite(both).all()
