"""The command line, mostly in this process: what each verb does, and what it answers to mistakes."""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxemb.cli import main
from jaxemb.cli.process import HUGE_PAGES, choose_devices, huge_pages_note, on_cpu, restart_with_huge_pages
from jaxemb.config import ConfigError
from jaxemb.experiment import Recipe, find
from jaxemb.run.folder import Run
from jaxemb.train.summary import count_parameters

ROOT = Path(__file__).parents[2]
VERBS = ("train", "eval", "encode", "list", "show", "compare", "plot", "doctor")
FILE = "experiments/cli_tests/small.py"
EXPERIMENT = '''
"""The experiment of tests/e2e/conftest.py as a file, with a class of its own."""

from jaxemb.data.digits import Digits
from jaxemb.evals.knn import KNN
from jaxemb.evals.raw import RawInputs
from jaxemb.experiment import Experiment, replace
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.pooling.mean import Mean
from jaxemb.train.optim import Optim


class Own(Mean):
    """A pooling of this file."""


encoder = Transformer(
    stem=Patches(2), width=16, depth=1, blocks=(Block(Attention(2, dropout=0.1), FeedForward(dropout=0.1)),)
)
main = Experiment(
    name="small",
    objective=IJEPA(encoder=encoder, predictor=Predictor(width=16, depth=1), masks=FixedBlocks(), pooling=Own()),
    data=Digits(),
    optim=Optim(lr=1e-3, clip=1.0),
    ema=(0.9, 1.0),
    steps=10,
    batch=16,
    evals={"knn": KNN(k=5, every=10, train=200, test=100), "pixels_knn": RawInputs(of=KNN(k=5, train=200, test=100))},
    save_every=5,
    log_every=1,
    mesh={"data": 1},
)
longer = replace(main, name="longer", steps=20)
'''


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with an experiment file and a run of it."""
    folder = tmp_path_factory.mktemp("work")
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        at_home_in(folder, patch)
        assert main(["train", FILE]) == 0
    yield folder
    forget()


@pytest.fixture
def here(work, monkeypatch):
    """A test that starts there, in a process that has not seen the experiment."""
    forget()
    at_home_in(work, monkeypatch)
    return work


def at_home_in(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(ROOT))])


def forget():
    for name in [n for n in sys.modules if n.split(".")[0] == "experiments"]:
        del sys.modules[name]


@pytest.fixture
def asked(monkeypatch):
    """What `jaxemb train` would train: a dictionary with experiment, folder and options."""
    seen = {}

    def train(experiment, folder, **options):
        seen.update(experiment=experiment, folder=folder, options=options)
        return {"loss": 0.5}

    monkeypatch.setattr("jaxemb.train.loop.train", train)
    return seen


@pytest.fixture
def other(here):
    """The run again, as if of another seed."""
    folder = here / "runs" / "small-seed1"
    shutil.copytree(here / "runs" / "small", folder)
    doc = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(doc | {"seed": 1}))
    yield folder
    shutil.rmtree(folder)


def refused(capsys, *command):
    """The one line that answers a mistake."""
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


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
    assert main(command) == 0
    experiment = asked["experiment"]
    assert (experiment.name, experiment.steps, experiment.optim.lr, experiment.evals["knn"].k) == ("longer", 20, 1e-4, 7)
    assert asked["options"] == {"tensorboard": False, "wandb": True}


def test_an_object_is_set(here, asked):
    made = "objective.encoder.pos=jaxemb.posemb.learned:Learned(shape=(4, 4))"
    assert main(["train", FILE, "--set", made]) == 0
    assert type(asked["experiment"].objective.encoder.pos).__name__ == "Learned"


# ---- eval, encode ----------------------------------------------------------------------------------------------------------------


def test_eval_prints_the_figures_and_writes_where_they_come_from(here, capsys):
    assert main(["eval", "runs/small@5", "--evals", "knn", "--weights", "params"]) == 0
    record = json.loads((here / "runs/small/evals/knn@5-params.json").read_text())
    assert record["weights"] == "params"
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["evaluation", "figure", "value"], ["knn", "top1", f"{record['figures']['top1']:.4g}"]]


def test_eval_reads_a_run_with_changes_that_leave_its_parameters_alone(here, capsys):
    change = "objective.encoder.pos=jaxemb.posemb.rescale:Interpolated(of=jaxemb.posemb.sincos:SinCos(axes=2), factor=3.0)"
    assert main(["eval", "runs/small", "--evals", "knn", "--set", change]) == 0
    (file,) = (here / "runs/small/evals").glob("knn@10-????????.json")
    record = json.loads(file.read_text())
    assert record["changes"] == [change] and "knn" in capsys.readouterr().out
    said = refused(capsys, "eval", "runs/small", "--set", "objective.encoder.depth=2")
    assert "other parameters than the run" in said and "encoder/block_1/" in said


def test_encode_writes_a_row_an_image_and_their_names(here, tmp_path, capsys, caplog):
    rng = np.random.default_rng(0)
    for name in ("b.png", "a/z.png", "c.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(file)
    (tmp_path / "photos" / "broken.png").write_text("no image")
    out = tmp_path / "deep" / "out.npy"
    assert main(["encode", "runs/small", str(tmp_path / "photos"), str(out), "--batch", "2"]) == 0
    said = capsys.readouterr().out
    assert f"{out}: 3 embeddings of 16 numbers" in said and "out.txt: the files, a line a row" in said
    names = (tmp_path / "deep" / "out.txt").read_text().splitlines()
    assert names == [str(tmp_path / "photos" / n) for n in ("a/z.png", "b.png", "c.png")]
    assert "broken.png" in caplog.text
    z = np.load(out)
    assert z.shape == (3, 16) and z.dtype == np.float32

    assert main(["encode", "runs/small", names[1], str(tmp_path / "one.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "one.npy"), z[1:2], atol=1e-5)

    np.savez(tmp_path / "images.npz", images=np.stack([np.asarray(Image.open(n))[..., None] for n in names]))
    assert main(["encode", "runs/small@10", str(tmp_path / "images.npz"), str(tmp_path / "rows.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), z, atol=1e-5)
    assert not (tmp_path / "rows.txt").exists()  # rows of an array have no names


def test_what_encode_refuses(here, tmp_path, capsys):
    assert "OUT must be the name of an .npy file, not 'out.npz'" in refused(capsys, "encode", "runs/small", "x", "out.npz")
    assert "there is no file or folder nowhere" in refused(capsys, "encode", "runs/small", "nowhere", str(tmp_path / "out.npy"))
    assert "runs/smal does not exist; runs here: runs/small" in refused(
        capsys, "encode", "runs/smal", "x", str(tmp_path / "out.npy")
    )
    np.save(tmp_path / "images.npy", np.zeros((2, 8, 8, 1), np.uint8))
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.npy").mkdir()
    for out in ("file/out.npy", "folder.npy"):
        assert f"{out} cannot be written: " in refused(
            capsys, "encode", "runs/small", str(tmp_path / "images.npy"), str(tmp_path / out)
        )
    assert "batch_size must be at least 1, not 0" in refused(
        capsys, "encode", "runs/small", str(tmp_path / "images.npy"), str(tmp_path / "out.npy"), "--batch", "0"
    )


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
        monkeypatch.setattr("jaxemb.train.summary._flops", lambda *args: 2.5e9)
    assert main(["show", str(file)]) == 0
    said = capsys.readouterr().out
    if isinstance(shown := find(str(file)), Recipe):  # nothing is trained
        assert shown.name in said and "optimiser" not in said
        return
    assert all_parameters(said) == count_parameters(shown) > 10_000
    assert "optimiser" in said and "one embedding: " in said


# ---- compare, plot ---------------------------------------------------------------------------------------------------------------


def test_compare_sets_seeds_side_by_side(here, other, tmp_path, capsys):
    assert main(["compare", "runs/small", str(other), "--csv", str(tmp_path / "out.csv")]) == 0
    said = capsys.readouterr().out
    assert "small, untrained (n=2)" in said and "small, step 10 (n=2)" in said and "out.csv: every step" in said
    value = f"{Run('runs/small').figures(10)['knn/top1']:.4g} ± 0"
    assert any(line.startswith("knn/top1") and line.endswith(value) for line in said.splitlines())
    with open(tmp_path / "out.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert {row["step"] for row in rows} == {"0", "10"} and {row["seeds"] for row in rows} == {"0 1"}


def test_compare_the_figures_that_are_asked_for(here, capsys):
    assert main(["compare", "runs/small", "--y", "loss"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["figure", "loss"]
    assert main(["compare", "runs/small", "--y", "loss", "--markdown"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["| experiment | loss |", "| --- | --- |"]
    assert "no run has the figure 'knn/top'; did you mean 'knn/top1'?" in refused(capsys, "compare", "runs/small", "--y", "knn/top")


def test_plot_draws_curves_into_the_run_or_where_it_is_told(here, other, tmp_path, capsys):
    assert main(["plot", "runs/small"]) == 0
    assert capsys.readouterr().out == "runs/small/curves.png\n"
    out = tmp_path / "loss.png"
    assert main(["plot", "runs/small", str(other), "--y", "loss", "--x", "seconds", "--out", str(out)]) == 0
    for file, panels in ((here / "runs/small/curves.png", 2), (out, 1)):  # knn/top1 and loss; loss
        with Image.open(file) as image:
            assert image.size == (round(panels * 4.6 * 160), round(3.4 * 160))


def test_plot_draws_feature_maps(here, capsys):
    assert main(["plot", "runs/small@5", "--features", "--images", "2"]) == 0
    assert capsys.readouterr().out == "runs/small/features.png\n"
    with Image.open("runs/small/features.png") as image:
        assert image.size[0] == 2 * 1.5 * 160


def test_plot_draws_attention_maps(here, capsys):
    assert main(["plot", "runs/small@5", "--attention", "--images", "2"]) == 0
    assert capsys.readouterr().out == "runs/small/attention.png\n"
    with Image.open("runs/small/attention.png") as image:
        assert image.size[0] == 2 * 1.5 * 160


def test_compare_picks_a_setting_without_labels(here, other, capsys):
    runs = ["compare", "runs/small", str(other)]
    refusal = "--pick and --oracle go together: the figure to choose by, and the one to judge the choice by"
    assert refusal in refused(capsys, *runs, "--pick", "knn/top1")
    assert "a pick needs runs of two settings or more" in refused(capsys, *runs[:2], "--pick", "loss", "--oracle", "knn/top1")


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


# ---- processes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_examples(capsys, verb):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0 and "examples:" in said and said.count(f"  jaxemb {verb} ") >= 2


def test_help_in_a_process_shows_every_verb_and_needs_no_jax():
    code = "import sys; sys.argv[0] = 'jaxemb'; from jaxemb.cli import main\ntry: main()\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said, _, modules = done.stdout.rpartition("[")
    assert all(f"  jaxemb {verb} " in said and f"    {verb} " in said for verb in VERBS)
    assert not {"'jax'", "'flax'", "'orbax'", "'matplotlib'", "'PIL'", "'numpy'"} & set(modules.rstrip("]\n").split(", "))


RESTARTING = "restarting with huge pages for the CPU (JAXEMB_HUGE_PAGES=0 switches this off)\n"


def test_an_error_in_a_process_has_status_2(tmp_path):
    """By the module's name, and with the restart for huge pages where this machine has them."""
    done = subprocess.run(
        [sys.executable, "-m", "jaxemb", "train", "x.py"], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr.removeprefix(RESTARTING)
        == "error: there is no experiment file 'x.py' (run from the repository root, which holds experiments/)\n"
    )


