"""A text of one's own."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.text import Text, _trained

WORDS = "the cat sat on the mat, and the dog sat on the cat.\n" * 40


@pytest.fixture
def save(tmp_path):
    def write(text, name="own.txt"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write


def test_windows_of_bytes_follow_one_another(save):
    data = Text(save(bytes(range(100))), length=8, test_share=0.2)
    assert data.arrays("train")["tokens"].tolist() == [list(range(s, s + 8)) for s in range(0, 80, 8)]
    assert data.arrays("test")["tokens"].tolist() == [list(range(80, 88)), list(range(88, 96))]  # 96 to 99 fill no window


def test_training_windows_start_anywhere_in_the_training_text(save):
    data = Text(save(bytes(range(100))), length=8, test_share=0.2)
    batch = next(data.batches(2000, seed=0))["tokens"]
    assert (np.diff(batch) == 1).all()
    starts, counts = np.unique(batch[:, 0], return_counts=True)
    assert starts.tolist() == list(range(80 - 8 + 1))
    assert counts.min() > 8 and counts.max() < 52  # 27.4 on average; five deviations


def test_the_cut_spares_characters(save):
    text = "ä" * 15  # 30 bytes: a tenth is cut at 27, inside of a character
    data = Text(save(text), length=2)
    assert [bytes(data.arrays(s)["tokens"].astype(np.uint8)).decode() for s in ("train", "test")] == ["ä" * 14, "ä"]


def test_a_test_file_leaves_the_training_file_whole(save):
    data = Text(save(bytes(range(20))), test_path=save(b"abcd", "test.txt"), length=4)
    assert len(data.arrays("train")["tokens"]) == 5 and data.arrays("test")["tokens"].tolist() == [list(b"abcd")]


def test_byte_pairs_shorten_the_text_and_lose_nothing(save):
    data = Text(save(WORDS), tokenizer="bpe", vocabulary=280, length=8)
    train, tokens = data._text("train"), data._ids("train")
    tokenizer = _trained(train, 280)
    assert tokenizer.decode(tokens.tolist()).encode() == train
    assert 256 <= tokens.max() < 280 and len(tokens) < len(train) / 2
    assert data.bytes_per_token("train") == len(train) / len(tokens) and Text(data.path).bytes_per_token() == 1.0


def test_the_same_text_gives_the_same_merges(save):
    train = Text(save(WORDS))._text("train")
    assert _trained.__wrapped__(train, 290).to_str() == _trained.__wrapped__(train, 290).to_str()


def test_merges_come_from_the_training_text_alone(save):
    path = save(WORDS)
    one, other = (
        Text(path, test_path=save(t, f"{i}.txt"), tokenizer="bpe", vocabulary=280, length=4)
        for i, t in enumerate(("zzzzzzzz" * 9, "the cat sat on the mat"))
    )
    assert np.array_equal(one.arrays("train")["tokens"], other.arrays("train")["tokens"])
    assert one.bytes_per_token() == 1.0 and other.bytes_per_token() > 2


@pytest.mark.parametrize("fields", [{}, {"tokenizer": "bpe", "vocabulary": 280}])
def test_a_string_is_cut_or_padded(save, fields):
    data = Text(save(WORDS), length=12, **fields)
    long, short = data.preprocess(WORDS), data.preprocess("cat")
    assert np.array_equal(long["tokens"], data.arrays("train")["tokens"][0]) and long["mask"].all()
    count = int(short["mask"].sum())
    assert 1 <= count <= 3 and short["mask"][:count].all() and not short["tokens"][count:].any()
    for item in ("", 3, b"cat"):
        with pytest.raises(DataError, match="an input is a string with at least one character"):
            data.preprocess(item)


def test_a_changed_file_is_read_anew(save):
    data = Text(save(b"a" * 100), length=4)
    assert (data.arrays("test")["tokens"] == ord("a")).all()
    save(b"b" * 90)
    assert (data.arrays("test")["tokens"] == ord("b")).all()


def test_bad_files(save, tmp_path):
    with pytest.raises(DataError, match="there is no text; set data.path to a text file"):
        Text().arrays("test")
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(DataError, match=r"there is no file '.*' \(looked for .*\); set data.path"):
            Text(str(path)).batches(2, seed=0)
    path = save(WORDS)
    with pytest.raises(DataError, match="set data.test_path"):
        Text(path, test_path="nowhere.txt").arrays("test")
    with pytest.raises(DataError, match=r"own.txt: the test text has 208 tokens, too few for a window of length=500"):
        Text(path, length=500).arrays("test")
    with pytest.raises(DataError, match="needs text in UTF-8, and byte 3 is not"):
        Text(save(b"abc\xff" * 50), tokenizer="bpe", vocabulary=300).arrays("train")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"length": 1}, "length must be at least 2"),
        ({"test_share": 1.0}, "test_share must lie between 0 and 1, not 1.0"),
        ({"tokenizer": "byte"}, "tokenizer='byte'; did you mean 'bytes'"),
        ({"vocabulary": 300}, "vocabulary must be 256 for bytes and more for bpe, not 300 for bytes"),
        ({"tokenizer": "bpe"}, "vocabulary must be 256 for bytes and more for bpe, not 256 for bpe"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Text("x.txt", **fields)
