"""scripts/gpu_check.sh: its commands are understood, no part that fails stops the others, and it needs no grain."""

import csv
import os
import pathlib
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]
PARTS = ["parity32", "parity16", "steps", "tract", "vit", "encode", "search"]
BLOCKER = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("grain", "tensorflow_datasets", "beartype"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""
STAND_IN = """#!/bin/sh
echo "$JAX_DEFAULT_MATMUL_PRECISION,$XLA_PYTHON_CLIENT_PREALLOCATE: $*"
case $* in
*bench_steps.py*masked*) exit 3 ;;
*bench.py*) exec sleep 30 ;;
esac
"""


def check(*words, status=0, **env):
    command = ["sh", str(ROOT / "scripts/gpu_check.sh"), *words]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=1900)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("size", [[], ["--tiny"]], ids=str)
def test_the_commands_are_understood_by_the_scripts(size, script, tmp_path):
    dry = check("--dry-run", *size, str(tmp_path / "a b")).stdout
    runs = [words for line in dry.splitlines() if ".py" in (words := shlex.split(line))[-1] or any(".py" in w for w in words)]
    names = [pathlib.Path(next(w for w in words if w.endswith(".py"))).stem for words in runs]
    assert names == 2 * ["check_backends"] + 4 * ["bench_steps"] + ["bench", "bench_encode", "search_at_scale"]
    assert ["JAX_DEFAULT_MATMUL_PRECISION=highest" in words for words in runs] == 2 * [True] + 7 * [False]
    for words in runs[2:]:
        file = next(w for w in words if w.endswith(".py"))
        module = script(pathlib.Path(file).stem)
        args = module.parse(words[words.index(file) + 1 :])
        if module.__name__ == "bench_steps":
            groups = module.chosen(args)
            assert groups and all(list(g.systems) in (["Classify", "IJEPA", "DMTJEPA"], ["plain", "TrAct"]) for g in groups)
    assert not (tmp_path / "a b").exists()


def test_a_part_that_fails_or_takes_too_long_does_not_stop_the_others(tmp_path):
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    done = check(str(tmp_path / "out"), status=1, PYTHON=str(tmp_path / "python"), BUDGET="6", WHEELS=str(tmp_path / "none"))
    found = {row["part"]: row["result"] for row in rows(tmp_path / "out/summary.csv")}
    assert list(found) == PARTS and found["parity32"] == "pass" and found["steps"] == "FAIL (3)"
    assert found["vit"].startswith("out of time") and found["encode"] == "no time left"
    done = check("--parts", "steps,parity16,tract", str(tmp_path / "out"), status=1, PYTHON=str(tmp_path / "python"))
    found = {row["part"]: row["result"] for row in rows(tmp_path / "out/summary.csv")}
    assert found == {"steps": "FAIL (3)", "parity16": "pass", "tract": "pass"}
    assert "==== steps: FAIL (3)" in done.stdout and "s are left" in done.stdout and "paper_sgd" in done.stdout
    log = (tmp_path / "out/log.txt").read_text()
    assert "highest,false: " in log and "\n,false: " in log
    done = check("--parts", "parity16", str(tmp_path / "out"), PYTHON=str(tmp_path / "python"))


def test_wheels_that_were_carried_are_installed(tmp_path):
    (tmp_path / "a.whl").write_text("")
    dry = check("--dry-run", "--parts", "parity16", WHEELS=str(tmp_path)).stdout
    assert f"pip install --quiet --no-index --no-deps --no-compile --target /tmp/gpu_check/site {tmp_path}/a.whl" in dry


@pytest.mark.parametrize(
    "words, said",
    [(["--parts", "vit,speed"], "unknown part: speed; there are"), (["--large"], "unknown option"), (["--parts"], "needs names")],
)
def test_what_is_not_there_is_refused(words, said):
    assert said in check(*words, status=2).stderr


def run_without_grain(tmp_path, *words):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    env = {"PYTHONPATH": str(tmp_path), "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu", "WHEELS": str(tmp_path)}
    env |= {"XLA_FLAGS": "", "JAXEMB_HUGE_PAGES": "0"}
    return check("--tiny", *words, str(tmp_path / "out"), **env)


def test_a_part_runs_without_what_such_a_machine_lacks(tmp_path):
    run_without_grain(tmp_path, "--parts", "encode")
    assert float(rows(tmp_path / "out/encode.csv")[0]["tokens_s"]) > 0


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu(tmp_path):
    """A minute and a half of CPU time."""
    run_without_grain(tmp_path)
    assert [row["result"] for row in rows(tmp_path / "out/summary.csv")] == 6 * ["pass"]
    assert all(rows(tmp_path / f"out/{part}.csv") for part in PARTS)
    assert {row["system"] for row in rows(tmp_path / "out/steps.csv")} == {"Classify", "IJEPA", "DMTJEPA"}
