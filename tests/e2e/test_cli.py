"""The command line, in this process: what is trained, listed and shown, and what it answers to mistakes."""

import json
import os

import pytest
from home import FILE, ROOT, at_home_in, forget, refused

from jaxemb.cli import main
from jaxemb.config import ConfigError
from jaxemb.experiment import Recipe, find
from jaxemb.ops.flops import Flops
from jaxemb.run.folder import Run
from jaxemb.train.summary import count_parameters


@pytest.fixture
def asked(monkeypatch):
    """What `jaxemb train` would train: a dictionary with experiment, folder and options."""
    seen = {}

    def train(experiment, folder, **options):
        seen.update(experiment=experiment, folder=folder, options=options)
        return {"loss": 0.5}

    monkeypatch.setattr("jaxemb.train.loop.train", train)
    return seen


# ---- train -----------------------------------------------------------------------------------------------------------------------


def test_training_says_what_and_where_and_what_came_of_it(here, capsys):
    """The run of `work` went the same way; its steps are not repeated here."""
    assert main(["train", FILE, "--run", "runs/small", "--set", "log_every=7"]) == 0
    said = capsys.readouterr().out
    count = count_parameters(find(FILE))
    assert f"small: IJEPA, {count / 1000:.3g} k parameters" in said and "Digits(), 10 steps of 16, seed 0" in said
    assert "8 x CPU, mesh {'data': 1}" in said and "folder      runs/small\n" in said
    assert "nothing is left to do: runs/small has reached step 10 of 10" in said
    figures = Run("runs/small").figures(10)
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    assert rows["knn/top1"] == [f"{Run('runs/small').figures(0)['knn/top1']:.4g}", f"{figures['knn/top1']:.4g}"]
    assert rows["pixels_knn/top1"] == [f"{figures['pixels_knn/top1']:.4g}"]  # once, at the end
    assert "Next:  jaxemb eval runs/small\n       jaxemb plot runs/small\n       jaxemb encode runs/small INPUT" in said


def test_what_to_do_next_can_be_pasted(here, asked, capsys, monkeypatch):
    monkeypatch.setattr("jaxemb.run.folder.Run.figures", lambda self, step: {})
    assert main(["train", FILE, "--run", "my runs/it's"]) == 0
    assert """Next:  jaxemb eval 'my runs/it'"'"'s'""" in capsys.readouterr().out


def test_without_evaluations_none_is_proposed(here, asked, capsys, monkeypatch):
    monkeypatch.setattr("jaxemb.run.folder.Run.figures", lambda self, step: {})
    assert main(["train", FILE, "--set", "evals={}"]) == 0
    said = capsys.readouterr().out
    assert "Next:  jaxemb plot runs/small" in said and "jaxemb eval" not in said and "untrained" not in said


def test_show_takes_the_patterns_that_train_takes(here, monkeypatch):
    shown = []
    monkeypatch.setattr("jaxemb.cli.verbs.show_one", lambda experiment: shown.append((experiment.name, experiment.steps)))
    assert main(["show", f"{FILE}:*", "--set", "steps=7"]) == 0
    assert shown == [("small", 7), ("longer", 7)]
    assert main(["show", "runs/small"]) == 0 and shown[2:] == [("small", 10)]


def test_a_model_that_cannot_be_built_is_the_configs_fault(here, capsys, monkeypatch):
    def broken(experiment):
        raise TypeError("shape must be nonnegative\nand much more")

    monkeypatch.setattr("jaxemb.train.summary.summarise", broken)
    said = refused(capsys, "show", FILE)
    assert "small: no model can be built from this config: TypeError: shape must be nonnegative; --debug shows where" in said
    with pytest.raises(ConfigError):
        main(["show", FILE, "--debug"])


def test_the_run_knows_the_class_of_the_experiment_file(here):
    config = json.loads((here / "runs/small/config.json").read_text())
    assert config["objective"]["pooling"] == {"@": "experiments.cli_tests.small:Own"}


