"""The large experiments: they can be built and stored without data; a small one of texts trains."""

import json
import math

import pytest
from home import ROOT

from experiments.scale import ijepa, text_7b
from jaxemb.aot.plan import plan
from jaxemb.aot.topology import topology
from jaxemb.cli.verbs import headline, placed
from jaxemb.config import from_json, override, to_json
from jaxemb.experiment import defined
from jaxemb.train.loop import train
from jaxemb.train.summary import count_parameters

FILES = sorted((ROOT / "experiments" / "scale").glob("*.py"))
EVERY = {f"{file.stem}:{name}": x for file in FILES for name, x in defined(str(file)).items()}
SMALL = (
    "steps=1",
    "batch=8",
    "mesh={'fsdp': 2}",
    "data.length=8",
    "data.tokenizer=jaxemb.preprocess.text:Bytes()",
    "objective.encoder.width=16",
    "objective.encoder.depth=1",
    "objective.encoder.blocks.0.attention.heads=2",
    "objective.encoder.blocks.0.attention.kv_heads=1",
    "objective.encoder.blocks.0.attention.head_width=8",
    "objective.encoder.blocks.0.mlp.hidden=24",
    "objective.encoder.stem.vocabulary=256",
)


@pytest.mark.parametrize("name", EVERY)
def test_they_are_what_their_config_says_and_need_no_files(name):
    x = EVERY[name]
    doc = json.loads(json.dumps(to_json(x)))
    assert to_json(from_json(doc)) == doc  # not the objects: other tests of this process import the file's class anew
    assert x.data.spec and x.sharding == "fsdp" and x.objective.encoder.scan and x.objective.encoder.dtype == "bfloat16"
    if isinstance(x.objective, ijepa.IJEPA):
        heads = [part.blocks[0].attention.heads for part in (x.objective.encoder, x.objective.predictor)]
        assert heads[0] == heads[1] and x.optim.warmup < x.steps


def test_the_text_encoder_has_the_size_of_mistral_without_its_head():
    assert count_parameters(text_7b.main) == 7_241_732_096 - 32_000 * 4096


def test_show_says_what_a_device_holds():
    assert not placed(override(text_7b.main, [*SMALL, "mesh={}"]))
    cut, whole = (placed(override(text_7b.main, [*SMALL, f"mesh={axes}"])) for axes in ('{"data": 8}', '{"data": 2, "fsdp": 4}'))
    assert [line.partition(": ")[0] for line in cut + whole] == ["a device of 8 (data 8)", "a device of 8 (data 2, fsdp 4)"]
    assert cut != whole and all("B of parameters, average and optimiser" in line for line in cut + whole)


def test_what_a_mesh_cannot_cut_is_said_before_training_and_compiling(capsys, monkeypatch):
    odd = (
        "objective.encoder.width=18",
        "objective.encoder.blocks.0.mlp.hidden=27",
        "objective.encoder.blocks.0.attention.head_width=10",
    )
    x = override(text_7b.main, [*SMALL, *odd, "mesh={'fsdp': 8}"])
    headline(x, "runs/odd")
    note = capsys.readouterr().out.splitlines()[-1]
    assert note.startswith("sharding: ") and "fsdp=8 divides none" in note and placed(x)[1:] == [note]
    said = []
    monkeypatch.setattr("jaxemb.aot.plan.train_step", lambda *_: None)
    monkeypatch.setattr("jaxemb.aot.plan.plan_one", lambda *_: pytest.fail("only what is said before is looked at"))
    with pytest.raises(pytest.fail.Exception):
        plan(x, topology("cpu:8"), encodes=False, say=said.append)
    assert said == [note]


def test_the_text_experiment_trains(tmp_path):
    (tmp_path / "lines.txt").write_text("".join(f"line {i} of a text\n" for i in range(64)))
    figures = train(override(text_7b.main, [*SMALL, f"data.path={tmp_path / 'lines.txt'}"]), tmp_path / "run")
    assert 0 < figures["loss"] < math.log(8), "dropout makes two embeddings of a text differ, less than two texts do"
