"""Models as folders for others: the tensors are those that were read, the vectors those that were given."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pretrained import tokenizer

from jaxemb.cli import main
from jaxemb.config import ConfigError
from jaxemb.data.digits import Digits
from jaxemb.data.text import Text
from jaxemb.evals.perplexity import Perplexity
from jaxemb.experiment import Experiment
from jaxemb.io.embedder import Embedder
from jaxemb.io.origin import Origin
from jaxemb.io.own import _computing, _encoding
from jaxemb.io.pretrained import architecture, example, load, nested, parameter_shapes
from jaxemb.io.published import _config
from jaxemb.io.takes import cut_back, fit, takes_of, tensor_shapes
from jaxemb.io.tensors import SINGLE, TensorFiles
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.hf.base import Towers, families
from jaxemb.nn.lora import LoRA
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.resnet import ResNet
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.towers import TwoTowers
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.next_token import NextToken
from jaxemb.ops.paths import by_path
from jaxemb.pooling.concat import Concat
from jaxemb.pooling.first import First
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.sincos import SinCos
from jaxemb.preprocess.hf_images import PretrainedImages
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.preprocess.text import BPE
from jaxemb.preprocess.texts_and_images import TextsAndImages
from jaxemb.tensor_file import Tensor, WeightsError, write_tensors
from jaxemb.train.loop import train
from jaxemb.train.pretrained import FromPretrained
from jaxemb.train.sharding import make_mesh

SENTENCES = ["a short one", "Another, somewhat longer text.", "x"]


@pytest.fixture(scope="session")
def folders(golden):
    return {name: golden / "hf" / name for name in ("st_bert", "st_decoder")}


@pytest.fixture(scope="module")
def embedders(folders):
    mesh = make_mesh({"data": 1})
    return {name: Embedder.from_pretrained(folder, mesh=mesh) for name, folder in folders.items()}


def reopened(folder):
    return Embedder.from_pretrained(folder, mesh=make_mesh({"data": 1}))


# ---- tensors ---------------------------------------------------------------------------------------------------------------------


def cut_out(names, files, prefix=""):
    """What the arrays of a table of names are, by NumPy alone."""
    return {path: sum(take.of(files.read(prefix + take.name)) for take in takes_of(source)) for path, source in names.items()}


def test_every_golden_folder_is_written_as_it_was_read(golden, tmp_path):
    """Tensors that are cut apart, transposed, or partly folded into others: what is written is read as the same arrays."""
    seen = 0
    for config in sorted((golden / "hf").glob("*/config.json")):
        if json.loads(config.read_text())["model_type"] not in families():
            continue
        whole, files = architecture(config.parent), TensorFiles(config.parent)
        prefix, shapes = fit(files, {}, {}, whole).prefix, tensor_shapes(files, whole)
        for key, tower in {"text": whole.text, "image": whole.image}.items() if isinstance(whole, Towers) else (("", whole),):
            names = tower.encoder.names
            arrays = cut_out(names, files, prefix)
            (out := tmp_path / f"{config.parent.name}{key}").mkdir()
            write_tensors(out / SINGLE, cut_back(names, arrays, shapes))
            written = TensorFiles(out)
            for path, x in cut_out(names, written).items():
                np.testing.assert_array_equal(x, arrays[path], err_msg=f"{config.parent.name} {path}")
            folded = {t.name for source in names.values() if len(takes_of(source)) > 1 for t in takes_of(source)}
            for name in written:
                if name not in folded:  # a class token has swallowed its position
                    np.testing.assert_array_equal(written.read(name), files.read(prefix + name), err_msg=name)
            seen += 1
    assert seen


def test_stacked_layers_are_written_apart(folders):
    port, files = architecture(folders["st_bert"]), TensorFiles(folders["st_bert"])
    module = port.encoder.module.clone(scan=True)
    arrays = by_path(load(files, {"": port.encoder}, parameter_shapes(module, example(port)["tokens"]), whole=port))
    assert any(path.startswith("blocks/") for path in arrays)
    for name, tensor in cut_back(port.encoder.names, arrays, tensor_shapes(files, port)).items():
        np.testing.assert_array_equal(tensor.make(), files.read(name))
    with pytest.raises(WeightsError, match="no shape is known"):
        cut_back(port.encoder.names, arrays, {})


# ---- as sentence-transformers has it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["st_bert", "st_decoder"])
def test_a_folder_comes_back(name, folders, embedders, tmp_path):
    model, out = embedders[name], tmp_path / "out"
    assert model.save_pretrained(out) is None
    again = reopened(out)
    for role in ("encode", "encode_query"):
        np.testing.assert_array_equal(getattr(again, role)(SENTENCES), getattr(model, role)(SENTENCES))
    assert (again.prompts, again.similarity_fn_name, again.max_length) == (
        model.prompts,
        model.similarity_fn_name,
        model.max_length,
    )
    kinds = [[m["type"].rpartition(".")[2] for m in json.loads((f / "modules.json").read_text())] for f in (out, folders[name])]
    assert kinds[0] == kinds[1]
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers") and 'SentenceTransformer("out")' in card


def test_the_words_of_both_releases_of_transformers(golden):
    """The rotary fields of config.json are written as both have them: the golden folders hold the older words beside the newer."""
    seen = 0
    for file in sorted((golden / "hf").glob("*/config_v4.json")):
        new, old = json.loads((file.parent / "config.json").read_text()), json.loads(file.read_text())
        if not new.get("rope_parameters"):
            continue
        found = _config(new, "float32", new["vocab_size"])
        for name in ("rope_theta", "rope_scaling", "rope_local_base_freq", "global_rope_theta", "local_rope_theta"):
            there = old.get(name)
            if isinstance(there, dict) and "type" in there:  # an older word still
                there = {"rope_type" if k == "type" else k: v for k, v in there.items()}
            assert found.get(name) == there, (file, name)
        seen += 1
    assert seen


def test_heads_of_language_models_are_left_out_of_the_name():
    for given, wanted in (
        ("BertForMaskedLM", "BertModel"),
        ("T5ForConditionalGeneration", "T5EncoderModel"),
        ("Qwen3Model", "Qwen3Model"),
    ):
        assert _config({"model_type": "x", "architectures": [given]}, "float32", 5)["architectures"] == [wanted]


def test_bfloat16_is_written_as_such(folders, tmp_path):
    model = Embedder.from_pretrained(folders["st_bert"], dtype="bfloat16", mesh=make_mesh({"data": 1}))
    model.save_pretrained(tmp_path / "out")
    assert {t.dtype for t in TensorFiles(tmp_path / "out").found.values()} == {"BF16"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


# ---- in our own form -------------------------------------------------------------------------------------------------------------


def changed(model, **fields):
    made = Embedder(model.model.clone(**fields), model.variables, model.preprocess, model.prompts, model.mesh)
    made.origin = model.origin
    return made


def test_what_others_have_no_name_for_opens_here_alone(embedders, tmp_path):
    model = embedders["st_decoder"]
    encoder = model.model.encoder
    reasons = {
        "sentence-transformers has no pooling Concat": changed(model, pooling=Concat((Mean(), First()))),
        "causal differ": changed(model, encoder=encoder.clone(causal=False)),
        "it was not made from an architecture": Embedder(model.model, model.variables, model.preprocess, mesh=model.mesh),
    }
    for i, (reason, other) in enumerate(reasons.items()):
        out = tmp_path / str(i)
        assert reason in other.save_pretrained(out)
        again = reopened(out)
        np.testing.assert_array_equal(again.encode(SENTENCES), other.encode(SENTENCES))
        assert again.prompts == other.prompts and not (out / "modules.json").exists()
        assert 'Embedder.from_pretrained("' in (out / "README.md").read_text()
    with pytest.raises(ConfigError, match="pooling: .* holds a model of our own form"):
        Embedder.from_pretrained(tmp_path / "0", pooling="mean")
    config = json.loads((tmp_path / "0" / "config.json").read_text())
    (tmp_path / "0" / "config.json").write_text(json.dumps(config | {"model": None}))
    with pytest.raises(WeightsError, match="is damaged: it holds no model"):
        reopened(tmp_path / "0")


def test_what_was_saved_in_bfloat16_opens_in_either(folders, tmp_path):
    half = Embedder.from_pretrained(folders["st_bert"], dtype="bfloat16", mesh=make_mesh({"data": 1}))
    half.origin = None
    half.save_pretrained(tmp_path / "out")
    for dtype in ("bfloat16", "float32"):
        again = Embedder.from_pretrained(tmp_path / "out", dtype=dtype, mesh=make_mesh({"data": 1}))
        assert again.model.encoder.dtype == dtype, dtype
        assert {x.dtype.name for x in jax.tree.leaves(again.variables)} == {dtype}
    both = TwoTowers(Pooled(Transformer(dtype="bfloat16")), Pooled(Transformer()))
    whole = _computing(both, "float32")
    assert (whole.text.encoder.dtype, whole.image.encoder.dtype) == ("float32", "float32")
    with pytest.raises(ConfigError, match="dtype='bfloat16': the encoder, a NoneType, computes in float32 alone"):
        _computing(Digits(), "bfloat16")


def test_an_adapter_is_named_and_merged_before_it_is_written(folders, embedders, tmp_path, monkeypatch, capsys):
    plain = embedders["st_bert"]
    lora = LoRA(rank=2, alpha=4.0)
    encoder = plain.model.encoder.clone(lora=lora)
    batch = {name: jnp.asarray(x) for name, x in plain.preprocess(["a"]).items()}
    shapes = jax.eval_shape(plain.model.clone(encoder=encoder).init, jax.random.key(0), batch)["params"]
    rng, known = np.random.default_rng(0), by_path(plain.variables["params"])
    every = {p: known.get(p, jnp.asarray(rng.normal(size=s.shape).astype(np.float32) / 4)) for p, s in by_path(shapes).items()}
    model = changed(plain, encoder=encoder)
    model.variables = {"params": nested(every)}
    assert "adapter beside its weights; merge_adapter(model)" in model.save_pretrained(tmp_path / "own")
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(Embedder, "from_run", lambda *a, **k: model)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "plain")]) == 0
    assert "--merge" in " ".join(capsys.readouterr().out.split())
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--merge"]) == 0
    assert "sentence-transformers opens it as well" in capsys.readouterr().out
    z = model.encode(SENTENCES)
    np.testing.assert_allclose(reopened(tmp_path / "out").encode(SENTENCES), z, atol=1e-5)
    assert np.abs(plain.encode(SENTENCES) - z).max() > 1e-3 and (tmp_path / "out" / "modules.json").exists()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A run of a model with batch statistics."""
    run = tmp_path_factory.mktemp("images") / "run"
    objective = Classify(ResNet(width=4), classes=10)
    train(Experiment(name="images", objective=objective, data=Digits(), steps=1, batch=8, log_every=1, mesh={"data": 1}), run)
    return run


