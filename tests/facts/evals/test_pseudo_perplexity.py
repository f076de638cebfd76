import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.text import Text
from jaxemb.evals.pseudo_perplexity import PseudoPerplexity


class Model:
    """Gives every byte but spaces the same probability, and calls it the most probable where it is an a."""

    def __init__(self, p, counted=True):
        self.nll, self.counted = -np.log(p), counted

    def score(self, rows, *, of):
        assert of == "recovered"
        counted = (rows["tokens"] != ord(" ")) & self.counted
        return {"nll": self.nll * counted, "right": (rows["tokens"] == ord("a")) & counted, "counted": counted}


@pytest.fixture
def text(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"aaab " * 40)
    return Text(str(tmp_path / "x.txt"), length=5, test_share=0.5)


def test_by_hand(text):
    figures = PseudoPerplexity().run(Model(1 / 8), text)
    assert figures == pytest.approx({"pseudo_perplexity": 8, "nats_per_token": np.log(8), "masked_accuracy": 0.75}, rel=1e-6)


def test_what_cannot_be_measured_is_named(text):
    with pytest.raises(ConfigError, match="tokens=4 is less than one row of 5"):
        PseudoPerplexity(tokens=4).run(Model(0.5), text)
    with pytest.raises(ConfigError, match="PseudoPerplexity.tokens must be at least 1, is 0"):
        PseudoPerplexity(tokens=0)
    with pytest.raises(ConfigError, match="the test rows have no token that can be hidden"):
        PseudoPerplexity().run(Model(0.5, counted=False), text)
    with pytest.raises(ConfigError, match="log likelihoods are not finite"):
        PseudoPerplexity().run(Model(np.nan), text)


def test_data_without_tokens_are_named():
    from jaxemb.data.digits import Digits

    with pytest.raises(ConfigError, match="PseudoPerplexity needs 'tokens', the data hold"):
        PseudoPerplexity().run(Model(0.5), Digits())
