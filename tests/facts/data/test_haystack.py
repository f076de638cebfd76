import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.haystack import FILLER, NEEDLES, first, needle, order, passkey, sentences
from jaxemb.preprocess.base import DataError

BOTH = pytest.mark.parametrize("make", [passkey, needle])


@BOTH
def test_fifty_queries_and_a_hundred_documents_of_the_length_that_is_asked_for(make):
    for length in (256, 1024):
        hay = make(length)
        assert (len(hay.queries), len(hay.documents), len(hay.answers)) == (50, 100, 50)
        assert {len(d.split()) for d in hay.documents} == {round(0.75 * length)}
        assert len(set(hay.queries)) == len(set(hay.answers.tolist())) == 50
        assert 0 <= hay.answers.min() and hay.answers.max() < 100


def test_a_passkey_is_told_by_its_person_and_stated_twice():
    hay = passkey(256, seed=3)
    for query, answer in zip(hay.queries, hay.answers, strict=True):
        person = query.removeprefix("What is the pass key for ").removesuffix("?")
        assert [i for i, d in enumerate(hay.documents) if person in d] == [answer]
        key = hay.documents[answer].partition(f"{person}'s pass key is ")[2][:5]
        assert 10_000 <= int(key) < 100_000
        fact = f"{person}'s pass key is {key}. Remember it. {key} is the pass key for {person}."
        before, _, after = hay.documents[answer].partition(fact)
        assert set(f"{before} {after}".split()) <= set(FILLER.split())


def test_a_needle_is_one_fact_of_which_the_query_names_the_subject():
    hay = needle(256, documents=30, queries=30, text="An essay begins. It goes on. Then it ends.")
    for query, answer in zip(hay.queries, hay.answers, strict=True):
        fact, question, _, answers = NEEDLES[answer % len(NEEDLES)]
        start, end = question.split("{x}")
        subject = query.removeprefix(start).removesuffix(end)
        holding = [i for i, d in enumerate(hay.documents) if subject in d]
        assert holding == [answer]
        assert any(fact.format(x=subject, y=y) in hay.documents[answer] for y in answers)
    assert len(set(needle(256).documents)) == 100  # without a text: drawn ones


def test_of_two_documents_with_the_same_words_the_order_tells():
    hay = order(64, documents=20, queries=20)
    for query, answer in zip(hay.queries, hay.answers, strict=True):
        _, a, _, b = query.removesuffix("?").split()
        assert f"{a} taught {b}." in hay.documents[answer] and f"{b} taught {a}." in hay.documents[answer ^ 1]
    with pytest.raises(ConfigError, match="documents=3 must be even and lie in 2 to"):
        order(64, documents=3, queries=1)


def test_the_place_is_anywhere():
    hay = passkey(2048, documents=60, queries=60)
    found = [hay.documents[a].index(q[24:-1]) / len(hay.documents[a]) for q, a in zip(hay.queries, hay.answers, strict=True)]
    assert min(found) < 0.1 and max(found) > 0.9 and 0.35 < np.mean(found) < 0.65


@BOTH
def test_the_same_seed_gives_the_same_texts(make):
    a, b, c = make(256), make(256), make(256, seed=1)
    assert a.documents == b.documents and a.queries == b.queries and a.documents != c.documents


def test_accuracy_shares_what_is_tied():
    scores = np.array([[0.9, 0.1, 0.2], [0.1, 0.9, 0.2], [0.5, 0.5, 0.1], [0.3, 0.3, 0.3 + 1e-8]])
    np.testing.assert_allclose(first(scores, np.array([0, 0, 1, 2])), [1, 0, 1 / 2, 1 / 3])


def test_sentences():
    assert sentences(" One is.\n Two?  Three\tgo! four ") == ["One is.", "Two?", "Three go!", "four"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: passkey(20), "length=20 tokens are about 15 words, which do not hold a fact of 1[56]"),
        (lambda: passkey(256, queries=5, documents=4), "queries=5 must lie in 1 to documents=4"),
        (lambda: passkey(256, queries=0), "queries=0 must lie in 1 to documents=100"),
        (lambda: passkey(256, documents=0), "documents=0 must lie in 1 to"),
        (lambda: passkey(256, documents=5000), "documents=5000 must lie in 1 to .*: each has a name of its own"),
    ],
)
def test_what_cannot_be_drawn(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
    with pytest.raises(DataError, match="holds no sentence"):
        needle(256, text=" \n")
