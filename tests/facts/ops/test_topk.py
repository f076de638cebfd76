"""The k largest of a row are those of a whole sort, equals in the order of columns."""

import numpy as np
import pytest

from jaxemb.ops.topk import largest


@pytest.mark.parametrize("k", [1, 3, 6])
def test_as_a_whole_sort(k):
    scores = np.random.default_rng(0).integers(0, 3, (20, 6)).astype(np.float32)
    scores[0] = -np.inf
    np.testing.assert_array_equal(largest(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])
