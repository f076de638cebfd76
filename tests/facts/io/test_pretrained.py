"""Pretrained folders: their weights as they are in the file, and experiments that start from them."""

import dataclasses
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest

from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.data.key_value import KeyValue
from jaxemb.experiment import Experiment
from jaxemb.io.pretrained import FromPretrained, architecture, load, parameter_shapes
from jaxemb.io.takes import fit
from jaxemb.io.tensors import SINGLE, Tensor, TensorFiles, WeightsError, name_of, write_tensors
from jaxemb.nn.block import stack_blocks
from jaxemb.nn.hf.base import Towers
from jaxemb.nn.pooled import Pooled
from jaxemb.objectives.classify import Classify
from jaxemb.ops.paths import by_path
from jaxemb.pooling.pooler import Pooler
from jaxemb.train.init import SourceError
from jaxemb.train.loop import train
from jaxemb.train.sharding import make_mesh
from jaxemb.train.start import first_state, untrained

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
    shapes = parameter_shapes(port.encoder.module, TEXT["tokens"], dtype="bfloat16", mesh=mesh, sharding=((".*", "fsdp"),))
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


# ---- fine-tuning -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def experiment(bert):
    port = architecture(bert)
    assert not isinstance(port, Towers)
    objective = Classify(port.encoder.module, Pooler(), classes=8, inputs="tokens")
    data = KeyValue(length=8, count_train=8, count_valid=8, count_test=8)
    return Experiment(
        name="tuned",
        objective=objective,
        data=data,
        steps=1,
        batch=8,
        init=FromPretrained(str(bert)),
        log_every=1,
        mesh={"data": 1},
    )


def test_an_experiment_starts_from_the_file_and_trains(experiment, bert, tmp_path):
    said = []
    state = first_state(experiment, make_mesh({"data": 1}), said.append)
    count = len(jax.tree.leaves(state.params))
    assert said == [f"{count - 2} of {count} parameters from {bert}", "as initialised: head/bias, head/kernel"]
    for path, x in by_path(params(bert)["encoder"]).items():
        np.testing.assert_array_equal(by_path(state.params["encoder"])[path], x)
    np.testing.assert_array_equal(state.params["pooling"]["dense"]["kernel"], TensorFiles(bert).read("pooler.dense.weight").T)
    assert np.isfinite(train(experiment, tmp_path / "run")["loss"])
    assert said[0] in (tmp_path / "run" / "log.txt").read_text()
    assert from_json(to_json(experiment)) == experiment


def test_an_average_starts_from_the_file_too_and_a_scan_gets_stacks(experiment, bert):
    encoder = experiment.objective.encoder.clone(scan=True)
    changed = dataclasses.replace(experiment, objective=experiment.objective.clone(encoder=encoder), ema=(0.9, 1.0))
    state = first_state(changed, make_mesh({"data": 1}), lambda text: None)
    wanted = by_path(stack_blocks(params(bert)["encoder"]))
    for tree in (state.params, state.ema):
        assert by_path(tree["encoder"]).keys() == wanted.keys()
        for path, x in by_path(tree["encoder"]).items():
            np.testing.assert_array_equal(x, wanted[path])


def shapes(tree):
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return {f"params/{p}": jax.ShapeDtypeStruct(s, np.float32, sharding=place) for p, s in tree.items()}


def test_other_names_and_what_is_left_behind(bert):
    files, said = TensorFiles(bert), []
    table = files["embeddings.word_embeddings.weight"].shape
    found = FromPretrained(str(bert), renames=(("^encoder/", "student/"),))(shapes({"student/stem/embedding": table}), said.append)
    assert list(found) == ["params/student/stem/embedding"]
    assert said[1].startswith("left behind: embeddings.LayerNorm.bias, embeddings.LayerNorm.weight, ")
    with pytest.raises(ConfigError, match="init.renames: 'enc0der' finds nothing in"):
        FromPretrained(str(bert), renames=(("enc0der", "x"),))(shapes({"encoder/stem/embedding": table}))
    with pytest.raises(ConfigError, match="is no regular expression"):
        FromPretrained(str(bert), renames=(("(", "x"),))


def test_what_does_not_fit_is_refused(bert):
    table = TensorFiles(bert)["embeddings.word_embeddings.weight"].shape
    with pytest.raises(ConfigError, match=r"does not fit\n  1 of another shape or dtype:\n    embeddings.word_embeddings.weight"):
        FromPretrained(str(bert))(shapes({"encoder/stem/embedding": (table[0] + 1, table[1]), "head/kernel": (1,)}))
    with pytest.raises(ConfigError, match="no path is the same; it has encoder/stem/embedding"):
        FromPretrained(str(bert))(shapes({"head/kernel": (1,)}))


def test_a_source_that_is_gone(experiment, tmp_path):
    gone = dataclasses.replace(experiment, init=FromPretrained(str(tmp_path / "gone")))
    with pytest.raises(SourceError, match="init: there is no folder"):
        first_state(gone, make_mesh({"data": 1}))
    said = []
    untrained(gone, make_mesh({"data": 1}), said.append)
    assert "untrained here means the random initialisation" in said[-1]
