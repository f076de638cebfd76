"""An experiment checks itself, comes back from JSON, and is found in its file."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from jaxemb import packages
from jaxemb.config import ConfigError, from_json, override, to_json
from jaxemb.data.digits import Digits
from jaxemb.evals.knn import KNN
from jaxemb.experiment import Experiment, find, find_all, replace
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.byol import BYOL
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.hard_patches import HardPatches
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.objectives.lejepa import LeJEPA
from jaxemb.train.optim import Optim

FILE = """
    from jaxemb.data.digits import Digits
    from jaxemb.experiment import Experiment, replace
    from jaxemb.nn.stem import Patches
    from jaxemb.nn.transformer import Transformer
    from jaxemb.objectives.classify import Classify
    from jaxemb.pooling.mean import Mean

    class Louder(Mean):
        "Defined in the experiment file itself."
        gain: float = 2.0

    encoder = Transformer(stem=Patches(4), width=8, depth=1)
    main = Experiment(name="probe", objective=Classify(encoder, pooling=Louder(3.0)), data=Digits(), steps=2, batch=4)
    other = replace(main, name="other", steps=3)
"""


def experiment(**changes) -> Experiment:
    base = Experiment(
        name="tiny",
        objective=Classify(Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),))),
        data=Digits(),
        optim=Optim(lr=1e-2),
        steps=10,
        batch=8,
        ema=(0.9, 1.0),
        evals={"knn": KNN(every=5, split="valid"), "again": KNN(data=Digits(size=4))},
        sharding=((".*kernel", "fsdp"), (".*", "replicate")),
        best="knn/top1",
        expect={"knn/top1": 0.5},
    )
    return replace(base, **changes)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with experiments/found/probe.py."""
    path = tmp_path / "experiments" / "found" / "probe.py"
    path.parent.mkdir(parents=True)
    path.write_text(textwrap.dedent(FILE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(packages, "_named", [])
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("experiments.found")]:
        del sys.modules[name]


def test_an_experiment_comes_back_equal():
    x = experiment()
    assert from_json(json.loads(json.dumps(to_json(x)))) == x


def test_what_keeps_from_collapse_without_a_teacher_needs_no_average():
    for objective in (IJEPA(sigreg=0.02), LeJEPA()):
        assert experiment(objective=objective, ema=None).ema is None


def test_overrides_reach_into_an_experiment():
    x = override(experiment(), ["steps=1e3", "optim.lr=3", "evals.knn.k=5", "sharding=()", "data.size=16", "ema=None"])
    assert (x.steps, x.optim.lr, x.evals["knn"].k, x.sharding, x.data.size, x.ema) == (1000, 3.0, 5, (), 16, None)
    x = override(x, ["evals={}", "best=None"])
    assert x.evals == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"batch": 10, "accumulate": 4}, "batch 10 cannot be cut into accumulate=4 equal pieces"),
        ({"ema": None, "objective": BYOL()}, r"ema: the targets of BYOL come from an average .* set ema=\(0.996, 1.0\), or"),
        ({"ema": None, "objective": IJEPA()}, "ema: the targets of IJEPA come from an average"),
        ({"ema": None, "objective": HardPatches()}, "ema: the targets of HardPatches come from an average"),
        ({"ema": (0.9, 1.1)}, r"ema must be two numbers in \[0, 1\], not \(0.9, 1.1\)"),
        ({"best": "nkn/top1"}, "no such evaluation; did you mean 'knn'"),
        (
            {"evals": {"knn": KNN(every=5)}},
            "best='knn/top1': its evaluation looks at the split 'test'.*set evals.knn.split to 'valid'",
        ),
        ({"name": ""}, "name='': it names the run folder; valid: up to 100 letters"),
        ({"name": "../../home"}, "it names the run folder"),
        ({"name": ".."}, "it names the run folder"),
        ({"name": "a\nb"}, r"name='a\\nb': it names"),
        ({"name": "x@5"}, "it names the run folder"),
        ({"name": "x" * 101}, "it names the run folder"),
        ({"evals": {"../x": KNN()}, "best": None}, "evals: '../x' names files and figures"),
        ({"evals": {"knn": KNN(every=0, split="valid")}}, "evals.knn.every must be at least 1, or -1 for the end alone, not 0"),
        ({"sharding": (("(", "replicate"),)}, r"sharding: '\(' is no regular expression"),
        ({"sharding": (("(.|.)*!", "replicate"),)}, "sharding: .* a choice inside of a repeat, which can run for ever"),
        ({"seed": -1}, r"Experiment.seed=-1: valid: 0 to 4,294,967,295"),
        ({"steps": 10**13}, "Experiment.steps=10000000000000: valid: 1 to 1,000,000,000,000"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**changes)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.lrr=1", r"optim \(Optim\) has no field 'lrr'; did you mean 'lr'"),
        ("stepz=3", "the experiment.*has no field 'stepz'; did you mean 'steps'"),
        ("steps=many", "config.steps: expected int, got 'many'"),
        ("data=jaxemb.posemb.none:NoPos", "config.data: expected Data, got a NoPos"),
        ("objective.encoder.pos=SinCos", "expected PosEmb, got 'SinCos'; write an object as module:Class"),
    ],
)
def test_bad_overrides_name_what_is_valid(assignment, message):
    with pytest.raises(ConfigError, match=message):
        override(experiment(), [assignment])


