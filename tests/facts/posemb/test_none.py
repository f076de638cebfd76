import jax.numpy as jnp
import numpy as np

from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.posemb.base import Places, PosEmb, overrides
from jaxemb.posemb.none import NoPos


def test_changes_nothing():
    x, q, at = jnp.ones((1, 3, 8)), jnp.ones((1, 3, 2, 4)), Places(jnp.arange(3)[None, :, None], grid=(3,))
    assert NoPos().locate(at) is at.pos
    assert NoPos().add(x, at) is x
    assert NoPos().rotate(q, q, None) == (q, q)
    assert NoPos().bias(at, at, 2) is None
    assert NoPos().after_block(x, 0, at) is x
    hooks = ("locate", "add", "angles", "bias", "prepare", "rotate", "layer_bias", "attend", "after_block")
    assert not any(overrides(NoPos(), hook) for hook in hooks)


def test_layers_share_positions_alone():
    shared = NoPos().prepare(Places(jnp.array([[[4], [5]]])), heads=2, width=4, prefix=1)
    np.testing.assert_array_equal(shared.pos, [[[0], [4], [5]]])  # class and register tokens: at 0
    assert shared.angles is None and shared.bias is None


def test_attention_is_plain():
    q = jnp.arange(24.0).reshape(1, 3, 2, 4) / 10
    shared = NoPos().prepare(Places(jnp.arange(3)[None, :, None]), heads=2, width=4)
    np.testing.assert_array_equal(NoPos().attend(q, q, q, shared, Allow(causal=True)), attention(q, q, q, allow=Allow(causal=True)))


def test_an_override_is_noticed():
    class Biased(PosEmb):
        def bias(self, q, k, heads):
            return None

    assert overrides(Biased(), "bias") and not overrides(Biased(), "add")
