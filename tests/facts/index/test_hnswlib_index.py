"""hnswlib: batches of which one query finds too few, and settings."""

import numpy as np
import pytest
from libraries import standing_in

from jaxemb.config import ConfigError
from jaxemb.index.hnswlib_index import HNSWLib

X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)


def test_one_query_that_finds_too_few_costs_the_others_nothing():
    """The library refuses a batch as a whole."""
    near = (X @ X[0]) > np.sort(X @ X[0])[-11]  # ten rows near to the first query, and far from its opposite
    with standing_in("hnswlib"):
        built = HNSWLib(similarity="dot", ef=10).build(X)
        found = built.search(np.stack([X[0], -X[0]]), 10, near)
    assert built.kept.rows["structure"].exact == 1
    np.testing.assert_array_equal(np.sort(found.ids, 1), np.broadcast_to(np.flatnonzero(near), (2, 10)))


def test_a_wide_search_is_as_wide_as_what_is_asked_for():
    with standing_in("hnswlib"):
        built = HNSWLib(ef=3).build(X)
        built.search(X[:1], 20)
        assert built.kept.rows["structure"].it.ef == 20
        assert built.index.compared(1000) == 48 and built.index.compared(20) == 20


def test_settings_out_of_range():
    for wrong in ({"neighbours": 1}, {"ef": 0}, {"ef_build": 0}, {"threads": -1}, {"similarity": "l1"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            HNSWLib(**wrong)