def test_a_run_of_images_and_its_statistics(images, tmp_path, capsys):
    model = Embedder.from_run(images)
    assert model.save_pretrained(tmp_path / "out") is not None
    names = {name.split("/")[0] for name in TensorFiles(tmp_path / "out")}
    assert names == {"params", "batch_stats"}
    assert not any("head" in name for name in TensorFiles(tmp_path / "out"))  # which embeds nothing
    assert main(["show", str(tmp_path / "out")]) == 0 and "jaxemb's own" in capsys.readouterr().out
    x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    np.testing.assert_allclose(reopened(tmp_path / "out").encode(x), model.encode(x), atol=1e-6)
    card = (tmp_path / "out" / "README.md").read_text()
    every = {f"params/{path}" for path in by_path(model.variables["params"])}
    assert {name for name in every if "head" not in name} == _encoding(model.model, model.preprocess).keys()
    assert main(["show", str(tmp_path / "out")]) == 0
    arrays = TensorFiles(tmp_path / "out")
    kept = {n: Tensor(t.shape, t.dtype, lambda n=n: arrays.read(n)) for n, t in arrays.found.items() if "stem" not in n}
    assert 0 < len(kept) < len(arrays)
    write_tensors(tmp_path / "out" / SINGLE, kept)
    assert main(["show", str(tmp_path / "out")]) == 2 and "missing there" in capsys.readouterr().err
    with pytest.raises(WeightsError, match="3 missing there:\n *params/encoder/stem/kernel"):
        reopened(tmp_path / "out")
    assert "image-feature-extraction" in card and "| data | Digits() |" in card and "| steps | 1 |" in card


