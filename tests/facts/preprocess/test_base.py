"""A preprocessing comes back from its folder as it was, or not at all."""

import json
import os

import numpy as np
import pytest

from jaxemb.preprocess.base import CHECKSUMS, DESCRIPTION, DataError, Preprocess
from jaxemb.preprocess.images import ImagePreprocess

IMAGES = ImagePreprocess(size=4, channels=1, mean=(0.25,), std=(0.5,))


def test_it_comes_back(tmp_path):
    IMAGES.save(tmp_path / "assets")
    assert Preprocess.load(str(tmp_path / "assets")) == IMAGES
    assert sorted(p.name for p in (tmp_path / "assets").iterdir()) == [CHECKSUMS, DESCRIPTION]  # nothing temporary is left


def pipe(file):
    file.unlink()
    os.mkfifo(file)  # reading one waits for ever


def huge(file, size):
    os.truncate(file, size + 1)  # no block of it is on the disk


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: (f / DESCRIPTION).unlink(), "preprocess.json is missing: copy the folder of the run whole"),
        (lambda f: (f / CHECKSUMS).unlink(), "holds no preprocessing"),
        (lambda f: (f / CHECKSUMS).write_text("[5"), "checksums.json is damaged"),
        (lambda f: (f / CHECKSUMS).write_text("5"), "checksums.json is damaged"),
        (lambda f: (f / CHECKSUMS).write_text("{}"), "preprocess.json has changed since it was saved"),
        (lambda f: (f / CHECKSUMS).write_text('{"../x": ""}'), "names '../x', which is no file of the folder"),
        (lambda f: (f / CHECKSUMS).write_text("[" * 100), "checksums.json is damaged: it is nested 100 deep"),
        (lambda f: (f / CHECKSUMS).write_text('{"..": ""}'), "names '..', which is no file of the folder"),
        (lambda f: (f / DESCRIPTION).write_text("{}"), "preprocess.json has changed since it was saved"),
        (lambda f: pipe(f / DESCRIPTION), "preprocess.json is not a regular file"),
        (lambda f: pipe(f / CHECKSUMS), "checksums.json is not a regular file"),
        (lambda f: huge(f / DESCRIPTION, 2**28), "preprocess.json is larger than 256 MiB"),
        (lambda f: huge(f / CHECKSUMS, 2**26), "checksums.json is larger than 64 MiB"),
    ],
)
def test_what_is_missing_or_has_changed_is_refused(tmp_path, change, message):
    IMAGES.save(tmp_path)
    change(tmp_path)
    with pytest.raises(DataError, match=message):
        Preprocess.load(tmp_path)


def test_a_description_of_something_else_is_refused(tmp_path, monkeypatch):
    IMAGES.save(tmp_path)
    for text, message in (("{", "is damaged"), (json.dumps({"@": "jaxemb.data.digits:Digits"}), "but a Digits")):
        (tmp_path / DESCRIPTION).write_text(text)
        monkeypatch.setattr("jaxemb.preprocess.base._sum", lambda content: None)
        (tmp_path / CHECKSUMS).write_text("{}")
        with pytest.raises(DataError, match=message):
            Preprocess.load(tmp_path)


def test_what_a_kind_cannot_do_is_said(tmp_path):
    with pytest.raises(ValueError, match="a prompt goes before text; ImagePreprocess takes none"):
        IMAGES.prompted([np.zeros((4, 4))], "query: ")
