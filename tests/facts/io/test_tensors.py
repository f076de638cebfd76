"""Safetensors folders: what is read is what was written, and damage is named."""

import json

import ml_dtypes
import numpy as np
import pytest

from jaxemb.io.tensors import INDEX, SINGLE, TensorFiles
from jaxemb.tensor_file import Tensor, WeightsError, aligned, name_of, write_tensors


def made(*shape, dtype=np.float32):
    return (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 250).astype(dtype)


def write(file, arrays):
    write_tensors(file, {k: Tensor(x.shape, name_of(x.dtype), lambda x=x: x) for k, x in arrays.items()})


def raw(file, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.uint8, np.bool_])
def test_every_dtype_comes_back(tmp_path, dtype):
    arrays = {
        "a.weight": made(3, 5, dtype=dtype),
        "scalar": made(dtype=dtype),
        "empty": made(0, 4, dtype=dtype),
        "odd": made(7, dtype=dtype),
    }
    write(tmp_path / SINGLE, arrays)
    files = TensorFiles(tmp_path)
    assert list(files) == list(arrays) and files.bytes == sum(x.nbytes for x in arrays.values())
    for name, x in arrays.items():
        assert files[name].shape == x.shape
        np.testing.assert_array_equal(files.read(name), x)
        assert files.read(name).dtype == x.dtype


def test_the_formats_own_library_reads_what_is_written_and_the_other_way_round(tmp_path):
    from safetensors.numpy import load_file, save_file

    arrays = {"a.weight": made(3, 5), "b": made(7, dtype=np.float16), "c": made(2, 2, dtype=np.int64)}
    write(tmp_path / SINGLE, arrays)
    for name, x in load_file(tmp_path / SINGLE).items():
        np.testing.assert_array_equal(x, arrays[name])
    save_file(arrays, tmp_path / SINGLE)
    for name in TensorFiles(tmp_path):
        np.testing.assert_array_equal(TensorFiles(tmp_path).read(name), arrays[name])


def test_a_part_is_cut_from_a_view_in_another_dtype(tmp_path):
    x = made(6, 20)
    write(tmp_path / SINGLE, {"w": x})
    view = lambda t: t.reshape(6, 4, 5).transpose(2, 1, 0)  # noqa: E731
    part = np.empty((2, 4, 3), ml_dtypes.bfloat16)
    TensorFiles(tmp_path).copy("w", part, (slice(1, 3), slice(None), slice(0, 6, 2)), view)
    np.testing.assert_array_equal(part, view(x)[1:3, :, 0:6:2].astype(ml_dtypes.bfloat16))


def test_what_was_read_does_not_hang_on_the_file(tmp_path):
    write(tmp_path / SINGLE, {"w": made(4, 4)})
    part = TensorFiles(tmp_path).read("w")
    (tmp_path / SINGLE).write_bytes(b"\0" * (tmp_path / SINGLE).stat().st_size)
    np.testing.assert_array_equal(part, made(4, 4))
    while part is not None:  # not a view of a map
        assert not isinstance(part, np.memmap)
        part = part.base


def test_several_files_are_one(tmp_path):
    arrays = {f"layers.{i}.w": made(3, i + 1) for i in range(4)}
    for i in range(2):
        write(tmp_path / f"s{i}.safetensors", {n: y for j, (n, y) in enumerate(arrays.items()) if j % 2 == i})
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {n: f"s{i % 2}.safetensors" for i, n in enumerate(arrays)}}))
    files = TensorFiles(tmp_path)
    for name, x in arrays.items():
        np.testing.assert_array_equal(files.read(name), x)
    (tmp_path / "s1.safetensors").unlink()
    with pytest.raises(
        WeightsError, match="1 of 2 files that model.safetensors.index.json names are not there: s1.safetensors; down"
    ):
        TensorFiles(tmp_path)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"weight_map": {"w": "../s.safetensors"}}, "is no file of its folder"),
        ({"weight_map": {"w": 3}}, "is no file of its folder"),
        ({"weight_map": {}}, "holds no weight_map"),
        ([1], "holds no weight_map"),
        ({"weight_map": {"other": "s.safetensors"}}, "names tensors that its files do not hold: other"),
    ],
)
def test_a_damaged_index_is_named(tmp_path, index, says):
    write(tmp_path / "s.safetensors", {"w": made(2)})
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=says):
        TensorFiles(tmp_path)


def test_an_index_that_is_no_json(tmp_path):
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(WeightsError, match="is damaged"):
        TensorFiles(tmp_path)


