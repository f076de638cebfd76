"""A stored index that is cut off or edited is refused by name."""

import numpy as np
import pytest

from jaxemb.files import FileError
from jaxemb.index.exact import Exact
from jaxemb.index.files import ARRAYS, DESCRIPTION, load_index


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


@pytest.mark.parametrize("name", [ARRAYS, DESCRIPTION])
def test_a_missing_file_is_named(tmp_path, name):
    Exact().build(np.eye(5, dtype=np.float32)).save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileError, match=name):
        load_index(tmp_path)
    with pytest.raises(FileError, match="no folder"):
        load_index(tmp_path / "none")