@pytest.mark.parametrize(
    "options, folder",
    [
        ([], "runs/small"),
        (["--seed", "3"], "runs/small-seed3"),
        (["--set", "seed=3"], "runs/small-seed3"),
        (["--seed", "0"], "runs/small"),
        (["--set", "name=deeper"], "runs/deeper"),
        (["--seed", "3", "--run", "elsewhere/x"], "elsewhere/x"),
    ],
)
def test_the_folder_of_a_run(here, asked, options, folder):
    assert main(["train", FILE, *options]) == 0
    assert asked["folder"] == folder


def test_fields_are_set_in_order_and_another_experiment_is_named(here, asked):
    command = ["train", f"{FILE}:longer", "--set", "optim.lr=1e-2", "--set", "optim.lr=1e-4", "--set", "evals.knn.k=7", "--wandb"]
    command += ["--profile", "5:8"]
    assert main(command) == 0
    experiment = asked["experiment"]
    assert (experiment.name, experiment.steps, experiment.optim.lr, experiment.evals["knn"].k) == ("longer", 20, 1e-4, 7)
    assert asked["options"] == {"tensorboard": False, "wandb": True, "profile": (5, 8)}


def test_an_object_is_set(here, asked):
    made = "objective.encoder.pos=jaxemb.posemb.learned:Learned(shape=(4, 4))"
    assert main(["train", FILE, "--set", made]) == 0
    assert type(asked["experiment"].objective.encoder.pos).__name__ == "Learned"


# ---- list, show ------------------------------------------------------------------------------------------------------------------


def test_list_shows_the_methods_of_all_families_or_of_one(capsys):
    assert main(["list"]) == 0
    every = capsys.readouterr().out
    for text in ("SinCos(axes=2, base=10000.0)", "Attention Is All You Need (2017)", "IJEPA(", "KNN(", "Images("):
        assert text in every
    assert main(["list", "posemb"]) == 0
    some = capsys.readouterr().out
    assert "SinCos" in some and "IJEPA" not in some and {line[:9].strip() for line in some.splitlines()[1:]} <= {"posemb", ""}


def test_list_by_a_pattern(capsys):
    for pattern in ("*RANK*", "rankme"):
        assert main(["list", "evals", pattern]) == 0
        said = capsys.readouterr().out
        assert "RankMe" in said and "KNN" not in said


def test_list_answers_what_it_does_not_find(capsys):
    assert "nothing in posemb matches 'zzz'; jaxemb list shows everything" in refused(capsys, "list", "posemb", "zzz")
    assert "there is no family 'posem'; did you mean 'posemb'? valid: " in refused(capsys, "list", "posem")


