"""Pretrained folders: their weights as they are in the file."""

import shutil

import jax
import ml_dtypes
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.io.pretrained import architecture, load, parameter_shapes
from jaxemb.io.takes import fit
from jaxemb.io.tensors import SINGLE, TensorFiles
from jaxemb.nn.block import stack_blocks
from jaxemb.nn.pooled import Pooled
from jaxemb.ops.paths import by_path
from jaxemb.tensor_file import Tensor, WeightsError, name_of, write_tensors
from jaxemb.train.sharding import make_mesh

TEXT = {"tokens": np.zeros((1, 4), np.int32), "mask": np.ones((1, 4), bool)}


@pytest.fixture(scope="session")
def bert(golden):
    return golden / "hf" / "bert"


def params(folder, module=None, **options):
    port = architecture(folder)
    model = Pooled(module or port.encoder.module, port.pooling.module)
    parts = {"encoder": port.encoder, "pooling": port.pooling}
    shapes = parameter_shapes(model, TEXT, mesh=make_mesh({"data": 1}), **options)
    return load(TensorFiles(folder), parts, shapes, whole=port, say=lambda text: None)


def rewritten(source, target, change):
    """A copy of a folder whose tensors `change` has changed."""
    target.mkdir(exist_ok=True)
    shutil.copy(source / "config.json", target)
    files = TensorFiles(source)
    arrays = change({files[name].name: files.read(name) for name in files})
    write_tensors(target / SINGLE, {k: Tensor(x.shape, name_of(x.dtype), lambda x=x: x) for k, x in arrays.items()})
    return target


# ---- loading ---------------------------------------------------------------------------------------------------------------------


def test_every_golden_folder_fits_what_its_config_describes(golden):
    """Names, prefixes and shapes alone: the numbers are compared where the architectures are."""
    seen = 0
    for config in sorted((golden / "hf").glob("*/config.json")):
        try:
            whole = architecture(config.parent)
        except ConfigError as e:
            assert "is not supported" in str(e)
            continue
        found = fit(TensorFiles(config.parent), {}, {}, whole)
        assert not found.complaint(strict=True), config
        seen += 1
    assert seen


def test_the_arrays_are_those_of_the_file(bert):
    tree, files = by_path(params(bert)["encoder"]), TensorFiles(bert)
    np.testing.assert_array_equal(tree["stem/embedding"], files.read("embeddings.word_embeddings.weight"))
    query = files.read("encoder.layer.1.attention.self.query.weight")  # rows are heads, then features; then those of tokens
    width, heads, inner = tree["block_1/attention/q/kernel"].shape
    assert heads > 1
    np.testing.assert_array_equal(tree["block_1/attention/q/kernel"], query.reshape(heads, inner, width).transpose(2, 0, 1))


def test_one_file_or_several(bert, golden):
    for a, b in zip(*(jax.tree.leaves(params(f)) for f in (bert, golden / "hf" / "bert_sharded")), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_dtype_and_sharded(bert):
    port = architecture(bert)
    mesh = make_mesh({"fsdp": 2, "model": 4})
    shapes = parameter_shapes(port.encoder.module, TEXT["tokens"], dtype="bfloat16", mesh=mesh, sharding="fsdp")
    tree = by_path(load(TensorFiles(bert), {"": port.encoder}, shapes, whole=port))
    for path, x in by_path(params(bert)["encoder"]).items():
        assert tree[path].sharding == shapes[path].sharding
        np.testing.assert_array_equal(np.asarray(tree[path]), np.asarray(x).astype(ml_dtypes.bfloat16))
    assert any(not x.sharding.is_fully_replicated for x in tree.values())


def test_scanned_layers_are_stacked(bert):
    module = architecture(bert).encoder.module.clone(scan=True)
    wanted = by_path(stack_blocks(params(bert)["encoder"]))
    tree = by_path(params(bert, module)["encoder"])
    assert tree.keys() == wanted.keys() and any(p.startswith("blocks/block_0/") for p in tree)
    for path, x in wanted.items():
        np.testing.assert_array_equal(tree[path], x)


def test_all_that_does_not_fit_is_one_error(bert, tmp_path):
    def change(arrays):
        arrays["encoder.layer.0.extra.weight"] = arrays.pop("encoder.layer.0.output.dense.bias")
        arrays["embeddings.word_embeddings.weight"] = arrays["embeddings.word_embeddings.weight"][:-1]
        arrays["encoder.layer.1.output.dense.bias"] = arrays["encoder.layer.1.output.dense.bias"][:-2]
        return arrays

    with pytest.raises(WeightsError) as caught:
        params(rewritten(bert, tmp_path / "x", change))
    for line in (
        "does not fit the model that its config.json describes",
        "2 of another shape or dtype",
        "embeddings.word_embeddings.weight: (",
        "encoder.layer.1.output.dense.bias: (",
        "1 missing there:\n    encoder.layer.0.output.dense.bias",
        "1 unexpected, not in this model:\n    encoder.layer.0.extra.weight",
        "named in `ignore`",
    ):
        assert line in str(caught.value)


def test_a_padded_vocabulary_is_cut_and_said(bert, tmp_path):
    name = "embeddings.word_embeddings.weight"

    def change(arrays):
        return arrays | {name: np.concatenate([arrays[name], arrays[name][:3]])}

    folder, said, port = rewritten(bert, tmp_path / "x", change), [], architecture(bert)
    shapes = parameter_shapes(port.encoder.module, TEXT["tokens"])
    tree = load(TensorFiles(folder), {"": port.encoder}, shapes, whole=port, say=said.append)
    np.testing.assert_array_equal(tree["stem"]["embedding"], TensorFiles(bert).read(name))
    assert len(said) == 1 and said[0].startswith(f"left out: {name}: the last 3 of")


def test_folders_that_are_none(tmp_path, bert):
    with pytest.raises(WeightsError, match="has no config.json, which says what its weights are$"):
        architecture(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="it holds an adapter: name the folder of the model that it belongs to"):
        architecture(tmp_path)
    for text, says in (
        ("{", "is damaged"),
        ("[]", "holds a list"),
        ('{"model_type": "alien"}', "'alien' is not supported; supported: .*bert"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=says):
            architecture(tmp_path)
    shutil.copy(bert / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(WeightsError, match="as a pickle"):
        params(tmp_path)
