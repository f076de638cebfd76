"""Language models on text of one's own: a tokenizer that outlives its text, rows of several kinds, strings and prompts."""

import dataclasses
import json

import numpy as np
import pytest

import jaxemb
from jaxemb.cli import main
from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.digits import Digits
from jaxemb.data.text import Text
from jaxemb.evals.accuracy import Accuracy
from jaxemb.evals.base import Searches
from jaxemb.evals.perplexity import Perplexity
from jaxemb.experiment import Experiment
from jaxemb.io.embedder import Embedder
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Tokens
from jaxemb.objectives.next_token import NextToken, decoder
from jaxemb.objectives.simclr import SimCLR
from jaxemb.preprocess.text import BPE, TextPreprocess
from jaxemb.run.folder import Run
from jaxemb.train import loop
from jaxemb.train.judge import Judge
from jaxemb.train.loop import train
from jaxemb.train.optim import Optim
from jaxemb.train.sharding import make_mesh

WORDS = ["the cat sat on the mat", "and the dog sat", "on the cat", "a cat", "the dog and the cat and the mat"]
STRINGS = ["the cat sat on the mat", "a dog", "zebra"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file of a few hundred lines."""
    file = tmp_path_factory.mktemp("text") / "own.txt"
    lines = np.random.default_rng(0).choice(WORDS, 300)
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def experiment(text):
    data = Text(str(text), rows="packed", length=32, tokenizer=BPE(270))
    encoder = decoder(stem=Tokens(270), width=16, depth=1, blocks=(Block(Attention(2)),))
    return Experiment(
        name="text",
        objective=NextToken(encoder=encoder),
        data=data,
        optim=Optim(lr=1e-2),
        steps=10,
        batch=8,
        evals={"ppl": Perplexity(tokens=400, every=10)},
        log_every=1,
        mesh={"data": 1},
    )


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory):
    """Ten steps on packed rows."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(experiment, folder)
    return folder


@pytest.fixture(scope="module")
def model(run):
    return jaxemb.load(run)


def test_packed_rows_train(run):
    losses = [row["loss"] for row in Run(run).metrics() if "loss" in row]
    assert len(losses) == 10 and losses[-1] < losses[0] - 0.1
    figures = Run(run).figures(10)
    assert figures["ppl/nats_per_token"] < Run(run).figures(0)["ppl/nats_per_token"] and figures["ppl/bits_per_byte"] > 0


def test_lines_in_buckets_train_with_one_compilation_for_each_length(experiment, tmp_path, monkeypatch):
    seen, layout = [], loop.layout
    monkeypatch.setattr(loop, "layout", lambda batch: seen.append(batch["tokens"].shape) or layout(batch))
    data = dataclasses.replace(experiment.data, rows="lines", buckets=(8, 32))
    train(dataclasses.replace(experiment, data=data, evals={}), tmp_path / "run")
    compiled, used = seen[:2], seen[2:]  # programs of fixed shapes: a batch of another would be refused
    assert compiled == [(8, 8), (8, 32)] and len(used) == 10 and set(used) == set(compiled)
    assert len([row for row in Run(tmp_path / "run").metrics() if "loss" in row]) == 10


def test_a_run_reads_text_as_it_learnt_to_whatever_has_become_of_the_file(run, model, text, experiment):
    """The tokenizer is trained on the training text once, and not again when the run is loaded."""
    ids, z = model.preprocess(STRINGS)["tokens"], model.encode(STRINGS)
    kept = text.read_text()
    text.write_text("other words altogether, zebras and quartz\n" * 200)
    try:
        assert not np.array_equal(experiment.data.preprocess(STRINGS)["tokens"], ids)  # what a new training would make of them
        again = jaxemb.load(run)
        np.testing.assert_array_equal(again.preprocess(STRINGS)["tokens"], ids)
        np.testing.assert_array_equal(again.encode(STRINGS), z)
        judged = Run(run).restored(Run(run).experiment())
        np.testing.assert_array_equal(judged.data.preprocess(STRINGS)["tokens"], ids)
        text.unlink()
        np.testing.assert_array_equal(jaxemb.load(run).encode(STRINGS), z)
    finally:
        text.write_text(kept)


# ---- strings and prompts ---------------------------------------------------------------------------------------------------------


def test_strings_in_any_number_and_company(model):
    """Padding and what else is in the batch change nothing."""
    z = model.encode(STRINGS)
    assert z.shape == (3, 16) and z.dtype == np.float32
    for i, string in enumerate(STRINGS):
        np.testing.assert_allclose(model.encode(string), z[i], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.encode(STRINGS, batch_size=2), z, rtol=1e-4, atol=1e-5)
    assert np.abs(z[0] - z[1]).max() > 1e-2


def test_a_prompt_goes_before_each_text(model):
    asking = Embedder(model.model, model.variables, model.preprocess, {"query": "the cat ", "other": "on "}, model.mesh)
    prompted, plain = model.encode([f"the cat {s}" for s in STRINGS]), model.encode(STRINGS)
    assert np.abs(prompted - plain).max() > 1e-2
    for same in (
        asking.encode_query(STRINGS),
        asking.encode(STRINGS, prompt="the cat "),
        asking.encode(STRINGS, prompt_name="query"),
        asking.encode_query(STRINGS, prompt_name="query"),
        asking.encode_document(STRINGS, prompt="the cat "),
    ):
        np.testing.assert_array_equal(same, prompted)
    np.testing.assert_allclose(asking.encode_query(STRINGS, batch_size=2), prompted, rtol=1e-4, atol=1e-5)
    for same in (asking.encode(STRINGS), asking.encode_document(STRINGS), model.encode_query(STRINGS)):
        np.testing.assert_array_equal(same, plain)
    np.testing.assert_array_equal(asking.encode_query(STRINGS, prompt_name="other"), model.encode([f"on {s}" for s in STRINGS]))
    np.testing.assert_array_equal(asking.encode_query(STRINGS[0]), asking.encode_query(STRINGS[:1])[0])
    with pytest.raises(ConfigError, match="prompt_name='qury': there is no such prompt; did you mean 'query'"):
        asking.encode(STRINGS, prompt_name="qury")
    with pytest.raises(TypeError, match="encode_query has no argument 'batchsize'"):
        asking.encode_query(STRINGS, batchsize=3)


def test_the_role_reaches_the_model_and_the_preprocessing(model):
    """Objectives and preprocessing that make a difference between questions and documents are told which it is."""
    told = []

    class Reads(TextPreprocess):
        def __call__(self, items, role="document"):
            told.append(role)
            return super().__call__(items)

    class Turns(NextToken):
        def encode(self, batch, role="document"):
            z = super().encode(batch)
            return -z if role == "query" else z

    reads = Reads(length=32, tokenizer=BPE(270), learned=model.preprocess.learned)
    turned = Embedder(Turns(encoder=model.model.encoder), model.variables, reads, mesh=model.mesh)
    np.testing.assert_array_equal(turned.encode_query(STRINGS), -turned.encode_document(STRINGS))
    np.testing.assert_array_equal(turned.encode(STRINGS), turned.encode_document(STRINGS))
    assert told == ["query", "document", "document", "document"]


@pytest.mark.parametrize("inputs", [[""], [3], ["a", None]])
def test_what_is_no_text(model, inputs):
    with pytest.raises(DataError, match="an input is a string with at least one character"):
        model.encode(inputs)


def test_a_model_that_cannot_do_what_an_evaluation_asks_for_is_refused_before_training(experiment, tmp_path):
    """An average of pixels has no head to answer with; nothing asks an encoder to search."""
    pairs = Experiment(name="x", objective=SimCLR(), data=Digits(), steps=2, batch=8, evals={"right": Accuracy()})
    with pytest.raises(ConfigError, match=r"evals.right: Accuracy needs a model that scores \(logits or nll\); SimCLR has no such"):
        train(pairs, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()

    class Finds(Perplexity):
        needs = Searches

    with pytest.raises(ConfigError, match="evals.ppl: Finds needs an index to search; NextToken is a model"):
        Judge(dataclasses.replace(experiment, evals={"ppl": Finds()}), make_mesh({"data": 1}))


def test_a_run_of_texts_is_judged_on_texts_that_it_never_knew(run, model, tmp_path):
    """By a word, as a pretrained folder is, and with the vectors of `encode`."""
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("the cat,a cat,5\nthe cat,the dog sat,2\nthe mat and the mat,a dog,1\n")
    found = jaxemb.evaluate(run, evals=["sts"], changes=[f"evals.sts.path={pairs}"])["sts"]
    a, b = (model.encode(texts) for texts in (["the cat", "the cat", "the mat and the mat"], ["a cat", "the dog sat", "a dog"]))
    assert found["pearson"] == pytest.approx(np.corrcoef([5, 2, 1], np.diag(model.similarity(a, b)))[0, 1], abs=1e-5)
    (file,) = (run / "evals").glob("sts@10-*.json")
    conditions = json.loads(file.read_text())["conditions"]
    assert (conditions["max_length"], conditions["dtype"]) == (32, "float32") and "ranks" in conditions["ties"]


def test_the_doctor_examines_a_run_on_texts_of_the_users_own(run, tmp_path, capsys):
    lines = [" ".join(np.random.default_rng(i).choice(WORDS, 2)) + f" {i}" for i in range(24)]
    (tmp_path / "mine.txt").write_text("\n".join(lines))
    assert main(["doctor", str(run), "--samples", "32", "--texts", str(tmp_path / "mine.txt")]) == 0
    findings = json.loads((run / "doctor.json").read_text())["findings"]
    assert {"optimisation", "vectors", "texts", "pooling", "geometry", "worth"} <= {f["group"] for f in findings}
    assert "halves found" in capsys.readouterr().out
