"""Texts in batches: the longest first, few shapes, little padding, and every one exactly once."""

import threading
import time

import numpy as np
import pytest
from pretrained import WORDS, tokenizer

from jaxemb.io import feeding
from jaxemb.io.feeding import Tally, ahead, filled, pieces, round_up
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.hf_text import PretrainedText

PRE = PretrainedText(length=64, learned=tokenizer())


def texts(count, longest=60, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[:7], n)) for n in rng.integers(0, longest, count)]


@pytest.mark.parametrize("shards", [1, 8])
@pytest.mark.parametrize("window", [2**20, 300])
def test_every_text_once_with_its_own_tokens(shards, window, monkeypatch):
    monkeypatch.setattr(feeding, "CHARACTERS", window)
    given, tally = texts(200), Tally()
    found = list(pieces(PRE, given, "document", "the ", 4, shards, tally))
    rows = np.concatenate([p.rows for p in found])
    assert sorted(rows) == list(range(200))
    wanted = PRE(given, prompt="the ")
    for p in found:
        tokens, mask = p.arrays["tokens"], p.arrays["mask"]
        assert len(tokens) % shards == 0 and tokens.shape[1] == PRE.bucket(int(mask.sum(1).max()))
        assert tokens.size <= max(4 * feeding.TOKENS["cpu"], shards * 64)  # memory is bounded by tokens, not by rows
        for row, ids, m in zip(p.rows, tokens, mask, strict=False):
            np.testing.assert_array_equal(ids[m], wanted["tokens"][row][wanted["mask"][row]])
    widths = [p.arrays["tokens"].shape[1] for p in found]
    assert widths == sorted(widths, reverse=True) or window == 300
    assert (tally.rows, tally.cut, tally.lost) == (200, 0, 0)
    assert tally.tokens == wanted["mask"].sum() and tally.places == sum(p.arrays["tokens"].size for p in found)


def test_little_padding_and_few_shapes():
    tally = Tally()
    shapes = {p.arrays["tokens"].shape for p in pieces(PRE, texts(2000), "document", "", 16, 1, tally)}
    assert 1 - tally.tokens / tally.places < 0.15 and len(shapes) <= 12


def test_what_is_cut_is_counted():
    tally = Tally()
    list(pieces(PRE, ["the " * 100, "the cat"], "document", "", 4, 1, tally))
    assert (tally.cut, tally.lost, tally.tokens) == (1, 38, 68)


def test_errors_name_the_row_of_the_input(monkeypatch):
    monkeypatch.setattr(feeding, "CHARACTERS", 20)
    given = [*texts(20), None, *texts(5)]
    with pytest.raises(DataError, match="row 20 is None"):
        list(pieces(PRE, given, "document", "", 4, 1, Tally()))
    given[20] = "\udc00"
    with pytest.raises(DataError, match="row 20 has half of a surrogate pair"):
        list(pieces(PRE, given, "document", "", 4, 1, Tally()))


def test_numbers_of_rows_and_what_fills_them():
    assert [round_up(n, 1, 48) for n in (1, 2, 3, 5, 9, 33)] == [1, 2, 4, 8, 16, 48]
    assert [round_up(n, 4, 24) for n in (1, 5, 17)] == [4, 8, 24]
    np.testing.assert_array_equal(filled(np.array([[1], [2]]), 4), [[1], [2], [2], [2]])


def test_ahead_gives_the_same_and_keeps_its_distance():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    found = ahead(items(), 2)
    assert next(found) == 0
    time.sleep(0.05)
    assert len(made) <= 5  # what is read, two that wait, and one in the making
    found.close()
    assert threading.active_count() < 20 and len(made) < 10
    assert list(ahead(iter(range(50)))) == list(range(50))


def test_ahead_raises_where_it_is_read():
    def items():
        yield 1
        raise DataError("row 7")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(DataError, match="row 7"):
        next(found)