def test_list_as_a_catalogue(capsys):
    assert main(["list", "posemb", "--markdown"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# Methods\n") and "## posemb" in said and "## evals" not in said
    assert "| [`SinCos`](../jaxemb/posemb/sincos.py) | Adds fixed waves of the position" in said


def all_parameters(said):
    """The number in the line "all"."""
    (line,) = [line.split() for line in said.splitlines() if line.startswith("all ")]
    return int(line[-1].replace(",", ""))


def test_show_counts_what_there_is_to_train(here, capsys):
    assert main(["show", "runs/small"]) == 0
    plain = capsys.readouterr().out
    rows = {tuple(line.split()) for line in plain.splitlines()}
    assert {("objective", "jaxemb.objectives.ijepa:IJEPA"), ("pooling", "experiments.cli_tests.small:Own"), ("steps", "10")} <= rows
    assert {("images", *"16 x 8 x 8 x 1".split()), ("tokens", *"16 x 16 x 16".split()), ("embedding", *"16 x 16".split())} <= rows
    assert "one update, forward and backward: " in plain and "one embedding: " in plain
    assert all_parameters(plain) == count_parameters(find(FILE))

    assert main(["show", FILE, "--set", "objective.encoder.depth=3"]) == 0
    deeper = all_parameters(capsys.readouterr().out)
    # A block of width d has 4 d^2 + 4 d for attention, 8 d^2 + 5 d for the MLP and 4 d for two norms.
    assert deeper - all_parameters(plain) == 2 * (12 * 16**2 + 13 * 16)


@pytest.mark.parametrize("file", sorted((ROOT / "experiments" / "jepa").glob("*.py")), ids=lambda p: p.stem)
def test_every_shipped_experiment_can_be_shown(file, capsys, monkeypatch):
    """The arithmetic of one of them: lowering the programs of all would take half a minute."""
    forget()
    at_home_in(ROOT, monkeypatch)
    if file.stem != "shapes":
        monkeypatch.setattr("jaxemb.train.summary.count_step", lambda *args: Flops(2.5e9))
    assert main(["show", str(file)]) == 0
    said = capsys.readouterr().out
    if isinstance(shown := find(str(file)), Recipe):  # nothing is trained
        assert shown.name in said and "optimiser" not in said
        return
    assert all_parameters(said) == count_parameters(shown) > 10_000
    assert "optimiser" in said and "one embedding: " in said


# ---- mistakes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command, answer",
    [
        (["train", "experiments/cli_tests/smal.py"], f"no experiment file 'experiments/cli_tests/smal.py'; did you mean '{FILE}'?"),
        (["train", f"{FILE}:longe"], "defines no experiment 'longe'; did you mean 'longer'? valid: longer, main"),
        (["train", f"{FILE}:*", "--run", "runs/all"], f"--run names one folder, {FILE}:* fits 2 experiments: leave it out"),
        (["train", FILE, "--set", "optim.lrr=1"], "optim.lrr: optim (Optim) has no field 'lrr'; did you mean 'lr'?"),
        (["train", FILE, "--set", "steps=many"], "config.steps: expected int, got 'many'"),
        (["train", FILE, "--set", "steps"], "--set 'steps': write it as field=value"),
        (["train", FILE, "--set", "data=jaxemb.data.digits:Digit"], "has no class 'Digit'; did you mean 'Digits'?"),
        (["train", FILE, "--set", "data=os.path:join()"], "config.data: expected Data, got 'os.path:join()'"),
        (["train", FILE, "--devices", "0"], "--devices must be at least 1, not 0"),
        (["train", FILE, "--devices", "3"], "--devices 3 comes too late: JAX has already started with 8"),
        (
            ["train", FILE, "--distributed", "host,1"],
            "--distributed takes nothing (found out by itself) or ADDRESS:PORT,PROCESSES,ID",
        ),
        (["eval", "runs/small", "--evals", "kn"], "has no evaluation 'kn'; did you mean 'knn'?"),
        (["eval", "runs/small@7"], "there is no checkpoint 7 in"),
        (["show", "runs/smal"], "there is no experiment file 'runs/smal'"),
        (["compare", "experiments"], "experiments is no run folder: it has no config.json"),
        (["plot", "runs/small", "--x", "epochs"], "--x epochs: it is not written at the steps of 'knn/top1'; valid: step"),
    ],
)
def test_mistakes_are_answered_in_one_line(here, capsys, monkeypatch, command, answer):
    for name in ("XLA_FLAGS", "JAX_PLATFORMS"):  # --devices writes them
        monkeypatch.setenv(name, os.environ[name])
    assert answer in refused(capsys, *command)


@pytest.mark.parametrize(
    "command, answer",
    [
        (["train", FILE, "--sets", "a=1"], "unrecognized arguments: --sets a=1"),
        (["train", FILE, "--set", "a=1", "b=2"], "unrecognized arguments: b=2 (each change has a --set of its own"),
        (["eval", "runs/small", "--weights", "best"], "argument --weights: invalid choice: 'best'"),
        (["paint"], "invalid choice: 'paint'"),
        ([], "the following arguments are required: VERB"),
    ],
)
def test_options_that_do_not_exist(capsys, command, answer):
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2 and answer in capsys.readouterr().err


def test_debug_shows_where_an_error_comes_from(here):
    with pytest.raises(ConfigError, match="there is no experiment file"):
        main(["train", "nowhere.py", "--debug"])


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("jaxemb.cli.verbs.list", raiser(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr("jaxemb.cli.verbs.list", raiser(KeyboardInterrupt()))
    assert main(["list"]) == 130 and capsys.readouterr().err == ""


def test_a_reader_that_has_left_is_no_error(monkeypatch, capfd):
    """`jaxemb list | head`: what is still to be written goes nowhere."""
    monkeypatch.setattr("jaxemb.cli.verbs.list", raiser(BrokenPipeError()))
    kept = os.dup(1)
    try:
        assert main(["list"]) == 0
        print("lost", flush=True)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert "lost" not in capfd.readouterr().out


def raiser(error):
    def run(args):
        raise error

    return run
