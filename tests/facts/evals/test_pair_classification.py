"""Pairs that belong together are told from others: closed forms, and what is wrong with a file."""

import numpy as np
import pytest
from fakes import Angles, Words

from jaxemb.data.text import Text
from jaxemb.evals.pair_classification import PairClassification
from jaxemb.preprocess.base import DataError

DATA = Text(length=16)


def file(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text)
    return str(tmp_path / "pairs.csv")


def test_pairs_that_belong_together(tmp_path):
    path = file(tmp_path, "0 1,0 1,1\n0 1,30 1,1\n0 1,60 1,0\n0 1,90 1,1\n")
    got = PairClassification(path=path).run(Angles(), DATA)
    assert got["ap"] == pytest.approx((1 + 1 + 3 / 4) / 3) and got["auc"] == pytest.approx(2 / 3) and got["accuracy"] == 0.75
    assert got["accuracy_threshold"] == pytest.approx((np.cos(np.pi / 6) + 0.5) / 2, abs=1e-6)
    assert got["f1"] == pytest.approx(6 / 7) and got["recall"] == 1
    assert PairClassification(path=path).conditions()["similarity"] == "cosine"
    with pytest.raises(DataError, match="labels are 0 or 1, not 3"):
        PairClassification(path=file(tmp_path, "a,b,1\na,b,3\n")).run(Words(), DATA)
    with pytest.raises(DataError, match="all 2 pairs have the label 1"):
        PairClassification(path=file(tmp_path, "a,b,1\na,c,1\n")).run(Words(), DATA)


def test_a_model_is_measured_with_its_own_similarity(tmp_path):
    """Pairs whose products, cosines and distances put them in three orders."""
    path = file(tmp_path, "0 1,10 1,1\n0 1,60 4,0\n0 1,0 0.1,0\n0 1,50 5,0\n")
    for name, wanted in {"cosine": 1 / 2, "dot": pytest.approx(1 / 3), "euclidean": 1.0, "manhattan": 1.0}.items():
        own = PairClassification(path=path)
        got = own.run(Angles(similarity_fn_name=name), DATA)
        assert got["ap"] == wanted and got == PairClassification(path=path, similarity=name).run(Angles(), DATA)
        assert own.conditions(Angles(similarity_fn_name=name))["similarity"] == name