def test_legacy_names_of_norms(tmp_path):
    write(tmp_path / SINGLE, {"a.LayerNorm.gamma": made(3), "a.LayerNorm.beta": made(3), "a.gamma": made(3)})
    assert list(TensorFiles(tmp_path)) == ["a.LayerNorm.weight", "a.LayerNorm.bias", "a.gamma"]


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "says"),
    [
        (b"{", b"", "is damaged: its header is no JSON"),
        (b"[" * 100_000, b"", "is damaged: its header is no JSON"),
        (b"\xff\xfe", b"", "is damaged: its header is no JSON"),
        (b"[]", b"", "its header is a list"),
        ({"w": 3}, b"", "is damaged: its header says of 'w' 3"),
        ({"w": ENTRY | {"shape": [-2]}}, bytes(8), "is damaged: its header says of 'w'"),
        ({"w": ENTRY | {"shape": [2.0]}}, bytes(8), "is damaged: its header says of 'w'"),
        ({"w": ENTRY | {"dtype": 3}}, bytes(8), "is damaged: its header says of 'w'"),
        ({"w": ENTRY | {"data_offsets": [8, 0]}}, bytes(8), "is damaged: its header says of 'w'"),
        ({"w": ENTRY | {"shape": [3]}}, bytes(8), "has 12 bytes, its place holds 8"),
        (
            {"w": ENTRY, "v": ENTRY | {"data_offsets": [8, 16]}},
            bytes(12),
            "is cut off: 1.* bytes of .* and 1 of 2 tensors end beyond",
        ),
    ],
)
def test_damage_is_named(tmp_path, header, data, says):
    raw(tmp_path / SINGLE, header, data)
    with pytest.raises(WeightsError, match=says):
        TensorFiles(tmp_path)


def test_a_file_of_a_few_bytes(tmp_path):
    for content in (b"", b"abc", b"\xff" * 30):
        (tmp_path / SINGLE).write_bytes(content)
        with pytest.raises(WeightsError, match="is no safetensors file"):
            TensorFiles(tmp_path)
    (tmp_path / SINGLE).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(WeightsError, match="git lfs pull"):
        TensorFiles(tmp_path)


def test_a_dtype_that_is_not_read_is_refused_where_it_is_wanted(tmp_path):
    raw(
        tmp_path / SINGLE,
        {"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}, "v": ENTRY | {"data_offsets": [4, 12]}},
        bytes(12),
    )
    files = TensorFiles(tmp_path)
    assert files.read("v").shape == (2,)
    with pytest.raises(WeightsError, match="w of .* has the dtype F8_E4M3; read are F64"):
        files.read("w")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["pytorch_model.bin"], "as a pickle .pytorch_model.bin., which can run any code .* safe_serialization=True"),
        (["model.pt"], "as a pickle"),
        (["tf_model.h5"], "weights of another kind .tf_model.h5. and no model.safetensors"),
        (["weights.safetensors"], "it holds weights.safetensors: rename"),
        ([], "holds no weights: neither model.safetensors nor model.safetensors.index.json$"),
    ],
)
def test_a_folder_without_safetensors(tmp_path, files, says):
    for f in files:
        (tmp_path / f).write_bytes(b"\x80\x02")
    with pytest.raises(WeightsError, match=says):
        TensorFiles(tmp_path)


def test_no_folder_and_no_tensor(tmp_path):
    with pytest.raises(WeightsError, match="there is no folder"):
        TensorFiles(tmp_path / "nowhere")
    write(tmp_path / SINGLE, {"w": made(2)})
    with pytest.raises(WeightsError, match="holds no tensor 'v'"):
        TensorFiles(tmp_path).read("v")


def test_a_shape_that_is_not_the_announced_one_and_an_unknown_dtype(tmp_path):
    with pytest.raises(WeightsError, match="announced with the shape"):
        write_tensors(tmp_path / SINGLE, {"w": Tensor((2,), "F32", lambda: made(3))})
    assert not list(tmp_path.iterdir())
    with pytest.raises(WeightsError, match="not in complex64"):
        name_of(np.complex64)


def test_aligned_arrays_begin_at_64_bytes():
    for shape in ((), (3, 5), (1000,)):
        x = aligned(shape, np.dtype(np.float32))
        assert x.shape == shape and x.ctypes.data % 64 == 0


def test_the_golden_folders_can_be_listed(golden):
    for folder in sorted(p.parent for p in (golden / "hf").glob("*/config.json")):
        files = TensorFiles(folder)
        assert len(files) and files.bytes
    whole, cut = TensorFiles(golden / "hf" / "bert"), TensorFiles(golden / "hf" / "bert_sharded")
    assert set(whole) == set(cut)
    for name in whole:
        np.testing.assert_array_equal(whole.read(name), cut.read(name))
