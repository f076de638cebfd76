"""Embeddings in fewer bytes, by hand."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops.quantize import PRECISIONS, find_ranges, quantize_embeddings

X = np.array([[-127.5, 0.0], [0.0, 255.0], [127.5, 510.0]], np.float32)  # steps of 1 and of 2


def test_steps_between_the_smallest_and_the_largest():
    np.testing.assert_array_equal(quantize_embeddings(X, "uint8"), [[0, 0], [127, 127], [255, 255]])
    np.testing.assert_array_equal(quantize_embeddings(X, "int8"), [[-128, -128], [-1, -1], [127, 127]])
    given = quantize_embeddings(X, "uint8", ranges=[[-127.5, 0], [127.5, 1020]])
    np.testing.assert_array_equal(given, [[0, 0], [127, 63], [255, 127]])
    np.testing.assert_array_equal(quantize_embeddings(X * 9, "uint8", ranges=find_ranges(X))[[0, 2]], [[0, 0], [255, 255]])


def test_int8_ranges_are_the_callers_to_keep():
    """Two processes that see other rows give other codes, unless both are given the same ranges."""
    parts, ranges = (X[:2], X[1:]), find_ranges(X)
    apart = np.concatenate([quantize_embeddings(p, "int8") for p in parts])
    assert not np.array_equal(apart[1], apart[2])  # one row, two codes
    same = [quantize_embeddings(p, "int8", ranges=ranges) for p in parts]
    np.testing.assert_array_equal(same[0][1], same[1][0])
    np.testing.assert_array_equal(same[0], quantize_embeddings(X, "int8")[:2])
    np.testing.assert_array_equal(same[0], quantize_embeddings(parts[0], "int8", calibration_embeddings=X))


def test_a_dimension_that_never_changes():
    np.testing.assert_array_equal(quantize_embeddings(np.ones((2, 1), np.float32), "uint8"), [[0], [0]])


@pytest.mark.parametrize("width", [1, 7, 8, 9, 17])
def test_packed_bits_of_any_width(width):
    """A bit a dimension, the first one highest; what fills the last byte is zero."""
    x = np.random.default_rng(0).normal(size=(5, width)).astype(np.float32)
    bits = quantize_embeddings(x, "ubinary")
    assert bits.shape == (5, -(-width // 8)) and bits.dtype == np.uint8
    np.testing.assert_array_equal(np.unpackbits(bits, axis=1)[:, :width], x > 0)
    assert not np.unpackbits(bits, axis=1)[:, width:].any()
    signed = quantize_embeddings(x, "binary")
    assert signed.dtype == np.int8
    np.testing.assert_array_equal(signed.astype(int) + 128, bits)
    np.testing.assert_array_equal(quantize_embeddings(x[0], "ubinary"), bits[0])


def test_floats_and_nothing():
    assert quantize_embeddings(X.astype(np.float64), "float32").dtype == np.float32
    for precision in PRECISIONS:
        assert len(quantize_embeddings(X[:0], precision)) == 0


@pytest.mark.parametrize(
    "x, how, message",
    [
        (X, {"precision": "int4"}, "precision='int4'; valid: float32, int8"),
        (X.astype(np.int8), {"precision": "binary"}, "floats, not int8: they were quantised before"),
        (np.array([[np.nan, 1.0]]), {"precision": "ubinary"}, "1 entries of the embeddings are not finite"),
        (X[0], {"precision": "int8"}, "a single embedding has no ranges of its own"),
        (X, {"precision": "int8", "ranges": [[0], [1]]}, r"ranges have the shape \(2, 2\)"),
        (X, {"precision": "int8", "ranges": [[1, 1], [0, 0]]}, "the smallest come first"),
        (X, {"precision": "int8", "calibration_embeddings": X[:0]}, "ranges are found in embeddings, and there are none"),
    ],
)
def test_refused(x, how, message):
    with pytest.raises(ConfigError, match=message):
        quantize_embeddings(x, **how)
