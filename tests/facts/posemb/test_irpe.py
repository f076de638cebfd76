import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places
from jaxemb.posemb.irpe import IRPE

POS = jnp.array([[[0, 0], [0, 1], [2, 0], [30, 30]]])


def layer(module, tables, q=None, prefix=0):
    n = POS.shape[1] + prefix
    q = jnp.zeros((1, n, 2, 4)) if q is None else q
    return module.apply({"params": tables}, q, module.prepare(Places(POS), heads=2, width=4, prefix=prefix), method="layer_bias")


def test_near_offsets_are_exact_far_ones_share_a_bucket():
    """alpha, beta, gamma = 2, 5, 16: 2 + 3 ln(x/2) / ln 8 reaches 3 at x = 4, 4 at 8 and 5 at 16."""
    g = IRPE(alpha=2.0, beta=5.0, gamma=16.0).bucket
    np.testing.assert_array_equal(g(jnp.array([0, 1, 2, 4, 8, 16, 1000])), [0, 1, 2, 3, 4, 5, 5])
    np.testing.assert_array_equal(g(jnp.array([-1, -2, -4, -8, -1000])), [-1, -2, -3, -4, -5])


def test_published_constants_give_seven_buckets_an_axis():
    x = jnp.arange(-100, 101)
    np.testing.assert_array_equal(np.unique(IRPE().bucket(x)), np.arange(-3, 4))
    assert IRPE().buckets == 49 and IRPE(method="cross").buckets == 7 and IRPE(method="euclidean").buckets == 4


def test_product_has_a_bias_for_each_pair_of_buckets():
    table = jnp.arange(49.0)[:, None] * jnp.array([[1.0, 2.0]])
    bias = layer(IRPE(), {"table": table})[0]
    assert bias[0, 0, 0] == bias[0, 3, 3] == 24 and bias[1, 0, 0] == 48  # the middle bucket, in each head
    assert bias[0, 1, 0] == 25 and bias[0, 0, 1] == 23  # a column right, a column left
    assert bias[0, 2, 0] == 24 + 2 * 7 and bias[0, 3, 0] == 48 and bias[0, 0, 3] == 0


def test_cross_adds_up_rows_and_columns():
    tables = {"table_0": jnp.arange(7.0)[:, None] * 10 * jnp.ones((1, 2)), "table_1": jnp.arange(7.0)[:, None] * jnp.ones((1, 2))}
    bias = layer(IRPE(method="cross"), tables)[0, 0]
    assert bias[0, 0] == 33 and bias[1, 0] == 34 and bias[2, 1] == 52 and bias[3, 0] == 66


def test_euclidean_sees_no_direction():
    bias = layer(IRPE(method="euclidean"), {"table": jnp.arange(4.0)[:, None] * jnp.ones((1, 2))})[0, 0]
    np.testing.assert_array_equal(bias, bias.T)
    assert bias[0, 1] == 1 and bias[0, 2] == bias[1, 2] == 2 and bias[0, 3] == 3  # sqrt 5 rounds to 2


def test_contextual_is_the_product_of_the_query_with_the_buckets_vector():
    table, q = normal(0, 49, 4), normal(0, 1, 4, 2, 4)
    bias = layer(IRPE(mode="contextual"), {"table": table}, q)
    for i, j, bucket in ((0, 0, 24), (1, 0, 25), (0, 3, 0)):
        np.testing.assert_allclose(bias[0, :, i, j], q[0, i] @ table[bucket] / 2, rtol=1e-5)  # sqrt(e) = 2


@pytest.mark.parametrize("mode", ["bias", "contextual"])
def test_starts_at_zero_and_prefix_tokens_stay_there(mode, key):
    module = IRPE(mode=mode)
    q = normal(0, 1, 5, 2, 4)
    tables = module.init(key, q, module.prepare(Places(POS), heads=2, width=4, prefix=1), method="layer_bias")["params"]
    assert (tables["table"] == 0).all()
    bias = layer(module, {"table": jnp.ones_like(tables["table"])}, q, prefix=1)
    assert (bias[:, :, 0] == 0).all() and (bias[:, :, :, 0] == 0).all() and (bias[:, :, 1:, 1:] != 0).all()


def test_wrong_fields_and_positions_are_named():
    with pytest.raises(ConfigError, match="IRPE.method='quantization'; valid: cross, euclidean, product"):
        IRPE(method="quantization")
    with pytest.raises(ConfigError, match="IRPE.mode='ctx'"):
        IRPE(mode="ctx")
    with pytest.raises(ConfigError, match="0 < alpha < beta"):
        IRPE(alpha=4.0)
    with pytest.raises(ConfigError, match="positions of 1 numbers; it is for images"):
        IRPE().prepare(Places(POS[..., :1]), heads=2, width=4)
