"""Images of ArrayRecord and Parquet: which rows, which of them are read, and what is said of broken ones."""

import sys
from pathlib import Path

import numpy as np
import pytest
from photos import png, write_parquet, write_photos, write_records
from PIL import Image

from jaxemb.config import ConfigError
from jaxemb.data.array_record import ArrayRecordFile
from jaxemb.data.base import DataError
from jaxemb.data.folder import ImageFolder
from jaxemb.data.image_shards import ImageShards
from jaxemb.data.parquet import ParquetFile
from jaxemb.data.tf_example import _field, decode, encode

PIXELS = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)


def labels(split):
    return split.column("labels").tolist()


def take(stream, count):
    return [next(stream) for _ in range(count)]


@pytest.mark.parametrize("kind", ["array_record", "parquet"])
def test_rows_are_those_of_the_shards_one_after_the_other(tmp_path, kind):
    data = ImageShards(write_photos(tmp_path, kind), size=8, test_share=0.25, valid_share=0.1)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 16, 3), np.uint8)
    test, valid, train = (data.split(s) for s in ("test", "valid", "train"))
    assert labels(test) == list(range(3, 40, 4)) and np.array_equal(
        test[:]["images"], data.preprocess(list(pixels[3::4]))["images"]
    )
    assert labels(valid) == [12, 25, 38] and sorted(labels(test) + labels(valid) + labels(train)) == list(range(40))
    assert np.array_equal(train[[4, 1]]["images"], data.preprocess([pixels[5], pixels[1]])["images"])  # 3 is of the test


@pytest.mark.parametrize("kind", ["array_record", "parquet"])
def test_a_process_reads_its_own_places_alone(tmp_path, kind, monkeypatch):
    read = []
    of_block, of_rows = ParquetFile._read, ArrayRecordFile.rows

    def block(self, group, names):
        read.append((Path(self.path), group))
        return of_block(self, group, names)

    def rows(self, numbers):
        read.extend((Path(self.path), n) for n in numbers)
        return of_rows(self, numbers)

    monkeypatch.setattr(ParquetFile, "_read", block)
    mine = []
    for process in (0, 1):
        (folder := tmp_path / str(process)).mkdir()  # of its own: the threads of the other process may still read ahead
        path = write_photos(folder, kind)
        data = ImageShards(path, size=8, groups=4, test_share=0.2, valid_share=0.0, memory=0, threads=1)
        stream = data.batches(4, seed=0, shard=(process, 2))
        monkeypatch.setattr(ArrayRecordFile, "rows", rows)  # not before: the first record of a file is looked at
        take(stream, 4)  # an epoch of 32 rows is four batches of two processes; what is read ahead comes after
        monkeypatch.setattr(ArrayRecordFile, "rows", of_rows)
        found = [(path.name, n) for path, n in read if path.parent == folder]
        mine.append(set(found[: 16 if kind == "array_record" else 4]))
    if kind == "parquet":  # eight row groups of four rows each, two a lane
        assert len(mine[0]) == len(mine[1]) == 4 and len(mine[0] | mine[1]) == 8
    else:
        assert not mine[0] & mine[1] and len(mine[0] | mine[1]) == 32


def test_row_groups_that_are_done_leave_memory(tmp_path):
    write_parquet(tmp_path / "train.parquet", [{"image": png(PIXELS), "label": i} for i in range(200)], group=5)
    data = ImageShards(str(tmp_path / "train.parquet"), size=8, groups=4, valid_share=0.0)
    take(data.batches(8, seed=0), 20)
    recent = data.examples("train").shards.recent
    assert recent.most == 6 and len(recent._held) == 6


