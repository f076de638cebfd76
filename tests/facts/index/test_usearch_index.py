"""usearch: longer and longer lists of neighbours, of one query and of several, and kinds of numbers."""

import importlib.util

import numpy as np
import pytest
from libraries import standing_in

from jaxemb.config import ConfigError
from jaxemb.index.exact import Exact
from jaxemb.index.usearch_index import USearch

R = np.random.default_rng(0)
X, Q = R.normal(size=(300, 16)).astype(np.float32), R.normal(size=(6, 16)).astype(np.float32)


def test_lists_grow_until_enough_pass_and_never_beyond_what_passes(monkeypatch):
    asked = []
    ask = USearch.ask
    monkeypatch.setattr(USearch, "ask", lambda self, live, q, k, mask: asked.append((len(q), k)) or ask(self, live, q, k, mask))
    far = X @ Q[0] < np.sort(X @ Q[0])[150]
    with standing_in("usearch"):
        built = USearch().build(X)
        for q in (Q[:1], Q):
            found = built.search(q, 5, far)
            np.testing.assert_array_equal(found.ids, Exact().build(X).search(q, 5, far).ids)
    assert asked[:5] == [(1, 5), (1, 20), (1, 40), (1, 80), (6, 5)]  # of 160 neighbours: more than the 150 that pass
    assert asked[5] == (6, 20) and built.kept.rows["structure"].exact >= 2


def test_settings_out_of_range():
    for wrong in ({"neighbours": 1}, {"ef": 0}, {"dtype": "int4"}, {"dtype": "int8", "similarity": "dot"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            USearch(**wrong)


@pytest.mark.skipif(importlib.util.find_spec("usearch") is None, reason="usearch is not installed (pip install 'jaxemb[graphs]')")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_of_usearch_itself(dtype):
    built, exact = USearch(dtype=dtype, threads=1).build(X).remove([0]), Exact().build(X).remove([0])
    for allow in (None, np.arange(300) % 2 == 0, np.arange(300) % 100 == 1):
        found, truth = built.search(Q, 5, allow), exact.search(Q, 5, allow)
        np.testing.assert_array_equal(found.ids >= 0, truth.ids >= 0)
        assert (found.ids[:, :, None] == truth.ids[:, None]).any(2).mean() > 0.85 * (truth.ids >= 0).mean()
        np.testing.assert_allclose(found.scores[found.ids >= 0], truth.scores[truth.ids >= 0], atol=0.03)