def test_both_towers_of_texts_and_images(tmp_path):
    small = {"width": 8, "depth": 1, "blocks": (Block(Attention(2)),)}
    text, image = (Pooled(Transformer(stem=s, pos=SinCos(axes=a), **small)) for s, a in ((Tokens(16), 1), (Patches(2), 2)))
    model = TwoTowers(text, image)
    batch = {"text": {"tokens": np.zeros((1, 4), np.int32)}, "image": {"images": np.zeros((1, 4, 4, 3), np.float32)}}
    shapes, rng = parameter_shapes(model, batch, mesh=make_mesh({"data": 1})), np.random.default_rng(0)
    params = nested({path: jnp.asarray(rng.normal(size=s.shape).astype(np.float32)) for path, s in shapes.items()})
    preprocess = TextsAndImages(text=PretrainedText(length=8, learned=tokenizer()), images=PretrainedImages(size=4))
    both = Embedder(model, {"params": params}, preprocess, mesh=make_mesh({"data": 1}))
    assert "more than an encoder and a pooling" in both.save_pretrained(tmp_path / "out")
    for inputs in (["the cat", "a dog"], np.zeros((1, 4, 4, 3), np.uint8)):
        np.testing.assert_array_equal(reopened(tmp_path / "out").encode(inputs), both.encode(inputs))
    assert main(["show", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "zero-shot-image-classification" in card and "texts of at most 8 tokens or images" in card


def test_folders_that_cannot_be_written(embedders, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for where, says in (
        (tmp_path / "full", "is not empty"),
        (tmp_path / "full" / "x", "is a file"),
        (tmp_path / "full" / "x" / "y", "cannot be written"),
    ):
        with pytest.raises(ConfigError, match=says):
            embedders["st_bert"].save_pretrained(where)
    monkeypatch.setattr(embedders["st_bert"], "windows", object())
    with pytest.raises(ConfigError, match="does not keep ParallelWindows"):
        embedders["st_bert"].save_pretrained(tmp_path / "new")


# ---- runs that started from a folder ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(folders, tmp_path_factory):
    """A decoder trained on for a step, whose folder is gone by the time that it is exported."""
    home = tmp_path_factory.mktemp("tuned")
    source = home / "source"
    shutil.copytree(folders["st_decoder"], source)
    (home / "own.txt").write_text("some lines of text\nthat say nothing\n" * 40)
    encoder = architecture(source).encoder.module
    data = Text(
        str(home / "own.txt"), rows="lines", length=32, tokenizer=BPE(encoder.stem.vocabulary, file=str(source / "tokenizer.json"))
    )
    experiment = Experiment(
        name="tuned",
        objective=NextToken(encoder=encoder),
        data=data,
        steps=1,
        batch=8,
        init=FromPretrained(str(source)),
        evals={"ppl": Perplexity(tokens=100)},
        log_every=1,
        mesh={"data": 1},
    )
    train(experiment, home / "run")
    shutil.rmtree(source)
    return home / "run"


def test_a_run_that_started_from_a_folder_is_written_as_that_was(tuned, tmp_path, capsys):
    model, out = Embedder.from_run(tuned), tmp_path / "out"
    assert Origin.read(tuned).config["model_type"] == model.origin.config["model_type"]
    assert main(["export", str(tuned), str(out)]) == 0
    assert "sentence-transformers opens it as well" in capsys.readouterr().out
    np.testing.assert_allclose(reopened(out).encode(SENTENCES), model.encode(SENTENCES), atol=2e-6)
    card = (out / "README.md").read_text()
    assert (
        "their last special token is kept" in card
        and "ppl/perplexity" in card
        and "| objective | NextToken(" in card
        and "| steps | 1 |" in card
    )
    assert main(["show", str(out)]) == 0