@pytest.fixture
def restarted(monkeypatch):
    """restarted(huge_pages=True): the environment of the process that would take this one's place on Linux with glibc, or None."""
    monkeypatch.setattr(os, "environ", dict(os.environ))  # so that nothing it sets outlives the test
    for name in ("GLIBC_TUNABLES", "JAXEMB_RESTARTED", "JAXEMB_HUGE_PAGES", "OPENBLAS_THREAD_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("jaxemb.cli.process.has_glibc", lambda: True)
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-X", "utf8", "-m", "jaxemb", "train", "x.py"])

    def restart(**options):
        seen = []
        monkeypatch.setattr(os, "execve", lambda file, command, env: seen.append((file, command, env)))
        restart_with_huge_pages(argparse.Namespace(**options))
        if not seen:
            return None
        ((file, command, env),) = seen
        assert file == sys.executable and command == [sys.executable, "-X", "utf8", "-m", "jaxemb", "train", "x.py"]
        return env

    return restart


def test_a_process_on_the_cpu_starts_itself_once_more_with_huge_pages(restarted, monkeypatch):
    env = restarted(huge_pages=True)
    assert env["GLIBC_TUNABLES"] == HUGE_PAGES and env["PATH"] == os.environ["PATH"]
    for name in ("GLIBC_TUNABLES", "JAXEMB_RESTARTED"):  # the new process does not do it again, even if one of them is lost
        monkeypatch.setenv(name, env[name])
        assert restarted(huge_pages=True) is None
        monkeypatch.delenv(name)


def test_huge_pages_are_the_choice_of_the_machines_owner(restarted, monkeypatch, capsys):
    from jaxemb.cli.parser import parser

    verbs = {"train": ["x.py"], "eval": ["x"], "doctor": ["x"], "plot": ["x"], "encode": ["a", "b", "c"], "show": ["x"]}
    verbs = {verb: vars(parser().parse_args([verb, *rest])) for verb, rest in verbs.items()}
    for choice, those in ((None, ["train"]), ("0", []), ("1", ["train", "eval", "doctor", "plot", "encode"]), ("x", ["train"])):
        if choice is not None:
            monkeypatch.setenv("JAXEMB_HUGE_PAGES", choice)
        assert [verb for verb, options in verbs.items() if restarted(**options)] == those
        assert capsys.readouterr().err == RESTARTING * len(those)


def test_the_user_and_the_machine_can_do_without(restarted, monkeypatch):
    assert restarted(huge_pages=False) is None and restarted() is None  # another verb than train; one that computes nothing
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert restarted(huge_pages=True) is None
    with monkeypatch.context() as patch:
        patch.setattr("jaxemb.cli.process.has_glibc", lambda: False)
        assert restarted(huge_pages=True) is None
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert restarted(huge_pages=True) is None


def test_threads_of_the_linear_algebra_sleep_between_calls_unless_somebody_says_otherwise(restarted, monkeypatch):
    assert restarted(huge_pages=True)["OPENBLAS_THREAD_TIMEOUT"] == "4"
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "26")
    assert restarted(huge_pages=True)["OPENBLAS_THREAD_TIMEOUT"] == "26"


