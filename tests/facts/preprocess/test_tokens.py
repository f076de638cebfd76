"""Token ids that come as they are."""

import numpy as np
import pytest

from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.tokens import TokenIds

TAKE = TokenIds(length=3, vocabulary=5)


def test_rows_of_ids():
    assert TAKE([[0, 4, 1], np.array([2, 2, 2])])["tokens"].tolist() == [[0, 4, 1], [2, 2, 2]]
    assert TAKE([])["tokens"].shape == (0, 3) and TAKE([[0, 4, 1]])["tokens"].dtype == np.int32


@pytest.mark.parametrize(
    "item, message", [([0, 1], "length=3 whole"), ([0.0, 1.0, 2.0], "length=3 whole"), ([0, 5, 1], "0 to 4, not 0 to 5")]
)
def test_bad_items(item, message):
    with pytest.raises(DataError, match=message):
        TAKE([item])
