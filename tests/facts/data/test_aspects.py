import numpy as np
import pytest

from jaxemb.data.aspects import aspect_pairs, aspect_triplets, sharing
from jaxemb.data.base import DataError

LABELS = np.array([[1, 0, 0, 1], [1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]], bool)
"""The last label is that of too many, the last item has none."""


def test_pairs_share_a_label_and_the_relation_is_symmetric_but_not_transitive():
    np.testing.assert_array_equal(aspect_pairs(LABELS, 4), [[0, 1], [1, 2]])
    share = sharing(LABELS, 4)
    np.testing.assert_array_equal(share, share.T)
    assert share[0, 1] and share[1, 2] and not share[0, 2]
    assert len(aspect_pairs(np.ones((5, 1), bool))) == 5 * 4 / 2 and len(aspect_pairs(np.ones((5, 1), bool), 5)) == 0


def test_negatives_are_labelled_and_share_nothing():
    for i, j, n in aspect_triplets(LABELS, 4):
        assert n in {2, 3} | ({0} if i == 1 else set()) and not sharing(LABELS, 4)[[i, j], n].any()
    with pytest.raises(DataError, match="no two of 5 items share a label of fewer than 4 items that a third one lacks"):
        aspect_triplets(LABELS[:, :0], 4)
