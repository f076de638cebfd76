"""What a run leaves behind: figures at the steps they belong to, checkpoints where they are due."""

import json

import pytest

from jaxemb.run.folder import Run
from jaxemb.train import loop
from jaxemb.train.loop import train


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    experiment = tiny(
        "steps=10", "evals.knn.every=3", "evals.knn.split=valid", "save_every=100", "best=knn/top1", "keep=1", "log_every=4"
    )
    return Run(folder), train(experiment, folder), experiment


def test_evaluations_come_before_the_first_update_regularly_and_at_the_end(run, read_rows):
    rows = read_rows(run[0].path)
    assert [r["step"] for r in rows if "knn/top1" in r] == [0, 3, 6, 9, 10]
    assert [r["step"] for r in rows if "loss" in r] == [1, 4, 8, 10]
    assert {"loss", "lr", "grad_norm", "target_std"} <= set(rows[1])


def test_the_figures_of_the_last_step_are_returned(run):
    folder, figures, _ = run
    assert {"knn/top1", "loss", "examples_per_second"} <= set(figures) and figures == folder.figures(10)


def test_the_best_checkpoint_stays_beside_the_newest(run, read_rows):
    folder, _, _ = run
    judged = {r["step"]: r["knn/top1"] for r in read_rows(folder.path) if r["step"] and "knn/top1" in r}
    best = max(judged, key=lambda step: (judged[step], step))
    assert folder.checkpoints().sealed() == sorted({best, 10})


def test_the_folder_says_what_was_trained_and_with_what(run):
    folder, _, experiment = run
    assert folder.experiment() == experiment
    assert json.loads((folder.path / "env.json").read_text())["versions"]["jax"]
    log = (folder.path / "log.txt").read_text()
    assert "compiling the train step ..." in log and "step 10/10" in log and "knn/top1" in log


def test_lines_on_the_screen(tiny, tmp_path, capsys):
    train(tiny("steps=10", "evals={}"), tmp_path / "run")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "compiling the train step ..." and said[1].startswith("compiling the train step: ")
    assert said[2].startswith("step  1/10") and "images/s" in said[3]


def test_the_average_is_what_is_judged(tiny, tmp_path, read_state):
    """With momentum 1 it stays where it began, so do the figures."""
    figures = train(tiny("steps=10", "ema=[1.0, 1.0]", "optim.lr=0.1"), tmp_path / "run")
    start = Run(tmp_path / "run").figures(0)
    assert figures["knn/top1"] == start["knn/top1"]
    state = read_state(tiny("steps=10", "ema=[1.0, 1.0]", "optim.lr=0.1"), tmp_path / "run")
    kernel = lambda tree: tree["encoder"]["stem"]["proj"]["kernel"]  # noqa: E731
    assert abs(kernel(state.params) - kernel(state.ema)).max() > 0.05


def test_what_was_compiled_serves_other_seeds(tiny, tmp_path, monkeypatch, read_rows):
    """Of a run that differs in its seed alone nothing is traced anew."""
    train(tiny("steps=10", "evals={}"), tmp_path / "one")
    monkeypatch.setattr(loop, "make_step", None)
    monkeypatch.setattr("jaxemb.train.setup.create", None)
    train(tiny("steps=10", "evals={}", "seed=1"), tmp_path / "two")
    one, two = ([row["loss"] for row in read_rows(tmp_path / name)] for name in ("one", "two"))
    assert len(one) == len(two) == 10 and one[0] != two[0]


def test_callbacks_see_every_evaluation_and_whole_checkpoints(tiny, tmp_path):
    """What is saved is sealed when it is told; a resumed run tells the rest alone."""
    folder, judged, saved = Run(tmp_path / "run"), [], []

    def on_save(step, path):
        assert step in folder.checkpoints().sealed() and path.is_dir() and path.parent.parent == folder.path
        saved.append(step)

    calls = {"on_eval": lambda step, figures: judged.append((step, figures["knn/top1"])), "on_save": on_save}
    train(tiny("steps=10", "evals.knn.every=5", "save_every=8"), folder.path, **calls)
    assert judged == [(step, folder.figures(step)["knn/top1"]) for step in (0, 5, 10)] and saved == [8, 10]
    train(tiny("steps=20", "evals.knn.every=5", "save_every=8"), folder.path, **calls)
    assert [step for step, _ in judged] == [0, 5, 10, 15, 20] and saved == [8, 10, 16, 20]


def test_an_error_in_a_callback_ends_the_training(tiny, tmp_path):
    def stop(step, figures):
        raise ValueError(f"enough at {step}")

    with pytest.raises(ValueError, match="enough at 0"):
        train(tiny("steps=10", "evals.knn.every=5"), tmp_path / "run", on_eval=stop)
