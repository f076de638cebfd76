import jax.numpy as jnp

from jaxemb.posemb.none import NoPos


def test_changes_nothing():
    x, q, pos = jnp.ones((1, 3, 8)), jnp.ones((1, 3, 2, 4)), jnp.arange(3)[None, :, None]
    assert NoPos().add(x, pos) is x
    assert NoPos().rotate(q, q, pos) == (q, q)
    assert NoPos().bias(pos, pos, 2) is None
