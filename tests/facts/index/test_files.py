"""A stored index that is cut off or edited is refused by name."""

import numpy as np
import pytest

from jaxemb.files import FileError
from jaxemb.index.exact import Exact
from jaxemb.index.files import ARRAYS, DESCRIPTION, load_index
from jaxemb.index.filters import Contains, Equals, Range


def edit(file, change):
    file.write_bytes(change(file.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (ARRAYS, lambda b: b[:-3], "cut off"),
        (ARRAYS, lambda b: b[:-1] + bytes([b[-1] ^ 1]), f"{ARRAYS} has changed"),
        (ARRAYS, lambda b: b[:5], "safetensors"),
        (DESCRIPTION, lambda b: b.replace(b'"rows": 5', b'"rows": 4'), f"{DESCRIPTION} has changed"),
        (DESCRIPTION, lambda b: b[:-20], f"{DESCRIPTION} is damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, change, says):
    Exact().build(np.eye(5, dtype=np.float32)).save(tmp_path)
    assert len(load_index(tmp_path)) == 5
    edit(tmp_path / name, change)
    with pytest.raises(FileError, match=says):
        load_index(tmp_path)


def test_what_is_known_of_rows_is_loaded_whatever_it_is_called(tmp_path):
    x = np.eye(4, dtype=np.float32) + np.float32(0.1)
    tags = {"a/values": [1, 2, 3, 4], "a": ["x", "y", "x", "y"], "": [{"b"}, set(), {"b", "c"}, set()], "none": [[], [], [], []]}
    Exact().build(x, tags).remove([3]).save(tmp_path)
    loaded = load_index(tmp_path)
    for allow, ids in ((Range("a/values", 2), [2, 1]), (Equals("a", "x"), [2, 0]), (Contains("", "b"), [2, 0])):
        np.testing.assert_array_equal(loaded.search(x[2:3], 2, allow).ids, [ids])
    more = loaded.add(x[3:], {name: values[3:] for name, values in tags.items()})
    np.testing.assert_array_equal(more.search(x[3:], 1).ids, [[4]])  # 3 is never given again


def test_a_folder_that_is_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    built = Exact().build(np.eye(2, dtype=np.float32))
    for path in (file, file / "index"):
        with pytest.raises(FileError, match="is a file or lies in one"):
            built.save(path)


@pytest.mark.parametrize("name", [ARRAYS, DESCRIPTION])
def test_a_missing_file_is_named(tmp_path, name):
    Exact().build(np.eye(5, dtype=np.float32)).save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileError, match=name):
        load_index(tmp_path)
    with pytest.raises(FileError, match="no folder"):
        load_index(tmp_path / "none")
