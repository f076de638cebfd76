"""A bucket that is not there: gs:// paths of epath, through the file system of fsspec that it asks, to a folder of the disk."""

import os
import pathlib

from etils.epath import backend
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from orbax.checkpoint._src.path import gcs_utils


class Bucket(DirFileSystem):
    """As an object store: names come without their scheme, folders are where objects are, and nothing can be appended to."""

    protocol = ("gs", "gcs")

    def __init__(self, root):
        super().__init__(path=str(root), fs=LocalFileSystem(auto_mkdir=True, skip_instance_cache=True), skip_instance_cache=True)
        self.written = []
        """Names in the order in which they were opened for writing."""

    @classmethod
    def _strip_protocol(cls, path):
        return os.fspath(path).removeprefix("gs://").strip("/")

    def _join(self, path):
        return super()._join(
            self._strip_protocol(path) if isinstance(path, str | os.PathLike) else [self._strip_protocol(p) for p in path]
        )

    def path_of(self, path):
        """Where its bytes are on the disk."""
        return pathlib.Path(self._join(path))

    def mkdir(self, path, *args, **kwargs):
        pass

    def makedirs(self, path, *args, **kwargs):
        pass

    def isdir(self, path):
        return any(names for _, _, names in os.walk(self._join(path)))

    def exists(self, path):
        return os.path.isfile(self._join(path)) or self.isdir(path)

    def open(self, path, mode="rb", **kwargs):
        assert mode.strip("bt") in ("r", "w"), f"objects cannot be opened with {mode!r}"
        if "w" in mode:
            self.written.append(self._strip_protocol(path))
        return super().open(path, mode=mode, **kwargs)


def stand_in(root, monkeypatch):
    """gs://any/... in a folder. Orbax takes its way of buckets (a mark at the end of a save, no rename); only TensorStore's client
    of Google Cloud, which is no file system of fsspec, writes to the folder at once."""
    found = Bucket(root)
    monkeypatch.setattr(backend._FileSystemSpecBackend, "_get_filesystem", lambda self, name: found)

    def store(path):
        return {"driver": "file", "path": found._join(path) + "/" * path.endswith("/")}

    monkeypatch.setattr(gcs_utils, "get_kvstore_for_gcs", store)
    monkeypatch.setattr(gcs_utils, "is_hierarchical_namespace_enabled", lambda path: False)
    return found