def test_columns_of_hugging_face_and_names_of_classes(tmp_path):
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([{"img": {"bytes": png(PIXELS), "path": None}, "fine": i % 2, "text": "x"} for i in range(20)])
    about = {"info": {"features": {"fine": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), tmp_path / "train-00000.parquet")
    data = ImageShards(str(tmp_path), size=8, image="img", label="fine")
    assert data.label_names() == ("cat", "dog") and set(labels(data.split("train"))) == {0, 1}
    unlabelled = ImageShards(str(tmp_path), size=8, image="img", label=None)
    assert set(labels(unlabelled.split("train"))) == {-1} and unlabelled.label_names() == ()


def test_files_of_a_folder_are_split_by_their_names(tmp_path):
    row = [{"image": png(PIXELS), "label": 0}]
    for name, count in {"cifar-train.0-of-2": 6, "cifar-train.1-of-2": 4, "cifar-validation.0-of-1": 3}.items():
        write_parquet(tmp_path / f"{name}.parquet", row * count)
    (tmp_path / "label.labels.txt").write_text("cat\ndog\n")
    data = ImageShards(str(tmp_path), size=8)
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [9, 1, 3] and data.label_names() == ("cat", "dog")
    write_parquet(tmp_path / "test-0.parquet", row * 2)
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [10, 3, 2]
    own = ImageShards(str(tmp_path / "cifar-train*"), size=8, test_path=str(tmp_path / "test-*"))
    assert [len(own.split(s)) for s in ("train", "valid", "test")] == [9, 1, 2]
    with pytest.raises(DataError, match=r"test-0.parquet is a shard of train and of test"):
        ImageShards(str(tmp_path / "*.parquet"), test_path=str(tmp_path / "test-*"), size=8).split("train")
    write_parquet(tmp_path / "train-corpus-test-000.parquet", row)
    with pytest.raises(DataError, match=r"train-corpus-test-000.parquet: is it a shard of train or of test\? Name it"):
        data.split("train")


def test_large_jpegs_are_decoded_smaller_as_those_of_a_folder(tmp_path):
    big = np.kron(PIXELS[:3, :4], np.ones((64, 64, 1), np.uint8))
    (tmp_path / "photos").mkdir()
    Image.fromarray(big).save(tmp_path / "photos" / "a.jpg", quality=95)
    encoded = (tmp_path / "photos" / "a.jpg").read_bytes()
    write_records(tmp_path / "train.array_record", [encode({"image": encoded, "label": 1})] * 10)
    for channels in (3, 1):
        folder = ImageFolder(str(tmp_path / "photos"), size=24, channels=channels, test_share=0.999)
        shards = ImageShards(str(tmp_path / "train.array_record"), size=24, channels=channels)
        (there,), here = (d.split("test")[:]["images"] for d in (folder, shards))
        assert shards.examples("test")[0]["images"].shape == (48, 64, channels)
        np.testing.assert_allclose(here[0], there, atol=0.05)


def test_records_go_there_and_back():
    values = {"b": b"\x00\xff" * 100, "s": "ä", "i": -(2**63), "big": 2**63 - 1, "f": 1.5}
    found = decode(encode(values))
    assert found == {"b": [values["b"]], "s": ["ä".encode()], "i": [-(2**63)], "big": [2**63 - 1], "f": [1.5]}
    number = b"\x08\xff\xff\xff\xff\xff\x7f"  # field 1 is 2^42 - 1, where bytes must be: so many zeros would be asked for
    numbers = [b"\x0a" + bytes([len(number)]) + number]  # in the place of an entry, of a name, of a value
    numbers += [_field(1, _field(1, number)), _field(1, _field(1, _field(2, _field(1, number))))]
    for broken in (b"\x0a\x05\x0a", b"\x0b", encode(values)[:-3], b"\xff" * 12, *numbers):
        with pytest.raises(ValueError):
            decode(broken)


def test_records_are_those_of_tensorflow_datasets(tfds_dir):
    file = next((tfds_dir / "cifar10").rglob("*test*array_record*"))
    shards = ImageShards(str(file), test_path=str(file).replace("-test", "-train"))
    assert labels(shards.split("train").sample(5)) and len(shards.split("test")) == 50_000
    assert shards.label_names()[0] == "airplane"


def faults():
    def rows(**more):
        return [{"image": png(PIXELS), "label": i} | more for i in range(20)]

    def parquet(found):
        return lambda folder: write_parquet(folder / "train.parquet", found)

    def records(found):
        return lambda folder: write_records(folder / "train.array_record", [encode(r) for r in found])

    def cut(folder):
        records(rows())(folder)
        file = folder / "train.array_record"
        file.write_bytes(file.read_bytes()[:-100])

    def flipped(folder):
        write_parquet(folder / "train.parquet", rows(), group=10)
        file = folder / "train.parquet"
        content = bytearray(file.read_bytes())
        content[200] ^= 1
        file.write_bytes(content)

    damaged = rows()
    damaged[7] = {"image": b"no image", "label": 7}
    return {
        "column": (
            parquet(rows()),
            {"label": "lable"},
            r"train.parquet has no column 'lable'; did you mean 'label'\? valid: image, label",
        ),
        "field": (records(rows()), {"image": "img"}, r"row 0 of .*train.array_record has no column 'img';.* valid: image, label"),
        "text for a label": (
            parquet(rows(label="cat")),
            {},
            r"row 0 of .*.parquet: 'label' must be a whole number .* not 'cat'",
        ),
        "number for a label": (records(rows(label=1.5)), {}, r"'label' must be a whole number of 32 bits, not 1.5"),
        "large label": (records(rows(label=2**40)), {}, "'label' must be a whole number of 32 bits, not 1099511627776"),
        "no label": (parquet([*rows()[:3], rows(label=None)[0]] * 5), {}, r"row 3 of .*: 'label' must be .* not None"),
        "image": (parquet(damaged), {}, r"row 7 of .*train.parquet: the image is damaged"),
        "image of a record": (records(damaged), {}, r"row 7 of .*train.array_record: the image is damaged"),
        "path for an image": (parquet(rows(image="a.png")), {}, r"'image' must be an encoded image, bytes, not 'a.png'"),
        "record": (lambda f: write_records(f / "train.array_record", [b"\xff"] * 9), {}, "row 0 of .* is no tf.train.Example"),
        "cut": (cut, {}, r"train.array_record is empty, cut off or no ArrayRecord"),
        "flipped": (flipped, {}, r"row group 0 \(rows 0 to 9\) of .*train.parquet cannot be read"),
        "no parquet": (lambda f: (f / "train.parquet").write_bytes(b"x" * 50), {}, "cannot be read as Parquet"),
        "nothing": (lambda f: None, {}, r"holds no file ending in .array_record, .parquet, .jsonl; it is empty"),
        "no training": (
            lambda f: write_parquet(f / "test.parquet", rows()),
            {},
            "no shard whose name says train; it holds test",
        ),
    }


@pytest.mark.parametrize("fault", faults().values(), ids=faults())
def test_what_is_wrong_is_named(tmp_path, fault):
    write, fields, message = fault
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        ImageShards(str(tmp_path), **{"size": 8, "valid_share": 0.0, "test_share": 0.01} | fields).split("train")[:]


def test_patterns_that_fit_nothing_or_too_much(tmp_path):
    write_photos(tmp_path, "parquet")
    write_photos(tmp_path, "array_record")
    write_parquet(tmp_path / "photos-2.parquet", [{"image": png(PIXELS), "label": "cat"}])
    (tmp_path / "photos.csv").touch()
    for path, message in {
        "train-*": "data.path: no shard fits '.*train-.*it holds photos-0.array_record, photos-0.parquet",
        "there/*": r"no shard fits .*; there is no folder .*there",
        "photos*.c*": "photos.csv is no shard: its name must hold one of .array_record, .parquet, .jsonl",
        "photos-0*": "fits shards of several kinds: array_record, parquet",
        "*.parquet": r"the shards differ: 'label' is string in .*photos-2.parquet, but int64 in .*photos-0.parquet",
    }.items():
        with pytest.raises(DataError, match=message):
            ImageShards(str(tmp_path / path)).split("train")
    with pytest.raises(DataError, match="data.test_path: no shard fits"):
        ImageShards(str(tmp_path / "photos-0.parquet"), test_path=str(tmp_path / "none*")).split("train")
    with pytest.raises(DataError, match="there are no shards; set data.path to a pattern"):
        ImageShards("").split("train")


@pytest.mark.parametrize("fields", [{"channels": 2}, {"groups": 0}, {"test_share": 1.0}, {"valid_share": 1.0}, {"threads": 0}])
def test_wrong_fields(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        ImageShards("x", **fields)


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    path = write_photos(tmp_path, "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"Parquet needs pyarrow: pip install 'jaxemb\[parquet\]'"):
        ImageShards(path).split("train")
