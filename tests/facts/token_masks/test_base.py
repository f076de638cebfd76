"""What every masker of tokens keeps to, and what a user can get wrong."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops.draws import Draws
from jaxemb.preprocess.base import DataError
from jaxemb.token_masks.base import TokenMasks, by_words
from jaxemb.token_masks.random_tokens import RandomTokens
from jaxemb.token_masks.spans import Spans
from jaxemb.token_masks.whole_words import WholeWords

ROWS, LENGTH = 64, 20
SIZES = np.arange(ROWS) % LENGTH + 1
FREE = np.arange(LENGTH)[None] < SIZES[:, None]
FREE[:, 3] &= SIZES == 4  # a special token in the middle, but for a row that would have nothing else
WORDS = np.broadcast_to(np.arange(LENGTH) // 2, FREE.shape)


@pytest.mark.parametrize("masks", [RandomTokens(), WholeWords(0.3), Spans(0.5), RandomTokens(1.0), Spans(1.0), WholeWords(1.0)])
def test_places_are_free_ascending_and_as_many_as_the_rate_says(masks):
    drawn = masks(FREE, Draws((0,), ROWS), WORDS)
    masked, present = drawn["masked"], drawn["masked_mask"]
    assert masked.shape == present.shape == (ROWS, masks.most(LENGTH)) and masked.dtype == np.int32
    counts = present.sum(1)
    assert (counts >= 1).all() and (counts <= masks.counts(FREE.sum(1))).all()
    if not isinstance(masks, WholeWords):
        assert (counts == masks.counts(FREE.sum(1))).all()
    for places, kept, free in zip(masked, present, FREE, strict=True):
        assert free[places[kept]].all() and (np.diff(places[kept]) > 0).all() and (places[~kept] == 0).all()


@pytest.mark.parametrize("masks", [RandomTokens(0.3), WholeWords(0.3), Spans(0.3)])
def test_a_row_depends_on_its_place_and_the_step_alone(masks):
    whole = masks(FREE, Draws((0, 7), ROWS), WORDS)
    again, later = masks(FREE, Draws((0, 7), ROWS), WORDS), masks(FREE, Draws((0, 8), ROWS), WORDS)
    halves = [masks(FREE[i::2], Draws((0, 7), ROWS // 2, (i, 2)), WORDS[i::2]) for i in range(2)]
    for name, x in whole.items():
        np.testing.assert_array_equal(x, again[name])
        for i, half in enumerate(halves):
            np.testing.assert_array_equal(x[i::2], half[name])
    assert (whole["masked"] != later["masked"]).any()


def test_counts_are_those_of_the_rate_with_halves_up_and_never_none():
    assert RandomTokens(0.15).counts(np.array([1, 3, 10, 20, 100])).tolist() == [1, 1, 2, 3, 15]
    assert RandomTokens(0.15).most(20) == 3 and RandomTokens(0.01).most(5) == 1


def test_words_that_do_not_fit_are_passed_over_and_a_single_long_one_is_cut():
    words, free = np.array([0, 0, 0, 1, 2, 2]), np.ones(6, bool)
    assert by_words(np.array([0, 2, 1]), words, free, 3).tolist() == [True] * 3 + [False] * 3
    assert by_words(np.array([0, 2, 1]), words, free, 2).tolist() == [False] * 4 + [True] * 2
    assert by_words(np.array([0]), words, words == 0, 2).tolist() == [True, True] + [False] * 4


def test_a_text_without_a_token_to_hide_is_named():
    with pytest.raises(DataError, match=r"row 1 of the batch has no token that can be masked"):
        RandomTokens()(np.array([[True, False], [False, False]]), Draws((0,), 2))


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ConfigError, match=r"masks.rate must be above 0 and at most 1, is"):
        RandomTokens(rate)


def test_the_base_chooses_nothing():
    with pytest.raises(TypeError, match="TokenMasks does not define choose"):
        TokenMasks()(FREE, Draws((0,), ROWS))
