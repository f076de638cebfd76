"""Where the time of a run went, and a trace of some of its steps."""

import gzip
import json
import re
import time

import jax
import pytest

from jaxemb.config import ConfigError
from jaxemb.run.folder import Run
from jaxemb.train import report
from jaxemb.train.compilations import Recompiled
from jaxemb.train.feed import Feed
from jaxemb.train.judge import Judge
from jaxemb.train.loop import train


@pytest.fixture(scope="module")
def traced(tiny, tmp_path_factory):
    """Twelve steps, of which the trace holds 5 to 8; with the seconds until the accounts were written, after which files close."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    experiment = tiny("steps=12", "evals.knn.every=6", "save_every=6", "log_every=4")
    began = time.time()
    train(experiment, folder, profile=(4, 8))
    return folder, (folder / "env.json").stat().st_mtime - began


def spent(folder):
    return json.loads((folder / "env.json").read_text())["spent"]


def test_the_accounts_sum_to_the_wall_time(traced):
    folder, wall = traced
    found = spent(folder)
    assert found["steps"] == [0, 12] and found["recompiled"] == []
    assert sum(found["seconds"].values()) == pytest.approx(wall, rel=0.01)
    assert all(found["seconds"][name] > 0 for name in ("device", "host", "evaluation", "saving", "compiling", "profiling", "rest"))


def test_the_table_is_in_the_log_and_not_among_the_figures(traced):
    folder, _ = traced
    log = (folder / "log.txt").read_text()
    assert "time        seconds  share\n" in log and "waiting for the step\n" in log
    names = {name for row in Run(folder).metrics() for name in row}
    assert not names & {"device", "input", "spent"}


def test_the_trace_holds_the_steps_asked_for_and_what_happened_between_them(traced):
    folder, _ = traced
    events = json.loads(gzip.decompress((folder / "profile" / "steps_4_8_process_0.json.gz").read_bytes()))["traceEvents"]
    steps = [e["args"]["step_num"] for e in events if e.get("name") == "train"]
    assert sorted(map(int, steps)) == [5, 6, 7, 8]
    assert {"device", "evaluation", "saving", "read a batch", "prepare a batch"} <= {e.get("name") for e in events}
    (xplane,) = (folder / "profile" / "plugins" / "profile" / "steps_4_8").iterdir()
    assert xplane.name == "process_0.xplane.pb" and xplane.stat().st_size > 1000
    assert f"open {folder}/profile/steps_4_8_process_0.json.gz at https://ui.perfetto.dev" in (folder / "log.txt").read_text()


def test_a_range_beyond_the_run_is_refused(tiny, traced):
    folder, _ = traced
    experiment = tiny("steps=14", "evals.knn.every=6", "save_every=6", "log_every=4")
    with pytest.raises(ConfigError, match="profile=4:15 is beyond the run, which has 14 steps"):
        train(experiment, folder, profile=(4, 15))


def test_the_same_command_goes_on_after_its_trace(tiny, traced):
    folder, _ = traced
    before = sorted((folder / "profile").rglob("*"))
    experiment = tiny("steps=12", "evals.knn.every=6", "save_every=6", "log_every=4")
    for profile in ((4, 8), (11, 12)):  # passed, begun; nothing is left to do
        train(experiment, folder, profile=profile)
    log = (folder / "log.txt").read_text()
    assert "no trace: the run goes on from step 12, and profile=4:8 began before it" in log and "profile=11:12 began" in log
    assert sorted((folder / "profile").rglob("*")) == before


def test_a_run_that_is_stopped_writes_what_it_traced(tiny, tmp_path):
    def stop(step, figures):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        train(tiny("steps=12", "evals.knn.every=1"), tmp_path / "run", profile=(0, 4), on_eval=lambda i, f: i and stop(i, f))
    assert (tmp_path / "run" / "profile" / "steps_0_1_process_0.json.gz").exists()  # by what is in it


def test_a_run_that_waits_for_batches_says_so_and_what_to_try(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxemb.train.spent.WINDOW", 4)
    monkeypatch.setattr("jaxemb.train.spent.SHORTEST", 0.1)
    prepare = Feed._prepare
    monkeypatch.setattr(Feed, "_prepare", lambda self, *a: (time.sleep(0.1), prepare(self, *a))[1])
    train(tiny("steps=12", "evals={}"), tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("input-bound") == 2  # once on the way, once at the end
    assert (
        re.search(r"step \d+  input-bound: ", log)
        and "of the time of the steps is waiting for batches. Try: raise data.workers (now 0), " in log
    )
    assert spent(tmp_path / "run")["seconds"]["input"] > 0.3


def test_time_in_which_a_step_runs_while_a_batch_is_late_is_that_of_the_device(monkeypatch):
    """The input counts from when the step is done."""

    class Loss:
        looks = 0

        def is_ready(self):
            self.looks += 1
            return self.looks > 3

    accounts, waits = [], []

    class Accounts:
        def on(self, account):
            accounts.append(account)
            return jax.numpy_dtype_promotion("strict")  # any context

    def arrives(seconds):
        waits.append(seconds)
        return len(waits) == 6

    r = report.Report.__new__(report.Report)
    r._spent, r._late = Accounts(), (1, {"loss": Loss()})
    r.wait(arrives)
    assert accounts == ["device", "input"] and waits == [0.0, *[report.POLL] * 3, 1.0, 1.0]


def test_an_evaluation_that_compiles_each_time_fails_here(tiny, tmp_path, monkeypatch):
    """The planted fault: nothing is remembered. In the wild it is told."""
    call = Judge.__call__
    monkeypatch.setattr(Judge, "__call__", lambda self, *a: (jax.jit(lambda x: x + 1)(1.0), call(self, *a))[1])
    experiment = tiny("steps=12", "evals.knn.every=6")
    with pytest.raises(Recompiled, match=r"compiled after the warm-up: jit\(<lambda>\)"):
        train(experiment, tmp_path / "run")
    monkeypatch.delenv("JAXEMB_RECOMPILATION")
    train(experiment, tmp_path / "again")
    log = (tmp_path / "again" / "log.txt").read_text()
    assert log.count("evaluation: compiled 1 function again: jit(<lambda>), took ") == 2
    assert [c["name"] for c in spent(tmp_path / "again")["recompiled"]] == ["jit(<lambda>)"] * 2
