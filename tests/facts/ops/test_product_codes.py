"""Bits of codes, and both ways of multiplying with coded rows."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops import product_codes as module
from jaxemb.ops.product_codes import decoded, packed, products, unpacked

RNG = np.random.default_rng(0)


def test_a_stream_of_bits_by_hand():
    # 5, 3, 6 in three bits, lowest first: 101 110 011 -> 10111001 1 -> lowest bit first: 0b10011101, 0b1
    np.testing.assert_array_equal(packed(np.array([[5, 3, 6]]), 3), [[0b10011101, 0b1]])


@pytest.mark.parametrize("bits", [1, 3, 4, 7, 8])
def test_packed_and_back(bits):
    j = RNG.integers(0, 2**bits, (6, 5))
    rows = packed(j, bits)
    assert rows.shape == (6, -(-5 * bits // 8)) and rows.dtype == np.uint8
    np.testing.assert_array_equal([unpacked(jnp.asarray(rows.T), p, bits) for p in range(5)], j.T)


@pytest.mark.parametrize("squared", [False, True])
def test_products_of_few_and_of_many_queries(monkeypatch, squared):
    c = jnp.asarray(RNG.normal(size=(3, 8, 2)).astype(np.float32))
    j, q = RNG.integers(0, 8, (11, 3)), RNG.normal(size=(4, 6)).astype(np.float32)
    x = np.asarray(decoded(j, c))
    wanted = -((q[:, None] - x[None]) ** 2).sum(-1) if squared else q @ x.T
    monkeypatch.setattr(module, "DECODED", 4)
    for many in (5, 4):
        monkeypatch.setattr(module, "MANY", many)
        found = products(jnp.asarray(q.reshape(4, 3, 2)), c, jnp.asarray(packed(j, 3).T), 3, squared)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
