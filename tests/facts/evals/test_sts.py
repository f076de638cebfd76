"""Similarity of sentence pairs: closed forms, and what is wrong with a file."""

import numpy as np
import pytest
from fakes import Words

from jaxemb.data.text import Text
from jaxemb.evals.pair_classification import PairClassification
from jaxemb.evals.sts import STS
from jaxemb.preprocess.base import DataError

DATA = Text(length=16)


def file(tmp_path, text, name="pairs.csv"):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


class Angles:
    """A text "30 2" is the vector of length 2 at 30 degrees."""

    def encode_texts(self, texts, *, role, prompt):
        angle, length = np.array([[float(x) for x in text.split()] for text in texts]).T
        return (length[:, None] * np.stack([np.cos(np.radians(angle)), np.sin(np.radians(angle))], 1)).astype(np.float32)


def test_correlations_of_cosines_and_products(tmp_path):
    path = file(tmp_path, "0 1,0 1,5\n0 1,60 2,3\n0 1,90 3,1\n")
    got = STS(path=path).run(Angles(), DATA)
    assert got["spearman"] == pytest.approx(1) and got["pearson"] == pytest.approx(1, abs=1e-6)  # 1, 1/2, 0
    assert got["dot_spearman"] == pytest.approx(np.sqrt(3) / 2, abs=1e-6) and got["pairs"] == 3  # 1, 1, 0


def test_columns_by_name(tmp_path):
    path = file(tmp_path, 'score,b,id,a\n5,"0 1",x,0 1\n1,"90 1",y,0 1\n')
    assert STS(path=path, columns=("a", "b", "score")).run(Angles(), DATA)["spearman"] == pytest.approx(1)
    with pytest.raises(DataError, match="line 1: 'score' must be a number, not 'id'"):
        STS(path=path).run(Angles(), DATA)


def test_a_sentence_is_encoded_once_with_the_prompt(tmp_path):
    model = Words()
    STS(path=file(tmp_path, "a,b,1\na,c,2\n"), prompt="same: ").run(model, DATA)
    assert model.asked == [(None, "same: ", 3)]


def test_vectors_that_are_all_alike_order_nothing(tmp_path):
    assert STS(path=file(tmp_path, "0 1,0 1,1\n0 1,0 1,2\n")).run(Angles(), DATA)["spearman"] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,1\na,b,nan\n", "line 2: 'score' must be a number, not 'nan'"),
        ("a,b\n", "line 1: 2 columns; sentence1, sentence2, score need 3"),
        ("a,b,1\n", "holds 1 pairs; at least 2 are needed"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        STS(path=file(tmp_path, text)).run(Words(), DATA)


def test_pairs_that_belong_together(tmp_path):
    path = file(tmp_path, "0 1,0 1,1\n0 1,30 1,1\n0 1,60 1,0\n0 1,90 1,1\n")
    got = PairClassification(path=path).run(Angles(), DATA)
    assert got["ap"] == pytest.approx((1 + 1 + 3 / 4) / 3) and got["auc"] == pytest.approx(2 / 3) and got["accuracy"] == 0.75
    assert got["accuracy_threshold"] == pytest.approx((np.cos(np.pi / 6) + 0.5) / 2, abs=1e-6)
    assert got["f1"] == pytest.approx(6 / 7) and got["recall"] == 1
    with pytest.raises(DataError, match="labels are 0 or 1, not 3"):
        PairClassification(path=file(tmp_path, "a,b,1\na,b,3\n")).run(Words(), DATA)
    with pytest.raises(DataError, match="all 2 pairs have the label 1"):
        PairClassification(path=file(tmp_path, "a,b,1\na,c,1\n")).run(Words(), DATA)
