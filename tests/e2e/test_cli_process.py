"""Before a verb runs: help, huge pages, devices, the processes of a cluster."""

import argparse
import os
import subprocess
import sys

import jax
import pytest

from jaxemb.cli import main
from jaxemb.cli.process import HUGE_PAGES, choose_devices, huge_pages_note, on_cpu, restart_with_huge_pages

VERBS = ("train", "eval", "encode", "list", "show", "compare", "plot", "doctor")


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
    present = {"jax_plugins"}
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


def test_a_verb_joins_before_jax_starts(monkeypatch):
    seen = []
    monkeypatch.setattr("jaxemb.train.cluster.join", lambda how, say: seen.append(how))
    choose_devices(argparse.Namespace(distributed="10.0.0.1:1234,4,3"))
    choose_devices(argparse.Namespace(distributed="auto"))
    assert seen == ["10.0.0.1:1234,4,3", "auto"]
