"""A bucket on this machine."""

import os
import pathlib

import pytest
from etils.epath import backend, gpath


class Bucket(backend._OsPathBackend):
    """Objects of `gs://` as files of a folder; like a bucket it has no folders of its own and cannot be appended to."""

    def __init__(self, root):
        self.root = root

    def _here(self, path):
        text = os.fspath(path)
        assert text.startswith("gs://"), f"{text} was given to the bucket"
        return os.path.join(self.root, text.removeprefix("gs://"))

    def open(self, path, mode):
        assert "a" not in mode, "an object cannot grow"
        here = pathlib.Path(self._here(path))
        if "w" in mode:
            here.parent.mkdir(parents=True, exist_ok=True)
        return super().open(here, mode)

    def exists(self, path):
        return super().exists(self._here(path))

    def isdir(self, path):
        return super().isdir(self._here(path))

    def listdir(self, path):
        return super().listdir(self._here(path))

    def glob(self, path):
        return ["gs://" + os.path.relpath(p, self.root) for p in super().glob(self._here(path))]

    def walk(self, top, **options):
        for root, dirs, files in super().walk(self._here(top), **options):
            yield "gs://" + os.path.relpath(root, self.root), dirs, files

    def makedirs(self, path, **options):
        assert path

    def mkdir(self, path, **options):
        assert path

    def rmtree(self, path):
        super().rmtree(self._here(path))

    def remove(self, path):
        super().remove(self._here(path))

    def rename(self, path, dst):
        os.rename(self._here(path), self._here(dst))

    def replace(self, path, dst):
        os.replace(self._here(path), self._here(dst))

    def stat(self, path):
        return super().stat(self._here(path))


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """`gs://` paths lead into tmp_path/objects, and nothing is written below the current folder."""
    (tmp_path / "objects").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", Bucket(str(tmp_path / "objects")))
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "objects"
    assert list((tmp_path / "here").iterdir()) == []
