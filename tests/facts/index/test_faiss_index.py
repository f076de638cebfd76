"""faiss: what its factory reads, what its indexes take and give back."""

import importlib.util

import numpy as np
import pytest
from libraries import standing_in

from jaxemb.config import ConfigError
from jaxemb.index.exact import Exact
from jaxemb.index.faiss_index import FaissIndex
from jaxemb.preprocess.base import DataError

R = np.random.default_rng(0)
X, Q = R.normal(size=(300, 16)).astype(np.float32), R.normal(size=(6, 16)).astype(np.float32)
SOME = np.arange(300) % 3 == 0


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "OPQ", "Other"])
def test_filters_of_every_kind_of_index(factory):
    with standing_in("faiss"):
        found = FaissIndex(factory=factory, threads=1).build(X).search(Q, 5, SOME)
    np.testing.assert_array_equal(found.ids, Exact().build(X).search(Q, 5, SOME).ids)


def test_errors_of_faiss_are_told():
    with standing_in("faiss"):
        with pytest.raises(ConfigError, match="factory='Fast32': faiss says: could not parse index string Fast32"):
            FaissIndex(factory="Fast32").build(X)
        with pytest.raises(DataError, match=r"IVF4,Flat cannot be learned from 3 rows: .* training points \(3\)"):
            FaissIndex(factory="IVF4,Flat").build(X[:3])
        with pytest.raises(ConfigError, match="Other cannot give its rows again.*not implemented"):
            FaissIndex(factory="Other").build(X).remove([0])


def test_rows_that_are_compared_by_the_factory():
    for factory, rows in (("Flat", 10_000), ("IVF100,PQ8", 1600), ("HNSW32", 1024), ("HNSW8,SQ8", 256)):
        assert FaissIndex(factory=factory).compared(10_000) == rows
    for wrong in ({"ef": 0}, {"probes": 0}, {"sample": 0}, {"ef_build": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            FaissIndex(**wrong)


@pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed (pip install 'jaxemb[graphs]')")
@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW16,SQ8", "SQ8", "RR16,IVF4,Flat"])
def test_of_faiss_itself(factory, tmp_path):
    from jaxemb.index.files import load_index

    built = FaissIndex(factory=factory, probes=4, threads=1).build(X)
    more = built.remove([0, 5]).add(X[:2])
    assert len(more) == 300
    expected = Exact().build(X).remove([0, 5]).add(X[:2])
    mask = np.arange(302) % 3 == 0
    for allow in (None, mask, np.arange(302) % 100 == 1):
        found, truth = more.search(Q, 5, allow), expected.search(Q, 5, allow)
        np.testing.assert_array_equal(found.ids >= 0, truth.ids >= 0)
        assert (found.ids[:, :, None] == truth.ids[:, None]).any(2).mean() > 0.9 * (truth.ids >= 0).mean()
        assert allow is None or allow[found.ids[found.ids >= 0]].all()
    more.save(tmp_path)
    np.testing.assert_array_equal(load_index(tmp_path).search(Q, 5, mask).ids, more.search(Q, 5, mask).ids)
