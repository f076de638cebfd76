"""BM25 by hand on three small texts."""

import math

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.bm25 import BM25, IDF, words

TEXTS = ["The cat sat.", "a dog, a cat, a cat", "birds"]


def test_words_are_lower_case_without_punctuation():
    assert words("The cat's 2 Mäuse!") == ["the", "cat", "s", "2", "mäuse"]


def test_a_score_by_hand():
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = (3 + 6 + 1) / 3
    expected = [idf / (1 + 1.2 * (0.25 + 0.75 * 3 / mean)), idf * 2 / (2 + 1.2 * (0.25 + 0.75 * 6 / mean)), 0]
    np.testing.assert_allclose(BM25().scores(["cat"], TEXTS), [expected])
    np.testing.assert_allclose(BM25().scores(["Cat cat unseen"], TEXTS), [2 * np.array(expected)])


def test_without_saturation_and_length_it_counts_documents_alone():
    found = BM25(k1=0.0, b=0.0).scores(["cat", "dog", ""], TEXTS)
    assert found[0, 0] == found[0, 1] > 0 == found[0, 2] and found[1, 1] > found[0, 1] and not found[2].any()


def test_rare_words_weigh_more_and_none_weighs_less_than_nothing():
    texts = ["x y", "x", "x"]
    common, rare = BM25().scores(["x", "y"], texts)[:, 0]
    assert rare > common > 0


def test_a_word_counts_where_it_is_not_in_two_variants():
    """So in bm25s; and a frequent word counts against a document in Okapi's alone."""
    absent = {variant: BM25(variant=variant).scores(["cat"], TEXTS)[0, 2] for variant in IDF}
    assert absent.pop("bm25l") > 0 and absent.pop("bm25plus") == pytest.approx(0.5 * math.log(4 / 2))
    assert not any(absent.values())
    frequent = {variant: BM25(variant=variant).scores(["cat"], TEXTS)[0, 0] for variant in IDF}
    assert [variant for variant, score in frequent.items() if score < 0] == ["okapi"] and frequent["robertson"] == 0


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (lambda: BM25(k1=-1.0), ConfigError, "BM25.k1"),
        (lambda: BM25(b=1.5), ConfigError, "BM25.b"),
        (lambda: BM25(delta=-1.0), ConfigError, "BM25.delta"),
        (lambda: BM25(variant="bm25"), ConfigError, "variant='bm25'.*lucene"),
        (lambda: BM25().scores(["a"], []), DataError, "no documents"),
    ],
)
def test_what_makes_no_sense_is_said(made, error, words):
    with pytest.raises(error, match=words):
        made()
