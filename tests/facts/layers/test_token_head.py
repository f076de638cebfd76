import jax
import jax.numpy as jnp
import numpy as np
from arrays import normal
from compiled import apply, init

from jaxemb.layers.token_head import TokenHead


def test_features_that_are_cut_use_the_first_rows_of_the_kernel():
    """And are therefore those of a whole vector whose other coordinates are 0."""
    head, table, z = TokenHead(5, 8), normal(0, 7, 8), normal(1, 2, 3, 8)
    params = init(head, jax.random.key(0), z, table)
    narrow = apply(head, params, z[..., :3], table)
    assert narrow.shape == (2, 3, 5)
    np.testing.assert_allclose(narrow, apply(head, params, z.at[..., 3:].set(0), table), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(narrow - apply(head, params, z, table))).max() > 1e-3


def test_half_precision_gives_logits_in_single():
    head, table, z = TokenHead(5, 8), normal(0, 7, 8), normal(1, 2, 3, 8).astype(jnp.bfloat16)
    params = init(head, jax.random.key(0), z, table)
    assert apply(head, params, z, table).dtype == jnp.float32
    assert apply(head, params, z, method="transform").dtype == jnp.bfloat16
