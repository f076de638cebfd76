"""Several processes on this machine: what a cluster does, for trying it out without one."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from jaxemb.config import ConfigError

PATIENCE = 30
"""Seconds after the first failure in which the other processes must have left, before they are killed."""


def run_processes(count: int, argv: Sequence[str]) -> int:
    """Runs `jaxemb argv` in so many processes, which meet at a port of this machine, and shows what they say. SIGTERM and Ctrl-C
    are handed to all, a second Ctrl-C kills them; the exit status is that of the first one that failed."""
    if count < 1:
        raise ConfigError(f"--processes must be at least 1, not {count}")
    if any(a.partition("=")[0] == "--distributed" for a in argv):
        raise ConfigError(
            "--processes starts all processes on this machine, --distributed is for one of a cluster: use one of them"
        )
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    command = [sys.executable, "-m", "jaxemb", *without(argv)]
    if not any(a.partition("=")[0] == "--devices" for a in argv):
        command += ["--devices", "1"]
    running = [
        subprocess.Popen(
            [*command, "--distributed", f"{address},{count},{i}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C of the terminal reaches us alone, and they get it as SIGTERM
            text=True,
            errors="replace",
        )
        for i in range(count)
    ]
    shown = [threading.Thread(target=show, args=(i, p)) for i, p in enumerate(running)]
    for thread in shown:
        thread.start()
    before = {s: signal.signal(s, lambda number, frame: stop(running, number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        return wait(running)
    finally:
        for p in running:
            p.kill()
            p.wait()
        for thread in shown:
            thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def without(argv: Sequence[str]) -> list[str]:
    """The arguments without --processes N."""
    pairs = itertools.pairwise(["", *argv])
    return [a for before, a in pairs if before != "--processes" and a.partition("=")[0] != "--processes"]


def show(index: int, process: subprocess.Popen) -> None:
    with process.stdout or contextlib.nullcontext(()) as lines:
        for line in lines:
            sys.stdout.write(f"[{index}] {line}")
            sys.stdout.flush()


def stop(running: Sequence[subprocess.Popen], number: int) -> None:
    """SIGTERM, on which a training saves and leaves; SIGKILL at a second Ctrl-C."""
    for p in running:
        p.send_signal(signal.SIGTERM)
    if number == signal.SIGINT:  # the next one
        signal.signal(signal.SIGINT, lambda *_: [p.kill() for p in running])


def wait(running: Sequence[subprocess.Popen]) -> int:
    """Until all have ended, or `PATIENCE` after the first failure. The status of that one, as a shell would report it."""
    status, until = 0, float("inf")
    while True:
        ends = [p.poll() for p in running]  # all of them are asked
        failed = next(filter(None, ends), 0)
        if failed and not status:
            status, until = failed, time.monotonic() + PATIENCE
        if None not in ends or time.monotonic() > until:
            return 128 - status if status < 0 else status
        time.sleep(0.05)
