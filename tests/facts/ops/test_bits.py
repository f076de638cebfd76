"""Bits in words are NumPy's packed bytes."""

import jax
import numpy as np
import pytest

from jaxemb.ops.bits import fewest, hamming, pack, signed_products, unpack


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


@pytest.mark.parametrize("words", [1, 3])
def test_in_blocks_as_all_at_once(words):
    """Of few bits, so that most distances are equal: the first rows come first."""
    r, k = np.random.default_rng(words), 2
    x = r.integers(0, 8, (words, 1030), dtype=np.uint32) << np.uint32(29)
    q = x[:, :5].T ^ np.uint32(1)
    search = jax.jit(fewest, static_argnums=3)
    for share in (None, 0.5, 0.002):
        allowed = None if share is None else r.random((1, 1030)) < share
        far = -(np.bitwise_count(q[:, None] ^ x.T[None]).sum(2).astype(np.float32))
        far = far if allowed is None else np.where(allowed, far, -np.inf)
        best, columns = map(np.asarray, search(q, x, allowed, k))
        expected = np.argsort(-far, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(best, np.take_along_axis(far, expected, 1))
        np.testing.assert_array_equal(columns[best > -np.inf], expected[best > -np.inf])


def test_codes_of_more_bits_than_16_bits_count():
    x = np.zeros((520, 520), np.uint32)  # 16 640 bits a row
    x[:, 7:] = 2**32 - 1
    x[0, 300] = 0
    best, columns = jax.jit(fewest, static_argnums=3)(np.full((4, 520), 2**32 - 1, np.uint32), x, None, 1)
    assert (np.asarray(best) == 0).all() and (np.asarray(columns) == 7).all()
    best, columns = jax.jit(fewest, static_argnums=3)(np.zeros((4, 520), np.uint32), x[:, 7:], None, 1)
    assert (np.asarray(best) == -16_608).all() and (np.asarray(columns) == 293).all()