def test_other_settings_of_glibc_are_kept(restarted, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.rtld.nns=3")
    assert restarted(huge_pages=True)["GLIBC_TUNABLES"] == f"glibc.rtld.nns=3:{HUGE_PAGES}"
    theirs = "glibc.malloc.trim_threshold=1"  # what somebody has set counts more than ours of that name
    monkeypatch.setenv("GLIBC_TUNABLES", theirs)
    found = restarted(huge_pages=True)["GLIBC_TUNABLES"].split(":")
    assert found == [theirs, *(s for s in HUGE_PAGES.split(":") if not s.startswith("glibc.malloc.trim_threshold="))]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")  # somebody's own choice
    assert restarted(huge_pages=True) is None


def test_only_the_real_command_line_restarts(here, monkeypatch):
    seen = []
    monkeypatch.setattr("jaxemb.cli.restart_with_huge_pages", lambda args: seen.append(args.experiment))
    monkeypatch.setattr("jaxemb.cli.verbs.train", lambda args: None)
    assert main(["train", "a.py"]) == 0 and seen == []
    monkeypatch.setattr(sys, "argv", ["jaxemb", "train", "b.py"])
    assert main() == 0 and seen == ["b.py"]


def test_where_jax_will_run_is_told_without_importing_it(monkeypatch):
    present = set()
    monkeypatch.setattr("jaxemb.cli.process.importlib.util.find_spec", lambda name: name in present or None)
    monkeypatch.delenv("JAX_PLATFORMS")
    assert on_cpu()
    for plugin in ("jax_plugins", "libtpu"):
        present = {plugin}
        assert not on_cpu()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # the user's word counts more than what is installed
    assert on_cpu()
    for named in ("cuda", "tpu,cpu", "cuda,cpu"):
        monkeypatch.setenv("JAX_PLATFORMS", named)
        assert not on_cpu()


def test_huge_pages_are_noted_where_they_are_in_use(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", f"a=1:{HUGE_PAGES}")
    assert huge_pages_note("cpu") == ", huge pages" and huge_pages_note("gpu") == ""
    monkeypatch.delenv("GLIBC_TUNABLES")
    assert huge_pages_note("cpu") == ""


def test_simulated_devices_replace_the_number_in_the_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_dump_to=x")
    monkeypatch.setenv("JAX_PLATFORMS", "")
    choose_devices(argparse.Namespace(devices=8))
    assert os.environ["XLA_FLAGS"].split() == ["--xla_dump_to=x", "--xla_force_host_platform_device_count=8"]
    assert os.environ["JAX_PLATFORMS"] == "cpu" and len(jax.devices()) == 8


def test_processes_join_at_an_address(monkeypatch):
    seen = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **options: seen.append((args, options)))
    choose_devices(argparse.Namespace(distributed="10.0.0.1:1234,4,3"))
    choose_devices(argparse.Namespace(distributed="auto"))
    assert seen == [(("10.0.0.1:1234",), {"num_processes": 4, "process_id": 3}), ((), {})]
