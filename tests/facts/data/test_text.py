"""A text of one's own."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.text import Text
from jaxemb.preprocess.base import Preprocess
from jaxemb.preprocess.text import BPE, Bytes, _opened, _trained

WORDS = "the cat sat on the mat, and the dog sat on the cat.\n" * 40


@pytest.fixture
def save(tmp_path):
    def write(text, name="own.txt"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write


def test_windows_of_bytes_follow_one_another(save):
    data = Text(save(bytes(range(100))), length=8, test_share=0.2, valid_share=0.1)
    assert data.split("train")[:]["tokens"].tolist() == [list(range(s, s + 8)) for s in range(0, 72, 8)]
    assert data.split("valid")[:]["tokens"].tolist() == [list(range(72, 80))]
    assert data.split("test")[:]["tokens"].tolist() == [list(range(80, 88)), list(range(88, 96))]  # 96 to 99 fill no window


def test_training_windows_start_anywhere_in_the_training_text(save):
    data = Text(save(bytes(range(100))), length=8, test_share=0.2, valid_share=0.0)
    batch = next(data.batches(2000, seed=0))["tokens"]
    assert (np.diff(batch) == 1).all()
    starts, counts = np.unique(batch[:, 0], return_counts=True)
    assert starts.tolist() == list(range(80 - 8 + 1))
    assert counts.min() > 8 and counts.max() < 52  # 27.4 on average; five deviations


def test_the_cut_spares_characters(save):
    text = "ä" * 15  # 30 bytes: a tenth is cut at 27, inside of a character
    data = Text(save(text), length=2)
    parts = [bytes(data.split(s)[:]["tokens"].astype(np.uint8)).decode() for s in ("train", "valid", "test")]
    assert parts == ["ä" * 13, "ä", "ä"]


def test_a_test_file_leaves_the_training_file_whole(save):
    data = Text(save(bytes(range(20))), test_path=save(b"abcd", "test.txt"), length=4, valid_share=0.0)
    assert len(data.split("train")[:]["tokens"]) == 5 and data.split("test")[:]["tokens"].tolist() == [list(b"abcd")]


def test_byte_pairs_shorten_the_text_and_lose_nothing(save):
    data = Text(save(WORDS), tokenizer=BPE(280), length=8)
    train, tokens = data._text("train"), data._ids("train")
    tokenizer = _opened(_trained(train, 280))
    assert tokenizer.decode(tokens.tolist()).encode() == train
    assert 256 <= tokens.max() < 280 and len(tokens) < len(train) / 2
    assert data.bytes_per_token("train") == len(train) / len(tokens) and Text(data.path).bytes_per_token() == 1.0


def test_the_same_text_gives_the_same_merges(save):
    train = Text(save(WORDS))._text("train")
    assert _trained.__wrapped__(train, 290) == _trained.__wrapped__(train, 290)


def test_merges_come_from_the_training_text_alone(save):
    path = save(WORDS)
    one, other = (
        Text(path, test_path=save(t, f"{i}.txt"), tokenizer=BPE(280), length=4)
        for i, t in enumerate(("zzzzzzzz" * 9, "the cat sat on the mat"))
    )
    assert np.array_equal(one.split("train")[:]["tokens"], other.split("train")[:]["tokens"])
    assert one.bytes_per_token() == 1.0 and other.bytes_per_token() > 2


@pytest.mark.parametrize("fields", [{}, {"tokenizer": BPE(280)}])
def test_a_string_is_cut_or_padded(save, fields):
    data = Text(save(WORDS), length=12, **fields)
    long, short = ({k: v[0] for k, v in data.preprocess([text]).items()} for text in (WORDS, "cat"))
    assert np.array_equal(long["tokens"], data.split("train")[:]["tokens"][0]) and long["mask"].all()
    count = int(short["mask"].sum())
    assert 1 <= count <= 3 and short["mask"][:count].all() and not short["tokens"][count:].any()
    for item in ("", 3, b"cat"):
        with pytest.raises(DataError, match="an input is a string with at least one character"):
            data.preprocess([item])


def test_a_changed_file_is_read_anew(save):
    data = Text(save(b"a" * 100), length=4)
    assert (data.split("test")[:]["tokens"] == ord("a")).all()
    save(b"b" * 90)
    assert (data.split("test")[:]["tokens"] == ord("b")).all()


def test_the_tokenizer_of_a_run_outlives_its_text(save, tmp_path):
    data = Text(save(WORDS), tokenizer=BPE(280), length=8)
    before, strings = data.preprocess, ["the cat sat"]
    expected = before(strings)["tokens"]
    before.save(tmp_path / "assets")
    save("other words altogether, zebras and quartz. " * 60)
    assert not np.array_equal(data.preprocess(strings)["tokens"], expected)  # trained anew
    for again in (data.restored(tmp_path / "assets").preprocess, Preprocess.load(tmp_path / "assets")):
        assert np.array_equal(again(strings)["tokens"], expected)
    (tmp_path / "own.txt").unlink()
    assert np.array_equal(Preprocess.load(tmp_path / "assets")(strings)["tokens"], expected)


def test_lines_are_padded_to_the_smallest_bucket_that_fits(save):
    lines = ["ab", "abcd", "abcde", "a" * 40, "", "abcdefg"] * 20
    data = Text(save("\n".join(lines)), rows="lines", length=8, buckets=(4, 8))
    assert [s["tokens"].shape for s in data.specs] == [(4,), (8,)] and data.spec == data.specs[-1]
    seen = {}
    stream = data.batches(4, seed=0)
    for batch in (next(stream) for _ in range(60)):
        lengths = batch["mask"].sum(1)
        width = batch["tokens"].shape[1]
        assert batch["mask"].shape == batch["tokens"].shape and not batch["tokens"][~batch["mask"]].any()
        assert (lengths <= width).all() and (width == 4 or (lengths > 4).all())
        seen[width] = seen.get(width, 0) + 1
    assert 12 < seen[4] < 36  # two lines of five; 24 on average
    split = data.split("test")
    assert split[:2]["tokens"].shape[1] in (4, 8) and len(split) == 10  # no empty lines
    assert data.preprocess(["ab", "abcd"])["tokens"].shape == (2, 4) and data.preprocess(["ab", "abcde"])["tokens"].shape == (2, 8)


def test_packed_rows_are_full_and_begin_again_with_each_line(save):
    lines = ["abc", "de", "fghij"] * 30
    data = Text(save("\n".join(lines)), rows="packed", length=12, test_share=0.1)
    batch = next(data.batches(6, seed=0))
    assert (batch["segments"] > 0).all()
    for rows in (batch, data.split("train")[:]):
        for tokens, segments, positions in zip(rows["tokens"], rows["segments"], rows["positions"]):
            starts = np.flatnonzero(np.diff(segments, prepend=0))
            assert (positions[starts] == 0).all() and (np.diff(positions)[np.diff(segments) == 0] <= 1).all()
            texts = [bytes(tokens[segments == s].astype(np.uint8)).decode() for s in range(1, segments.max() + 1)]
            assert all(t in lines for t in texts[:-1]) and any(line.startswith(texts[-1]) for line in lines)
            assert not tokens[segments == 0].any()
    whole = [t for row in zip(*data.split("train")[:].values()) for t in bytes(row[0][row[1] > 0].astype(np.uint8)).decode()]
    assert "".join(whole) == "".join(lines)[: len(whole)]  # nothing is lost, nothing comes twice


def test_the_training_file_is_no_test_file(save, tmp_path):
    path = save(WORDS)
    (tmp_path / "link.txt").symlink_to(path)
    for same in (path, f"{tmp_path}/../{tmp_path.name}/own.txt", str(tmp_path / "link.txt")):
        with pytest.raises(ConfigError, match=r"test_path='.*' is the file of path='.*own.txt': a model would be tested on"):
            Text(path, test_path=same)


def test_bad_files(save, tmp_path):
    with pytest.raises(DataError, match="there is no text; set data.path to a text file"):
        Text().split("test")[:]
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(DataError, match=r"there is no file '.*' \(looked for .*\); set data.path"):
            Text(str(path)).batches(2, seed=0)
    path = save(WORDS)
    with pytest.raises(DataError, match="set data.test_path"):
        Text(path, test_path="nowhere.txt").split("test")[:]
    with pytest.raises(DataError, match=r"own.txt: the test text has 208 tokens, too few for a window of length=500"):
        Text(path, length=500, valid_share=0.0).split("test")[:]
    with pytest.raises(DataError, match="needs text in UTF-8, and byte 3 is not"):
        Text(save(b"abc\xff" * 50), tokenizer=BPE(300)).split("train")[:]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"length": 1}, "length must be at least 2"),
        ({"test_share": 1.0}, "test_share must lie between 0 and 1, not 1.0"),
        ({"valid_share": 1.0}, r"valid_share must lie in \[0, 1\), not 1.0"),
        ({"rows": "line"}, "rows='line'; did you mean 'lines'"),
        ({"buckets": (64, 128)}, "buckets are for rows='lines', not for 'windows'"),
        ({"rows": "lines", "buckets": (64, 32, 128)}, r"buckets must rise and end in length=128, not \(64, 32, 128\)"),
        ({"rows": "lines", "buckets": (64,)}, r"buckets must rise and end in length=128, not \(64,\)"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Text("x.txt", **fields)


@pytest.mark.parametrize("rows", ["windows", "lines", "packed"])
@pytest.mark.parametrize("tokenizer", [Bytes(), BPE(260)])
def test_words_are_numbered_along_a_row(tmp_path, rows, tokenizer):
    (tmp_path / "x.txt").write_text("the cat sat\n" * 30)
    data = Text(str(tmp_path / "x.txt"), length=8, rows=rows, tokenizer=tokenizer, words=True)
    drawn, held = next(iter(data.batches(4, seed=0))), data.split("test")[:2]
    for found in (drawn, held):
        assert found["words"].shape == found["tokens"].shape and found["words"].dtype == np.int32
        steps = np.diff(found["words"], axis=1)
        begins = tokenizer.begins(data.preprocess.learned)[found["tokens"][:, 1:]]
        assert ((steps == 1) == (begins | (found["positions"][:, 1:] == 0 if rows == "packed" else False))).all()
        assert steps.any() and not steps.all()
    assert set(drawn) == set(data.spec)
