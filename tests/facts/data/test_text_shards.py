"""Texts of shards: how they are packed, which of them are read, and what is said of broken ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from photos import write_parquet, write_records

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.packing import cut_rows, pack
from jaxemb.data.text_shards import TextShards
from jaxemb.data.tf_example import encode
from jaxemb.preprocess.base import Preprocess
from jaxemb.preprocess.text import BPE

TEXTS = [chr(97 + i % 26) * (3 + 7 * i % 11) for i in range(400)]
"""A letter each, 3 to 13 of it: 8 on average."""
KINDS = ("parquet", "array_record", "jsonl")


def write(folder: Path, kind: str = "parquet", texts=TEXTS, name="train") -> str:
    file = folder / f"{name}-0.{kind}"
    if kind == "parquet":
        write_parquet(file, [{"text": t, "url": "x"} for t in texts], group=40)
    elif kind == "array_record":
        write_records(file, [encode({"text": t}) for t in texts])
    else:
        file.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return str(folder)


def take(stream, count):
    return [next(stream) for _ in range(count)]


def test_rows_are_cut_from_the_texts_and_what_is_left_is_a_text_of_its_own():
    texts = [np.full(n, 10 * n) for n in (3, 6, 0, 2, 4)]
    rows = cut_rows(texts, 5)
    assert rows["tokens"].tolist() == [[30, 30, 30, 60, 60], [60, 60, 60, 60, 20], [20, 40, 40, 40, 40]]
    assert rows["segments"].tolist() == [[1, 1, 1, 2, 2], [1, 1, 1, 1, 2], [1, 2, 2, 2, 2]]
    assert rows["positions"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]]
    for name, x in pack([texts[0], texts[1][:2]], 5).items():
        assert np.array_equal(rows[name][0], x)
    more = cut_rows(texts, 5, 4)  # the texts begin again
    assert more["tokens"][3].tolist() == [30, 30, 30, 60, 60] and more["segments"][3].tolist() == [1, 1, 1, 2, 2]
    assert np.array_equal(cut_rows(texts, 5, 2)["tokens"], rows["tokens"][:2])


@pytest.mark.parametrize("kind", KINDS)
def test_all_formats_give_the_same_rows(tmp_path, kind):
    data = TextShards(write(tmp_path, kind), length=16, test_share=0.1, valid_share=0.1)
    split = data.split("test")[:]
    held = "".join(TEXTS[9::10]).encode()
    assert len(split["tokens"]) == len(held) // 16 or len(split["tokens"]) == len(held) // 16 + 1
    assert bytes(split["tokens"].ravel().astype(np.uint8))[: len(held) // 16 * 16] == held[: len(held) // 16 * 16]
    starts = split["positions"] == 0
    assert np.array_equal(np.cumsum(starts, 1), split["segments"])
    lines = TextShards(str(tmp_path), length=16, rows="lines", test_share=0.1)
    found = lines.split("test")[[0, 2]]
    assert bytes(found["tokens"][1][found["mask"][1]].astype(np.uint8)).decode() == TEXTS[29]


@pytest.mark.parametrize("rows", ["packed", "lines"])
def test_an_epoch_sees_the_training_texts(tmp_path, rows):
    data = TextShards(write(tmp_path), length=16, rows=rows, groups=2, test_share=0.1, valid_share=0.0)
    count = len(data.split("train"))
    stream = data.batches(count // 4, seed=0)
    first, second = (np.concatenate([b["tokens"] for b in take(stream, 4)]) for _ in range(2))
    letters = np.bincount(data.split("train")[:]["tokens"].ravel(), minlength=128)
    for epoch in (first, second):
        assert np.abs(np.bincount(epoch.ravel(), minlength=128) - letters)[97:].max() <= (40 if rows == "packed" else 24)
    assert {r.tobytes() for r in first} != {r.tobytes() for r in second} or rows == "lines"
    assert not np.array_equal(first, second)


def test_batches_are_the_same_on_any_number_of_processes_and_from_any_place(tmp_path):
    data = TextShards(write(tmp_path), length=16, groups=4)
    whole = take(data.batches(8, seed=5), 12)
    for count in (2, 4):
        parts = [data.batches(8 // count, seed=5, shard=(p, count)) for p in range(count)]
        for part in parts:
            part.set_state({"seed": 5, "batch": 8, "rows": len(data.split("train")), "place": 9})
        for there, *here in zip(whole[9:], *(take(part, 3) for part in parts)):
            for name, x in there.items():
                assert np.array_equal(x, np.stack([h[name] for h in here], 1).reshape(x.shape))
    with pytest.raises(DataError, match="saved with rows=7, but this stream has rows="):  # the shards, or the tokenizer, are others
        data.batches(8, seed=5).set_state({"seed": 5, "batch": 8, "rows": 7, "place": 9})


def test_blocks_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    write_parquet(tmp_path / "train-0.parquet", [{"text": t} for t in TEXTS * 10], group=40)  # 100 row groups, 20 rows each
    data = TextShards(str(tmp_path), length=16, groups=2, valid_share=0.0, threads=1)
    stream, read = data.batches(2, seed=0, shard=(0, 2)), []
    block = type(next(iter(data._rows("train")[0].files))).block
    monkeypatch.setattr("jaxemb.data.parquet.ParquetFile.block", lambda self, n: read.append(n) or block(self, n))
    take(stream, 4)
    assert 1 <= len(set(read)) == len(read) <= 3  # eight batches of two rows, four of them ahead, from one lane


def test_byte_pairs_are_learned_from_a_sample_once_and_kept_with_the_run(tmp_path):
    data = TextShards(write(tmp_path, "jsonl"), length=8, tokenizer=BPE(300))
    data.preprocess.save(tmp_path / "assets")
    (tmp_path / "train-0.jsonl").write_text(json.dumps({"text": "other"}) + "\n")
    kept = data.restored(str(tmp_path / "assets"))
    assert kept.preprocess.learned == Preprocess.load(tmp_path / "assets").learned and kept.vocabulary == 300
    assert len(kept.preprocess.ids(b"a" * 13)) < 13 and len(kept.preprocess.ids(b"other")) == 5


def test_lines_that_are_no_utf8_and_other_faults_are_named(tmp_path):
    file = tmp_path / "train-0.jsonl"
    good = b'{"text": "abcdefgh"}\n'
    for content, message in {
        good * 3 + b'{"text": "\xff"}\n' + good * 30: r"train-0.jsonl, line 4, is no UTF-8",
        good * 3 + b"{}\n" + good * 30: "line 4: 'text' is missing; there are none",
        good * 3 + b"{\n" + good * 30: "line 4: this is no JSON",
        good * 3 + b'{"text": 3}\n' + good * 30: "row 3 of .*: 'text' must be text, not 3",
        good * 3 + b"\n" + good * 30: "an empty line among lines",
        b"": "train-0.jsonl has no line",
        b'{"text": "a"}\n' * 20: "texts have too few tokens for a row of length=64",
        b'{"text": ""}\n' * 200: "texts have too few tokens for a row of length=64",
    }.items():
        file.write_bytes(content)
        with pytest.raises(DataError, match=message):
            TextShards(str(tmp_path), length=64).split("train")[:]
    file.write_bytes(good * 50 + b'{"text": ""}\n' + good * 50)
    with pytest.raises(DataError, match="row 50 of .*: the text is empty"):
        TextShards(str(tmp_path), length=64, rows="lines").split("train")[:]
    write(tmp_path, "parquet", TEXTS, "test")
    with pytest.raises(DataError, match=r"test-0.parquet has no column 'body'; valid: text, url"):
        TextShards(str(tmp_path), column="body").split("test")
    file.write_bytes(good * 2)
    with pytest.raises(DataError, match="no row is held out for validation with valid_share=0.01"):
        TextShards(str(tmp_path)).split("valid")


@pytest.mark.parametrize("fields", [{"length": 1}, {"rows": "windows"}, {"test_share": 0.0}, {"groups": 0}, {"workers": -1}])
def test_wrong_fields(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        TextShards("x", **fields)
