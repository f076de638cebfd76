import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops.draws import Draws
from jaxemb.token_masks.whole_words import WholeWords

WORDS = np.repeat(np.arange(8), [1, 2, 3, 2, 1, 3, 2, 2])[None].repeat(2000, 0)
FREE = np.ones_like(WORDS, bool)


def test_words_are_hidden_whole_and_short_ones_alike_often():
    drawn = WholeWords(0.25)(FREE, Draws((0,), 2000), WORDS)
    hidden = np.zeros_like(FREE)
    rows = np.broadcast_to(np.arange(2000)[:, None], drawn["masked"].shape)
    hidden[rows[drawn["masked_mask"]], drawn["masked"][drawn["masked_mask"]]] = True
    for word in range(8):
        own = hidden[:, WORDS[0] == word]
        assert (own.all(1) == own.any(1)).all()
    first, last = (hidden[:, np.flatnonzero(WORDS[0] == w)[0]].mean() for w in (0, 4))  # two words of one token
    assert abs(first - last) < 4 * (2 * 0.25 / 2000) ** 0.5


def test_without_words_it_says_which_data_have_them():
    with pytest.raises(ConfigError, match=r"masks=WholeWords needs 'words' \(b n\) in the batch"):
        WholeWords()(FREE, Draws((0,), 2000))
