import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.text import Text
from jaxemb.evals.perplexity import Perplexity
from jaxemb.preprocess.text import BPE


class Model:
    """Knows the probability of every byte, whatever came before."""

    def __init__(self, p):
        self.nll, self.rows = -np.log(np.asarray(p)), None

    def score(self, arrays, *, of):
        assert of == "nll"
        return self.measure(arrays)

    def measure(self, arrays):
        self.rows = arrays["tokens"]
        return self.nll[arrays["tokens"][:, 1:]].astype(np.float32)


UNIFORM = np.full(256, 1 / 256)


@pytest.fixture
def text(tmp_path):
    def make(words, **fields):
        (tmp_path / "x.txt").write_bytes(words)
        return Text(str(tmp_path / "x.txt"), **{"length": 4, "test_share": 0.5} | fields)

    return make


def test_no_knowledge_is_the_number_of_ids(text):
    figures = Perplexity().run(Model(UNIFORM), text(b"ab" * 40))
    assert figures == pytest.approx({"perplexity": 256, "nats_per_token": np.log(256), "bits_per_byte": 8}, rel=1e-6)


def test_the_entropy_of_a_text_by_hand(text):
    """a with p = 1/2, b with 1/8. Each window of "aaab" has the predictions a, a, b: (1 + 1 + 3) / 3 bits."""
    p = np.full(256, 0.375 / 254)
    p[[ord("a"), ord("b")]] = 1 / 2, 1 / 8
    assert Perplexity().run(Model(p), text(b"aaab" * 20))["bits_per_byte"] == pytest.approx(5 / 3, rel=1e-6)


def test_bits_per_byte_count_what_a_token_stands_for(text):
    data = text(b"the cat sat on the mat\n" * 40, tokenizer=BPE(270))
    figures = Perplexity().run(Model(np.full(270, 1 / 270)), data)
    assert figures["perplexity"] == pytest.approx(270, rel=1e-5)
    assert figures["bits_per_byte"] == pytest.approx(np.log2(270) / data.bytes_per_token(), rel=1e-6) and data.bytes_per_token() > 1


def test_the_same_text_whatever_the_length_of_a_window(text):
    model = Model(UNIFORM)
    for length in (4, 8, 16):
        Perplexity(tokens=35).run(model, text(bytes(range(200)), length=length))
        assert np.array_equal(model.rows.reshape(-1), np.arange(100, 132))


def test_padding_does_not_count(known):
    rows = {"images": np.zeros((2, 1)), "tokens": np.ones((2, 3), np.int32), "mask": np.array([[True] * 3, [True, True, False]])}

    class Masked(Model):
        def measure(self, arrays):
            return np.where(arrays["mask"][:, 1:], 2.0, 0.0)

    assert Perplexity().run(Masked(UNIFORM), known(rows, rows)) == {"perplexity": pytest.approx(np.exp(2)), "nats_per_token": 2.0}


def test_in_packed_rows_the_first_token_of_a_text_does_not_count(known):
    segments = np.array([[1, 1, 2, 2], [1, 1, 1, 0]])
    rows = {"images": np.zeros((2, 1)), "tokens": np.ones((2, 4), np.int32), "segments": segments}

    class Packed(Model):
        def measure(self, arrays):
            return np.array([[2.0, 0, 2], [2, 2, 0]])  # as an objective gives them: 0 where nothing is predicted

    assert Perplexity().run(Packed(UNIFORM), known(rows, rows))["nats_per_token"] == 2.0


def test_what_cannot_be_measured_is_named(text, known, clusters):
    with pytest.raises(ConfigError, match="Perplexity.tokens must be at least 1"):
        Perplexity(tokens=0)
    with pytest.raises(ConfigError, match="tokens=3 is less than one row of 4"):
        Perplexity(tokens=3).run(Model(UNIFORM), text(b"ab" * 40))
    with pytest.raises(ConfigError, match="Perplexity needs 'tokens', the data hold images, labels"):
        Perplexity().run(Model(UNIFORM), clusters)
    with pytest.raises(ConfigError, match="the log likelihoods are not finite"):
        Perplexity().run(Model(np.where(np.arange(256) == ord("b"), np.nan, 0.5)), text(b"ab" * 40))
