"""Bits in words are NumPy's packed bytes."""

import jax
import numpy as np
import pytest

from jaxemb.ops.bits import hamming, pack, signed_products, unpack


@pytest.mark.parametrize("width", [5, 64, 70])
def test_bits_in_words(width):
    r = np.random.default_rng(width)
    a, b = r.random((3, width)) < 0.5, r.random((6, width)) < 0.5
    q = r.normal(size=(3, width)).astype(np.float32)

    @jax.jit
    def together(a, b, q):
        words = pack(b)
        every = jax.numpy.broadcast_to(words[None], (3, *words.shape))
        return words, unpack(words, width), hamming(pack(a), words.T), signed_products(q, every)

    words, back, far, products = map(np.asarray, together(a, b, q))
    packed = np.packbits(b, axis=1)
    np.testing.assert_array_equal(np.ascontiguousarray(words).view(np.uint8)[:, : packed.shape[1]], packed)
    np.testing.assert_array_equal(back, b)
    np.testing.assert_array_equal(far, (a[:, None] != b[None]).sum(-1))
    np.testing.assert_allclose(products, q @ (2.0 * b - 1).T, rtol=1e-5, atol=1e-5)
