"""From a folder of images, or a file of texts, to shards that hold the same."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxemb.data.folder import ImageFolder
from jaxemb.data.image_shards import ImageShards
from jaxemb.data.text_shards import TextShards


@pytest.fixture
def make(script):
    return script("make_shards").main


def rows(split):
    arrays = split[:]
    return sorted((x.tobytes(), int(y)) for x, y in zip(arrays["images"], arrays["labels"]))


@pytest.mark.parametrize("form", ["array_record", "parquet"])
def test_shards_hold_what_the_folder_holds_in_its_splits(make, tmp_path, form, capsys):
    for i, x in enumerate(np.random.default_rng(0).integers(0, 256, (60, 9, 12, 3), np.uint8)):
        (tmp_path / "photos" / "cat dog".split()[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(tmp_path / "photos" / "cat dog".split()[i % 2] / f"{i}.png")
    out = tmp_path / "shards"
    arguments = ["images", str(tmp_path / "photos"), str(out), "--format", form, "--mib", "0.005", "--test-share", "0.2"]
    assert make(arguments) == 0
    folder, shards = ImageFolder(str(tmp_path / "photos"), size=8, test_share=0.2), ImageShards(str(out), size=8)
    assert shards.label_names() == ("cat", "dog") and len(list(out.glob(f"train-*-of-*.{form}"))) > 1
    for split in ("train", "valid", "test"):
        assert rows(shards.split(split)) == rows(folder.split(split))
    labels = shards.split("train").column("labels")
    assert 0 < np.count_nonzero(np.diff(labels)) and len(set(labels[: len(labels) // 2])) == 2  # not class by class
    capsys.readouterr()
    assert make(arguments) == 2
    assert f"train-00000-of-0000{len(list(out.glob('train-*')))}.{form} exists" in capsys.readouterr().err
    assert not [f for f in out.iterdir() if f.name.startswith(".")]


@pytest.mark.parametrize("form, ending", [("array_record", "jsonl"), ("parquet", "txt")])
def test_texts_are_split_by_what_they_say(make, tmp_path, form, ending):
    texts = [f"text number {i % 150}, copied" for i in range(300)]
    file = tmp_path / f"corpus.{ending}"
    file.write_text("".join((json.dumps({"body": t}) if ending == "jsonl" else t) + "\n" for t in texts))
    column = "body" if ending == "jsonl" else "text"
    shares = ["--test-share", "0.2", "--valid-share", "0.1"]
    assert make(["text", str(file), str(tmp_path / "out"), "--format", form, "--mib", "0.004", "--column", column, *shares]) == 0
    data = TextShards(str(tmp_path / "out"), column=column, rows="lines", length=40)
    found = [{x.tobytes() for x in data.split(s)[:]["tokens"]} for s in ("train", "valid", "test")]
    assert all(found) and sum(map(len, found)) == len(set().union(*found)) == 150
    assert sum(len(data.split(s)) for s in ("train", "valid", "test")) == 300


def test_what_cannot_be_read_leaves_nothing_behind(make, tmp_path, capsys):
    (tmp_path / "corpus.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    assert make(["text", str(tmp_path / "corpus.jsonl"), str(tmp_path / "out")]) == 2
    assert "line 2: 'text' is missing; there are 'txt'" in capsys.readouterr().err and not list((tmp_path / "out").iterdir())
    for source in ("none.txt", "none.jsonl"):
        assert make(["text", str(tmp_path / source), str(tmp_path / "out")]) == 2
    assert make(["images", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "there is no folder" in capsys.readouterr().err
