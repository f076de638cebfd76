"""Strings as padded rows of ids. The tokenizers are tested with the data that train them, tests/facts/data/test_text.py."""

import pytest

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import DataError, Preprocess
from jaxemb.preprocess.text import BPE, FILE, TextPreprocess, _trained

TAKE = TextPreprocess(length=8, buckets=(2, 4, 8))


def test_a_batch_is_padded_to_the_smallest_bucket_that_fits_all_of_it():
    assert TAKE(["a", "ab"])["tokens"].tolist() == [[97, 0], [97, 98]]
    assert TAKE(["a", "abc"])["mask"].tolist() == [[True, False, False, False], [True, True, True, False]]
    assert TAKE(["a" * 30])["tokens"].shape == (1, 8) and TextPreprocess(length=8)(["a"])["tokens"].shape == (1, 8)


def test_prompts_go_before_the_text():
    assert TAKE.prompted(["cat"], "query: ") == ["query: cat"]


def test_a_trained_tokenizer_is_saved_beside_the_description(tmp_path):
    take = TextPreprocess(length=8, tokenizer=BPE(260, file="elsewhere"), learned=_trained(b"abab abab cdcd\n" * 9, 260))
    take.save(tmp_path)
    again = Preprocess.load(tmp_path)
    assert (
        again(["abab"])["tokens"].tolist() == take(["abab"])["tokens"].tolist()
        and "elsewhere" not in (tmp_path / "preprocess.json").read_text()
    )
    (tmp_path / FILE).unlink()
    with pytest.raises(DataError, match="tokenizer.json is missing"):
        Preprocess.load(tmp_path)


def test_bad_tokenizers(tmp_path):
    with pytest.raises(ConfigError, match="vocabulary must be more than the 256 bytes, not 256"):
        BPE(256)
    with pytest.raises(DataError, match="tokenizer.file='nowhere.json' cannot be read"):
        BPE(300, file="nowhere.json").state(None)
    with pytest.raises(DataError, match="this is no tokenizer.json"):
        TextPreprocess(length=4, tokenizer=BPE(300), learned="{}")(["a"])
    with pytest.raises(DataError, match="more than vocabulary=257: it is another one's"):
        TextPreprocess(length=4, tokenizer=BPE(257), learned=_trained(b"abab abab cdcd\n" * 9, 270))(["abab abab cdcd"])
