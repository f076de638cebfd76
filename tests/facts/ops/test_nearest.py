"""The k largest by groups are those of a whole sort, equals in the order of columns."""

import jax
import numpy as np
import pytest

from jaxemb.ops.nearest import GROUP, top_k


@pytest.mark.parametrize("m", [5, 6 * GROUP, 9 * GROUP + 11])
def test_as_a_whole_sort(m):
    scores = np.random.default_rng(0).integers(0, 40, (4, m)).astype(np.float32)
    scores[0] = -np.inf
    scores[1, ::2] = -np.inf
    best, columns = jax.jit(top_k, static_argnums=1)(scores, 3)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_array_equal(best, np.take_along_axis(scores, expected, 1))