# ---- FILE[:NAME] -----------------------------------------------------------------------------------------------------------------


def test_find_by_file_and_name(folder):
    assert find("experiments/found/probe.py").name == "probe"
    assert find("experiments/found/probe.py:other").steps == 3
    assert find(str(folder / "experiments/found/probe.py") + ":main").name == "probe"


def test_a_pattern_finds_several_in_their_order_and_each_once(folder):
    file = folder / "experiments/found/probe.py"
    file.write_text(
        file.read_text()
        + textwrap.dedent("""
        swept = {f"lr{lr}": replace(main, name=f"lr{lr}", optim=Optim(lr=lr)) for lr in (0.1, 0.2)}
        first = swept["lr0.1"]
        settings = {"steps": 3}
    """).replace("Optim(", "type(main.optim)(")
    )
    assert [e.name for e in find_all("experiments/found/probe.py:lr*")] == ["lr0.1", "lr0.2"]
    assert [e.name for e in find_all("experiments/found/probe.py:*")] == ["probe", "other", "lr0.1", "lr0.2"]
    assert [e.name for e in find_all("experiments/found/probe.py")] == ["probe"]
    assert find("experiments/found/probe.py:lr0.2").optim.lr == 0.2
    with pytest.raises(ConfigError, match=r"defines no experiments that fit 'rl\*'; valid: first, lr0.1, lr0.2, main, other"):
        find_all("experiments/found/probe.py:rl*")


def test_classes_of_the_file_are_found_again_from_its_stored_config(folder):
    (folder / "run.json").write_text(json.dumps(to_json(find("experiments/found/probe.py"))))
    code = """
        import json
        from jaxemb.config import from_json
        x = from_json(json.load(open("run.json")))
        print(type(x.objective.pooling).__module__, x.objective.pooling.gain)
    """
    env = {**os.environ, "JAXEMB_PROJECT": str(folder)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=folder, env=env)
    assert done.stdout.split() == ["experiments.found.probe", "3.0"], done.stderr


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("experiments/found/prob.py", r"no experiment file 'experiments/found/prob.py'; did you mean 'experiments/found/probe.py'"),
        ("experiments/found", "no experiment file 'experiments/found'"),
        ("experiments/found/probe.py:man", r"defines no experiment 'man'; did you mean 'main'\? valid: main, other"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(folder, target, message):
    with pytest.raises(ConfigError, match=message):
        find(target)


def test_a_file_without_experiments_is_named(folder):
    (folder / "experiments/found/script.py").write_text("def main(): ...")
    with pytest.raises(ConfigError, match="experiments/found/script.py defines no experiments"):
        find("experiments/found/script.py")


def test_outside_a_repository_it_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="run from the repository root, which holds experiments/"):
        find("experiments/jepa/shapes.py")


def test_a_file_that_another_module_hides_is_refused(folder):
    (folder / "json.py").write_text("")
    with pytest.raises(ConfigError, match="cannot be imported as 'json'.*give the file another name"):
        find("json.py")
