"""Similarity of sentence pairs: closed forms, and what is wrong with a file."""

import numpy as np
import pytest
from fakes import Angles, Words

from jaxemb.data.text import Text
from jaxemb.evals.sts import STS
from jaxemb.preprocess.base import DataError

DATA = Text(length=16)


def file(tmp_path, text, name="pairs.csv"):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


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
