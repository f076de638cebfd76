"""Several processes of one machine: what is handed to them, and how their ends become one."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxemb.cli import launch, main
from jaxemb.cli.launch import run_processes, wait, without
from jaxemb.config import ConfigError


@pytest.mark.parametrize("given", [["--processes", "2"], ["--processes=2"]])
def test_the_processes_get_every_other_argument(given):
    assert without(["train", "a.py", *given, "--set", "steps=2"]) == ["train", "a.py", "--set", "steps=2"]


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="--processes must be at least 1, not 0"):
        run_processes(0, ["train"])
    with pytest.raises(ConfigError, match="--distributed is for one of a cluster: use one of them"):
        run_processes(2, ["train", "--distributed=auto"])


def run(code):
    return subprocess.Popen([sys.executable, "-SIc", code])


def test_the_first_failure_is_the_status_and_the_rest_need_not_end(monkeypatch):
    monkeypatch.setattr(launch, "PATIENCE", 0.2)
    sleeping = run("import time; time.sleep(60)")
    assert wait([sleeping, run("raise SystemExit(3)")]) == 3 and sleeping.poll() is None
    sleeping.kill()
    sleeping.wait()
    assert wait([run(""), run("")]) == 0
    assert wait([run("import os; os.kill(os.getpid(), 9)")]) == 137


@pytest.fixture
def echo(monkeypatch):
    """echo(code): processes run `code` in place of jaxemb; sys.argv is what they were given."""
    start = subprocess.Popen

    def instead(code):
        def popen(command, **options):
            return start([sys.executable, "-SIc", code, *command[3:]], **options)

        monkeypatch.setattr(launch.subprocess, "Popen", popen)

    return instead


def test_each_gets_its_number_and_devices_and_says_so(echo, capsys):
    echo("import sys; print(*sys.argv[1:])")
    assert main(["train", "a.py", "--processes", "2"]) == 0
    said = sorted(capsys.readouterr().out.splitlines())
    address = said[0].split()[-1].partition(",")[0]
    assert said == [f"[{i}] train a.py --devices 1 --distributed {address},2,{i}" for i in (0, 1)]
    assert main(["train", "a.py", "--processes", "1", "--devices", "4"]) == 0
    assert "--devices 4 --distributed 127.0.0.1:" in capsys.readouterr().out


def test_a_signal_reaches_all(echo, tmp_path):
    code = "import os, signal, sys, time; signal.signal(15, lambda *_: os._exit(143))"
    echo(f"{code}; open({str(tmp_path / 'ready')!r} + sys.argv[-1][-1], 'w'); time.sleep(60)")

    def interrupt():
        while len(list(tmp_path.glob("ready*"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    assert run_processes(2, ["train"]) == 143 and time.monotonic() - began < 30


def test_a_second_interrupt_kills(echo, tmp_path):
    code = "import signal, time; signal.signal(15, lambda *_: open({!r} + str(time.time_ns()), 'w'))"
    echo(f"{code.format(str(tmp_path / 'asked'))}; open({str(tmp_path / 'ready')!r}, 'w'); [time.sleep(1) for _ in range(60)]")

    def interrupt():
        for file in ("ready", "asked"):  # the second one once the first has been heard
            while not list(tmp_path.glob(f"{file}*")):
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    assert run_processes(1, ["train"]) == 137 and time.monotonic() - began < 30


def test_an_abbreviated_option_is_refused(capsys):
    """Each child would start children of its own."""
    with pytest.raises(SystemExit):
        main(["train", "a.py", "--proc", "2"])
    assert "unrecognized arguments: --proc 2" in capsys.readouterr().err
