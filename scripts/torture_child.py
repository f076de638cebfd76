"""A training process of `torture.py`: the command `jaxemb train` in a fork of a process that has imported JAX and not started it.

What it says and what it does goes line by line into one pipe; lines of events begin with MARK:

    step I              update I was started            saving I DIGEST     the state of step I goes to the disk
    restored I DIGEST   the state that it begins with   ends STATUS         the exit status of the command

DIGEST is blake2b of the whole state (parameters, average, optimiser, random key, step) and of the place in the data.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

MARK = "@@"
PATIENCE = 300.0
"""Seconds without a word after which a process hangs; machines may be busy."""

EXPERIMENT = """
from jaxemb.data.digits import Digits
from jaxemb.evals.knn import KNN
from jaxemb.experiment import Experiment
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.train.optim import Optim

block = Block(Attention(2), FeedForward(dropout=0.1))  # dropout: the random key of the state counts
main = Experiment(
    name="tortured",
    objective=Classify(encoder=Transformer(stem=Patches(4), width=16, depth=1, blocks=(block,))),
    data=Digits(),
    optim=Optim(lr=1e-3, clip=1.0),
    ema=(0.9, 1.0),
    steps=%(steps)d,
    batch=16,
    evals={"knn": KNN(k=5, every=%(steps)d // 2, train=100, test=50)},
    save_every=%(save_every)d,
    keep=2,
    log_every=1,
    mesh={"data": %(devices)d},
)
"""


class Violation(Exception):
    """Something that must not be."""


def preload() -> None:
    """Imports what a training needs, so that a fork starts at once. Devices are not touched: their threads would not live on."""
    import jaxemb.cli.verbs  # noqa: F401
    import jaxemb.data.digits
    import jaxemb.evals.knn
    import jaxemb.objectives.classify
    import jaxemb.train.loop  # noqa: F401

    jaxemb.data.digits.Digits().examples("train")


def start(arguments: list[str]) -> tuple[int, int]:
    """Forks `jaxemb ARGUMENTS`; its process id and the end of the pipe to read from."""
    out, into = os.pipe()
    sys.stdout.flush()
    if pid := os.fork():
        os.close(into)
        os.set_blocking(out, False)
        return pid, out
    try:
        os.close(out)
        _train(arguments, into)
    finally:
        os._exit(99)


def _train(arguments: list[str], into: int) -> NoReturn:
    os.setsid()  # Ctrl-C is for the parent
    for stream in (1, 2):
        os.dup2(into, stream)
    sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)
    watch()
    from jaxemb.cli import main

    try:
        status = main(arguments)
    except SystemExit as e:
        status = e.code
    except BaseException:
        traceback.print_exc()
        status = 1
    tell("ends", status)
    os._exit(status if isinstance(status, int) else 1)


def tell(*words: object) -> None:
    os.write(1, f"\n{MARK} {' '.join(map(str, words))}\n".encode())


def watch() -> None:
    """Events of the loop, told to the parent."""
    import jaxemb.train.loop as loop
    from jaxemb.run.checkpoint import Checkpoints
    from jaxemb.train.report import Report
    from jaxemb.train.state import items_of

    find, save, report = loop.find_start, Checkpoints.save, Report.step

    def watched_find(*arguments: Any) -> Any:
        found = find(*arguments)
        tell("restored", found.step, digest(items_of(found.state), found.place if found.resumed else None))
        return found

    def watched_save(self: Checkpoints, step: int, items: Any, meta: Any, figures: Any = None) -> None:
        tell("saving", step, digest(items, meta["data"]))
        save(self, step, items, meta, figures)

    def watched_step(self: Report, step: int, metrics: Any) -> None:
        tell("step", step)
        report(self, step, metrics)

    loop.find_start, Checkpoints.save, Report.step = watched_find, watched_save, watched_step
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def digest(items: Any, place: Any) -> str:
    import jax
    import numpy as np

    new = hashlib.blake2b(json.dumps(place, sort_keys=True).encode(), digest_size=12)
    for path, leaf in jax.tree_util.tree_leaves_with_path(items):
        leaf = jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        array = np.asarray(leaf.addressable_data(0))  # replicated, where there are several devices
        new.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode() + array.tobytes())
    return new.hexdigest()


def experiment_file(folder: Path, **sizes: int) -> Path:
    file = folder / "tortured.py"
    file.write_text(EXPERIMENT % sizes)
    return file


# ---- a process under observation -------------------------------------------------------------------------------------------------


class Process:
    """`jaxemb train` in a fork: what it has said, and its events so far."""

    def __init__(self, arguments: list[str]):
        self.pid, self._out = start(arguments)
        self.said, self.step, self.status = "", 0, None
        self.restored: tuple[int, str] | None = None
        self.saved: dict[int, str] = {}
        self._heard = time.monotonic()
        self._line = ""

    def listen(self, seconds: float = 0.001) -> bool:
        """Takes in what has been said, waiting a moment for it; False once the process is gone."""
        if self.status is not None:
            return False
        select.select([self._out], [], [], seconds)
        try:
            while data := os.read(self._out, 65536):
                self._line += data.decode(errors="replace")
                self._heard = time.monotonic()
        except BlockingIOError:
            pass
        *lines, self._line = self._line.split("\n")
        for line in lines:
            self._take(line)
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            os.close(self._out)
            self.status = os.waitstatus_to_exitcode(status)
        elif time.monotonic() - self._heard > PATIENCE:
            self.kill()
            raise Violation(f"hangs: nothing for {PATIENCE:.0f} s")
        return self.status is None

    def _take(self, line: str) -> None:
        if not line.startswith(MARK):
            self.said += line + "\n" if line.strip() else ""
            return
        name, *values = line.split()[1:]
        if name == "step":
            self.step = int(values[0])
        elif name == "restored":
            self.restored = int(values[0]), values[1]
            self.step = int(values[0])
        elif name == "saving":
            self.saved[int(values[0])] = values[1]

    def signal(self, number: int) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and the last words."""
        self.signal(signal.SIGKILL)
        while self.status is None:
            self.listen(0.01)

    def last_words(self) -> str:
        """The line that says why it ended, or the last ones."""
        lines = self.said.strip().splitlines()
        return next((x for x in reversed(lines) if x.startswith("error: ")), " / ".join(lines[-3:]))[:300]

    def wait(self) -> int:
        while self.listen(0.02):
            pass
        return self.status or 0
