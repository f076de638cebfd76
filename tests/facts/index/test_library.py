"""What adapters of other libraries share: a library that is missing or kills, filters, rows that go and come."""

import importlib.util
import logging
import sys

import jax
import numpy as np
import pytest
from libraries import STAND_INS, standing_in

from jaxemb.config import ConfigError
from jaxemb.index.exact import Exact
from jaxemb.index.faiss_index import FaissIndex
from jaxemb.index.filtered import Filtered
from jaxemb.index.hnswlib_index import HNSWLib
from jaxemb.index.library import LibraryError, loaded
from jaxemb.index.rerank import Rerank
from jaxemb.index.usearch_index import USearch

R = np.random.default_rng(0)
M, K = 200, 5
X, Q = R.normal(size=(M, 8)).astype(np.float32), R.normal(size=(6, 8)).astype(np.float32)
FAR = (X @ Q.T).max(1) < np.sort((X @ Q.T).max(1))[40]  # far from every query
FILTERS = {
    "one": np.arange(M) % 2 == 0,
    "each": R.random((6, M)) < np.array([[0.5], [0.5], [0.02], [1], [0], [0.1]]),
    "far": FAR,
    "three": np.arange(M) % 70 == 1,
    "none": np.zeros(M, bool),
}
INDEXES = {"hnswlib": HNSWLib, "faiss": FaissIndex, "usearch": USearch}
REAL = [name for name in INDEXES if importlib.util.find_spec(name)]


@pytest.fixture(params=[*INDEXES, *(f"the real {name}" for name in REAL)])
def index(request):
    name = request.param.rpartition(" ")[2]
    with standing_in(*(name,) * (name == request.param)):
        yield INDEXES[name]


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_it_finds_what_exact_search_does_whatever_passes(index, similarity):
    built, exact = index(similarity=similarity, ef=20).build(X), Exact(similarity).build(X)
    for mask in (None, *FILTERS.values()):
        found, expected = built.search(Q, K, mask), exact.search(Q, K, mask)
        there = expected.ids >= 0
        np.testing.assert_array_equal(found.ids >= 0, there)
        few = there.sum(1) < K
        np.testing.assert_array_equal(found.ids[few], expected.ids[few])  # all that pass
        assert (found.ids == expected.ids)[there].sum() >= 0.9 * there.sum()
        same = there & (found.ids == expected.ids)
        np.testing.assert_allclose(found.scores[same], expected.scores[same], rtol=1e-4, atol=1e-5)


def test_queries_for_which_too_few_were_found_are_counted(caplog):
    with standing_in("hnswlib"), caplog.at_level(logging.INFO, "jaxemb"):
        built = HNSWLib(ef=20).build(X)
        found = built.search(Q, K, FAR)
    np.testing.assert_array_equal(found.ids, Exact().build(X).search(Q, K, FAR).ids)
    assert built.kept.rows["structure"].exact > 0
    assert f"too few rows for {built.kept.rows['structure'].exact} of 6 queries" in caplog.text


def test_within_other_indexes(index, tmp_path):
    from jaxemb.index.files import load_index

    expected = Exact().build(X).search(Q, K)
    for outer in (Filtered(index=index(ef=M)), Rerank(first=index(ef=M), second=Exact())):
        built = outer.build(X)
        assert (built.search(Q, K).ids == expected.ids).mean() > 0.9
        built.save(tmp_path)
        np.testing.assert_array_equal(load_index(tmp_path).search(Q, K).ids, built.search(Q, K).ids)
    for similarity in ("cosine", "euclidean"):
        filtered = Filtered(similarity, index(similarity=similarity, ef=M), few=20).build(X)
        exact = Exact(similarity).build(X)
        for mask in FILTERS.values():
            np.testing.assert_array_equal(filtered.search(Q, K, mask).ids >= 0, exact.search(Q, K, mask).ids >= 0)


def test_rows_are_on_one_device(index):
    with pytest.raises(ConfigError, match=f"{index.__name__} keeps its rows in one structure"):
        index().build(X, mesh=jax.make_mesh((2,), ("rows",), devices=jax.devices()[:2]))


@pytest.mark.parametrize("name", STAND_INS)
def test_a_library_that_is_not_there(name, monkeypatch):
    for module in ("usearch", "usearch.index", name):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LibraryError, match=rf"needs {name}: pip install 'jaxemb\[graphs\]'"):
        INDEXES[name]().build(X)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.kill(os.getpid(), 4)", "ends the process that uses it .SIGILL"),
        ("raise ImportError('no libgomp')", "does not run: ImportError: no libgomp"),
    ],
)
def test_a_library_that_kills_whatever_uses_it(code, says, tmp_path, monkeypatch):
    (tmp_path / "deadly_library.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LibraryError, match=says):
        loaded("deadly_library", "import deadly_library")
    assert "deadly_library" not in sys.modules


def test_a_library_that_runs_is_imported(tmp_path, monkeypatch):
    (tmp_path / "kind_library.py").write_text("answer = 42")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "kind_library", None)
    del sys.modules["kind_library"]
    assert loaded("kind_library", "import kind_library; assert kind_library.answer == 42").answer == 42


def test_the_trial_of_each_library_runs():
    for name in REAL:
        exec(INDEXES[name].trial, {})
    if not REAL:
        pytest.skip(f"none of {', '.join(INDEXES)} is installed (pip install 'jaxemb[graphs]')")
