"""Rows of Parquet files and of folders that Hugging Face's datasets saved: the same as of a text file."""

import json

import pytest

from jaxemb.data.records import read_rows
from jaxemb.preprocess.base import DataError

pa = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra `parquet`")
import pyarrow.parquet as pq  # noqa: E402

ROWS = [{"anchor": f"q{i}", "positive": f"p{i}", "negative": None if i else ["n"], "score": i / 2} for i in range(5)]


def saved(folder, rows=ROWS, files=2, **state):
    """As `Dataset.save_to_disk` of datasets 2 to 5 writes it."""
    folder.mkdir(parents=True)
    table, names = pa.Table.from_pylist(rows), [f"data-{i:05d}-of-{files:05d}.arrow" for i in range(files)]
    for i, name in enumerate(names):
        part = table.slice(i * 3, 3)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(part, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names], "_split": "train"} | state))
    (folder / "dataset_info.json").write_text("{}")
    return str(folder)


def read(path, names=None):
    return list(read_rows(str(path), names, header=True))


def test_every_kind_of_file_holds_the_same_rows(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet", row_group_size=2)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    folder = saved(tmp_path / "set")
    assert [row for _, row in read(tmp_path / "x.jsonl")] == ROWS
    for path in (tmp_path / "x.parquet", folder):
        found = read(path)
        assert [row for _, row in found] == ROWS
        assert found[3][0] == f"{path}, row 4"  # counted over the files of a folder
        assert [row for _, row in read(path, ("score", "anchor"))][1] == {"score": 0.5, "anchor": "q1"}


def test_a_column_that_is_not_there(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    for path in (tmp_path / "x.parquet", saved(tmp_path / "set")):
        with pytest.raises(DataError, match="has no column 'positiv'; did you mean 'positive'.* there are 'anchor', 'positive'"):
            read(path, ("positiv",))


def test_a_folder_of_splits_asks_for_one(tmp_path):
    folder = tmp_path / "both"
    saved(folder / "train")
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    with pytest.raises(DataError, match=r"holds the splits train, test .* name the folder of one, .*both/train"):
        read(folder)
    assert len(read(folder / "train")) == 5


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / "state.json").unlink(), "is a folder without state.json"),
        (lambda f: (f / "state.json").write_text("{"), "state.json cannot be read"),
        (lambda f: (f / "state.json").write_text("[]"), "holds an object, not a list"),
        (lambda f: (f / "state.json").write_text("{}"), "names no files"),
        (lambda f: (f / "data-00001-of-00002.arrow").unlink(), "there is no file .*data-00001-of-00002.arrow"),
        (lambda f: (f / "data-00001-of-00002.arrow").write_bytes(b"x" * 64), "cannot be read as a stream of Arrow"),
        (lambda f: (f / "state.json").write_text('{"_indices_data_files": [1]}'), "save it again after .flatten_indices"),
    ],
)
def test_what_is_wrong_with_a_folder(tmp_path, break_it, said):
    folder = saved(tmp_path / "set")
    break_it(tmp_path / "set")
    with pytest.raises(DataError, match=said):
        read(folder)


def test_a_damaged_parquet_file(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(tmp_path / "x.parquet")
