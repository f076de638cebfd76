"""Four ways to compare, by hand."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops import closeness
from jaxemb.ops.closeness import SIMILARITIES, all_pairs, row_by_row

A, B = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32), np.array([[6.0, 8.0], [-4.0, 3.0], [0.0, 1.0]], np.float32)


@pytest.mark.parametrize(
    "kind, wanted",
    [
        ("cosine", [[1, 0, 0.8], [0, 0, 0]]),
        ("dot", [[50, 0, 4], [0, 0, 0]]),
        ("euclidean", [[-5, -(50**0.5), -(18**0.5)], [-10, -5, -1]]),
        ("manhattan", [[-7, -8, -6], [-14, -7, -1]]),
    ],
)
def test_by_hand(kind, wanted, monkeypatch):
    np.testing.assert_allclose(all_pairs(A, B, kind), wanted, atol=1e-6)
    monkeypatch.setattr(closeness, "BLOCK", 1)  # a row at a time
    np.testing.assert_allclose(all_pairs(A, B, kind), wanted, atol=1e-6)
    np.testing.assert_allclose(row_by_row(A, B[:2], kind), np.diagonal(wanted), atol=1e-6)
    assert all_pairs(A[0], B[0], kind).shape == (1, 1) and all_pairs(A[:0], B, kind).shape == (0, 3)
    assert all_pairs(A.astype(np.int8), B, kind).dtype == np.float32


def test_refused():
    with pytest.raises(ConfigError, match="similarity_fn_name='cos'; did you mean 'cosine'"):
        all_pairs(A, B, "cos")
    for kind in SIMILARITIES:
        with pytest.raises(ConfigError, match="embeddings of 2 and of 1 numbers cannot be compared"):
            all_pairs(A, B[:, :1], kind)
    with pytest.raises(ConfigError, match="rows are compared one by one, and there are 2 and 3"):
        row_by_row(A, B, "dot")
    with pytest.raises(ConfigError, match="rows of numbers of one width, not an array of shape"):
        all_pairs(A[None], B, "dot")
