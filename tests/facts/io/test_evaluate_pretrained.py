"""A pretrained folder is judged on texts of the user's own; the embedder is a stand-in, which `tests/parity` has in earnest."""

import json

import numpy as np
import pytest
from fakes import Words, write_collection

from jaxemb.cli import main
from jaxemb.config import ConfigError
from jaxemb.io.embedder import Embedder
from jaxemb.io.evaluate import evaluate, is_pretrained
from jaxemb.io.report import Report


class Stand(Embedder):
    """Words in place of a model."""

    def __init__(self, options):
        self.options, self.words = options, Words()

    def _encode(self, role, inputs, *, prompt, **options):
        z = self.words.encode_texts([f"{prompt or ''}{text}" for text in inputs], role=role, prompt=prompt)
        return z, Report(len(z), 0, 9, 0, 0.0, 16, prompt or "", 0, "Mean()", "float32", z.shape[1], "float32", 1.0)

    prompts = {}
    similarity_fn_name = "dot"


@pytest.fixture
def opened(monkeypatch):
    """What `from_pretrained` was called with."""
    calls = []

    def from_pretrained(folder, *, max_length=None, dtype="float32"):
        calls.append((str(folder), {"max_length": max_length, "dtype": dtype}))
        return Stand(calls[-1][1])

    monkeypatch.setattr(Embedder, "from_pretrained", staticmethod(from_pretrained), raising=False)
    return calls


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "bert"}')
    return str(tmp_path / "model")


@pytest.fixture
def stsb(tmp_path):
    (tmp_path / "stsb.csv").write_text("a wing,the wing,5\na wing,a cell,2\nthe stone,a cell,1\n")
    return str(tmp_path / "stsb.csv")


def test_the_verb_prints_the_table_of_a_run_and_writes_nothing_there(opened, model, stsb, tmp_path, capsys):
    cranfield = write_collection(tmp_path / "cranfield", {"1": "a wing", "2": "a cell"}, {"q": "wing"}, "q\t1\t1\n")
    out = tmp_path / "figures.json"
    sets = [f"evals.retrieval.path={cranfield}", "evals.retrieval.at=[1]", f"evals.sts.path={stsb}", "max_length=16"]
    options = [word for text in sets for word in ("--set", text)]
    assert main(["eval", model, "--evals", "retrieval,sts", *options, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "ndcg@1" in said and "spearman" in said and opened == [(model, {"max_length": 16, "dtype": "float32"})]
    record = json.loads(out.read_text())
    assert record["retrieval"]["figures"]["ndcg@1"] == 1 and record["sts"]["figures"]["spearman"] == pytest.approx(1)
    conditions = record["retrieval"]["conditions"]
    assert "trec_eval" in conditions["ties"] and conditions["query"] | {"max_length": 16, "dtype": "float32"} == conditions["query"]
    assert conditions["similarity"] == "dot" and record["retrieval"]["evaluation"]["similarity"] is None
    assert record["sts"]["conditions"]["text"]["rows"] == 4 and record["sts"]["versions"]["numpy"] == np.__version__
    assert [f.name for f in (tmp_path / "model").iterdir()] == ["config.json"]


def test_an_evaluation_under_a_name_of_its_own(opened, model, stsb):
    sets = [f"evals.mine=jaxemb.evals.sts:STS(path='{stsb}', prompt='x ')"]
    assert evaluate(model, changes=sets)["mine"]["pairs"] == 3
    assert evaluate(model, evals=["mine"], changes=sets) == evaluate(model, changes=sets)


@pytest.mark.parametrize(
    ("evals", "sets", "said"),
    [
        (None, [], "is a pretrained model without evaluations of its own: --evals with some of retrieval, sts, pairs"),
        (["st"], [], "has no evaluation 'st'.*; of your texts: retrieval, sts, pairs, clustering, classification"),
        (["sts"], [], r"sts needs a path: --set evals.sts.path=\.\.\."),
        (["sts"], ["evals.sts.path=x.csv", "evals.sts.pth=x"], r"evals.sts \(STS\) has no field 'pth'; did you mean 'path'"),
        (["sts"], ["evals.sts.path=x.csv", "poling=mean"], "--set poling=.*: a pretrained model is not opened with it.*dtype"),
        (["sts"], ["evals.sts.path=5"], "evals.sts.path: expected str, got 5"),
    ],
)
def test_what_is_wrong_is_named(opened, model, evals, sets, said):
    with pytest.raises(ConfigError, match=said):
        evaluate(model, evals=evals, changes=sets)


def test_a_file_that_cannot_be_written(opened, model, stsb, tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        evaluate(model, evals=["sts"], changes=[f"evals.sts.path={stsb}"], out=tmp_path / "nowhere" / "x.json")


def test_which_paths_are_pretrained(model, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"@": "jaxemb.experiment:Experiment"}')
    assert is_pretrained(model) and is_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    assert not is_pretrained(tmp_path / "run") and not is_pretrained(f"{tmp_path}/run@5")
    (tmp_path / "run" / "config.json").write_text("{")
    assert not is_pretrained(tmp_path / "run")
    (tmp_path / "run" / "modules.json").write_text("[]")
    assert is_pretrained(tmp_path / "run")


@pytest.mark.parametrize("name", ["runs/smal", "run/small", "runs/smal@5", "smal", "models/text/small", "org/name@5"])
@pytest.mark.parametrize("verb", [("doctor",), ("show",), ("eval", "--evals", "sts"), ("export", "new")])
def test_what_is_neither_here_nor_an_id_is_no_model_of_the_hub(name, verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([verb[0], name, *verb[1:]]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.endswith("there is neither a run nor another folder, and models of the Hugging Face hub are written org/name")
    assert name.partition("@")[0] in said and "HF_HUB_OFFLINE" not in said
