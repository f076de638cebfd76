import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops.draws import Draws
from jaxemb.token_masks.spans import Spans


def test_lengths_are_geometric_with_the_mean_of_the_paper():
    chances = Spans().lengths()
    assert chances.sum() == pytest.approx(1) and chances[1] / chances[0] == pytest.approx(0.8)
    assert (chances * np.arange(1, 11)).sum() == pytest.approx(3.8, abs=0.01)


def test_what_is_hidden_stands_side_by_side():
    """One stretch of 6 of 60 tokens, mostly: neighbours far more often than the 8 % of tokens hidden one by one."""
    drawn = Spans(0.1)(np.ones((500, 60), bool), Draws((0,), 500))["masked"]
    assert (np.diff(drawn, axis=1) == 1).mean() > 0.55


def test_stretches_are_of_whole_words_but_for_the_last():
    words = np.arange(60)[None].repeat(500, 0) // 3
    drawn = Spans(0.1, p=1.0)(np.ones((500, 60), bool), Draws((0,), 500), words)["masked"]
    assert (np.sort(drawn // 3, axis=1).reshape(500, 2, 3).std(-1) == 0).all()  # two words of three tokens each
    assert (drawn.min(1) > 0).mean() > 0.8, "of length 1, anywhere: what the draws do not hide would be filled up from the start"


@pytest.mark.parametrize("fields", [{"p": 0.0}, {"p": 1.5}, {"longest": 0}])
def test_lengths_that_cannot_be_are_refused(fields):
    with pytest.raises(ConfigError, match="masks.p must be above 0 and at most 1, and longest at least 1"):
        Spans(**fields)
