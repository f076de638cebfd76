"""Kills and damages a training run in every way at hand, starts it again, and compares it with one that was left alone.

    python scripts/torture.py --kills 200 --seed 0 --csv results/torture.csv

A tiny experiment saves every second step. Each fault stops it (`kill` at a random moment, `kill in save` after a folder of an
unfinished save appears, `kill in commit` after the step has its name and perhaps no manifest yet, `kill in start` while it starts
or reads; `sigterm twice`, `sigterm in save`; `full disk`: from some moment on no file grows beyond a size), or damages it
while it lies there (a file of the newest checkpoint, each in turn, or its manifest, config.json, metrics.jsonl: one bit flipped,
cut, removed). `kill of two` is one process of two, or both, in a save. Then the same command goes on, and must

- begin with the state (parameters, average, optimiser, random key, place in the data) of the undisturbed run at that step, bit
  for bit, and with no step before the newest complete checkpoint (of two, where the fault was in the newest);
- save what the undisturbed run saved, and end with its metrics.jsonl, no row twice and none missing;
- never hang, and leave on what cannot be mended with one line that says it, never with a traceback.

One line a fault, a table at the end; the exit status is 1 where anything else was seen. Faults and their order come from --seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Before JAX starts, and for all forks: one CPU device each, compiled once.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = re.sub(r"\S*device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import torture_child as child  # noqa: E402
from torture_child import Process, Violation  # noqa: E402

SAVE_EVERY = 2
SPEED = ("steps_per_second", "examples_per_second", "seconds")
KILLS = {"kill": 4, "kill in save": 4, "kill in commit": 3, "kill in start": 1}
"""Kinds of kills, and how often one comes beside the others."""
DAMAGES = ("flipped", "cut", "removed")
SHARES = {"damages": 1, "others": 5, "pairs": 10}
"""Of these there is one for so many kills."""
COLUMNS = ("fault", "kind", "detail", "status", "stopped", "complete", "restored", "lost", "verdict", "seconds")


class Fault(NamedTuple):
    """What happens, and four numbers in [0, 1) that choose when and how."""

    kind: str
    detail: str = ""
    index: int = 0
    draws: tuple[float, ...] = ()


class Reference(NamedTuple):
    """A run that was left alone."""

    digests: dict[int, str]
    rows: list[dict[str, Any]]


def plan(kills: int, damages: int, others: int, pairs: int, seed: int) -> list[Fault]:
    """The faults in their order."""
    rng = random.Random(seed)
    weighted = [kind for i in range(max(KILLS.values())) for kind, times in KILLS.items() if i < times]  # few are of all kinds
    kinds = [(weighted[i % len(weighted)], "", 0) for i in range(kills)]
    kinds += [("file", DAMAGES[i % 3], i // 3) for i in range(damages)]
    several = [("manifest", d) for d in DAMAGES] + [("config.json", d) for d in DAMAGES] + [("metrics.jsonl", d) for d in DAMAGES]
    several += [("full disk", "")] * 3 + [("sigterm twice", ""), ("sigterm in save", "")] * 2
    rng.shuffle(several)
    kinds += [(*several[i % len(several)], 0) for i in range(others)]
    kinds += [("kill of two", ("one", "both")[i % 2], 0) for i in range(pairs)]
    faults = [Fault(*kind, tuple(rng.random() for _ in range(4))) for kind in kinds]
    single = [f for f in faults if f.kind != "kill of two"]
    rng.shuffle(single)
    return single + [f for f in faults if f.kind == "kill of two"]


# ---- a run and its faults --------------------------------------------------------------------------------------------------------


class Torture:
    """One run through all faults. What has come to its end is compared, and a new run folder takes its place."""

    def __init__(self, folder: Path, steps: int, processes: int = 1):
        self._folder, self._steps, self._together, self._count = folder, steps, processes, 0
        self._file = child.experiment_file(folder, steps=steps, save_every=SAVE_EVERY, devices=processes)
        self.run = folder / "run0"
        self.now: list[Process] = []
        """The processes that train, or have trained last."""
        self.ends = 0
        """Runs that came to their end, and were compared."""
        self.reference = self._undisturbed()

    def _undisturbed(self) -> Reference:
        self._start("--set=save_every=1")  # SIGTERM saves at any step
        if any(p.wait() for p in self.now):
            raise SystemExit(f"the undisturbed run failed:\n{self.now[0].said}")
        step, digest = self.now[0].restored or (0, "")
        found = Reference({step: digest, **self.now[0].saved}, self._rows())
        self.config = (self.run / "config.json").read_text()
        self._renew()
        return found

    def _start(self, *more: str) -> None:
        arguments = ["train", str(self._file), "--run", str(self.run), *more]
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            where = f"127.0.0.1:{s.getsockname()[1]},{self._together}"
        several = [["--distributed", f"{where},{i}"] for i in range(self._together)] if self._together > 1 else [[]]
        self.now = [Process([*arguments, *each]) for each in several]

    def _renew(self) -> None:
        for process in self.now:
            process.kill()
        self.now = []
        shutil.rmtree(self.run, ignore_errors=True)
        self._count += 1
        self.run = self._folder / f"run{self._count}"

    def _rows(self) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in row.items() if k not in SPEED} for row in rows]

    def complete(self) -> list[int]:
        """Steps with a manifest, ascending."""
        found = [int(p.name.split(".")[0]) for p in (self.run / "checkpoints").glob("*.manifest.json")]
        return sorted(step for step in found if (self.run / "checkpoints" / str(step)).is_dir())

    # ---- one fault after the other ----

    def __call__(self, fault: Fault) -> dict[str, Any]:
        """The fault, and the same command again until it has read what there is."""
        began = time.monotonic()
        found: dict[str, Any] = {"kind": fault.kind, "detail": fault.detail, "verdict": "fine"}
        try:
            self._stop(fault)
            found |= {"status": self.now[0].status, "stopped": self.now[0].step}
            complete = [0, *self.complete()]
            found["complete"] = newest = complete[-1]
            if fault.kind in ("file", "manifest"):
                found["detail"], newest = self._damage(fault, newest), complete[-2]
            elif fault.kind in ("config.json", "metrics.jsonl"):
                found["detail"] = damage(self.run / fault.kind, fault)
            if fault.kind == "config.json":
                self._refused()
            found["restored"] = step = self._begin(newest)
            found["lost"] = max(0, found["stopped"] - step)
            if fault.kind == "metrics.jsonl":
                self.end(damaged=True)
        except Violation as e:
            found["verdict"] = str(e)
            print("".join(p.said for p in self.now), file=sys.stderr)
            self._renew()
        return found | {"seconds": round(time.monotonic() - began, 1)}

    def _begin(self, at_least: int = 0) -> int:
        """Starts the command; the step that it begins with, whose state is compared."""
        self._start()
        if not self._until(lambda: all(p.restored for p in self.now)):
            raise Violation(f"does not start again: status {self.now[0].status}, {self.now[0].last_words()}")
        for process in self.now:
            step, digest = process.restored or (0, "")
            if digest != self.reference.digests.get(step):
                raise Violation(f"the state of step {step} was restored wrongly")
            if step < at_least:
                raise Violation(f"begins at step {step}, though checkpoint {at_least} was complete")
        return self.now[0].step

    def _until(self, condition: Callable[[], bool]) -> bool:
        """Listens until something holds; False where all processes have ended before."""
        while not condition():
            if not any([p.listen() for p in self.now]):
                return condition()
        return True

    def _stop(self, fault: Fault) -> None:
        """Trains up to the moment of the fault; a run that ends before is compared, and the next one is meant."""
        for _ in range(5):
            if not self.now or self.now[0].status is not None:
                self._begin()
            first = self.now[0].step
            target = first + 1 + int(fault.draws[0] * max(1, self._steps - 2 - first))
            if self._until(lambda target=target: self.now[0].step >= target) and self._hit(fault):
                for process in self.now:
                    self._compare_saved(process)
                return
            self.end()
        raise Violation("the run ended five times before the fault")

    def _hit(self, fault: Fault) -> bool:
        """Stops what trains; False where it had come to its end."""
        if fault.kind == "full disk":
            return self._fill_the_disk(fault)
        if fault.kind.startswith("sigterm"):
            return self._terminate(fault)
        if fault.kind in ("file", "manifest") and not self._until(lambda: len(self.complete()) > 1):
            return False
        before = self._names()
        if fault.kind in ("kill in save", "kill of two"):
            self._until(lambda: any("tmp" in name for name in self._names() - before))
        elif fault.kind == "kill in commit":
            self._until(lambda: any(name.isdigit() for name in self._names() - before))
        if any(p.listen(0) for p in self.now):
            time.sleep(fault.draws[1] * (0.3 if fault.kind == "kill" else 0.03))
        ended = not any([p.listen(0) for p in self.now])
        if fault.kind == "kill of two" and fault.detail == "one":
            self._kill_one(int(fault.draws[2] * 2))
        for process in self.now:
            process.kill()
        if fault.kind == "kill in start":
            reached = self.now[0].step
            self._start()
            time.sleep(fault.draws[1] * 1.5)
            self.now[0].kill()
            self.now[0].step = max(self.now[0].step, reached)
        return not ended

    def _names(self) -> set[str]:
        try:
            return set(os.listdir(self.run / "checkpoints"))
        except FileNotFoundError:
            return set()

    def _kill_one(self, index: int) -> None:
        """The other must see it and leave by itself."""
        self.now[index].kill()
        left = self.now[1 - index]
        began = time.monotonic()
        while left.listen(0.01):
            if time.monotonic() - began > 15:
                raise Violation("the other process is still there after 15 s")
        if left.status == 0 and max(p.step for p in self.now) == self._steps:
            return  # its part of the last step was done before
        if left.status not in (70, -signal.SIGABRT):  # JAX aborts the others where the first process is gone
            raise Violation(f"the other process leaves with status {left.status}: {left.last_words()}")

    def _fill_the_disk(self, fault: Fault) -> bool:
        sizes = [f.stat().st_size for f in self.run.glob("checkpoints/*/**/*") if f.is_file()]
        limit = int(fault.draws[1] ** 2 * max(sizes, default=4096))
        resource.prlimit(self.now[0].pid, resource.RLIMIT_FSIZE, (limit, limit))
        status = self.now[0].wait()
        if status != 0 and (status != 2 or "the same command goes on" not in self.now[0].said.replace("\n", " ")):
            raise Violation(f"a full disk ({limit} bytes a file) ends it with status {status}: {self.now[0].last_words()}")
        return status != 0

    def _terminate(self, fault: Fault) -> bool:
        before = self._names()
        if fault.kind == "sigterm in save":
            self._until(lambda: any("tmp" in name for name in self._names() - before))
        self.now[0].signal(signal.SIGTERM)
        if fault.kind == "sigterm twice":
            time.sleep(fault.draws[1] * 0.05)
            self.now[0].listen(0)
            self.now[0].signal(signal.SIGTERM)
        status = self.now[0].wait()
        if status == 0:
            return False
        if status != 128 + signal.SIGTERM:
            raise Violation(f"SIGTERM ends it with status {status}: {self.now[0].last_words()}")
        if self.now[0].step != self.complete()[-1]:
            raise Violation(f"stopped at step {self.now[0].step}, whose checkpoint is not complete")
        return True

    def _damage(self, fault: Fault, newest: int) -> str:
        folder = self.run / "checkpoints"
        if fault.kind == "manifest":
            return damage(folder / f"{newest}.manifest.json", fault)
        files = sorted(f for f in (folder / str(newest)).rglob("*") if f.is_file())
        file = files[fault.index % len(files)]
        return f"{damage(file, fault)} of {file.parent.relative_to(folder / str(newest))}"

    def _refused(self) -> None:
        """The command with a damaged config.json: one line, or no harm. Then the file is as it was."""
        self._start()
        if not self._until(lambda: bool(self.now[0].restored)):
            said = self.now[0].last_words()
            if self.now[0].status != 2 or "Traceback" in self.now[0].said or str(self.run) not in self.now[0].said:
                raise Violation(f"a damaged config.json ends it with status {self.now[0].status}: {said}")
        self.now[0].kill()
        (self.run / "config.json").write_text(self.config)

    # ---- comparing ----

    def end(self, damaged: bool = False) -> None:
        """Lets the run come to its end and compares all of it with the undisturbed one; then there is a new run folder."""
        if any(p.wait() for p in self.now):
            raise Violation(f"ends with status {self.now[0].status}: {self.now[0].last_words()}")
        for process in self.now:
            self._compare_saved(process)
        if self.complete()[-1:] != [self._steps]:
            raise Violation(f"has ended without a complete checkpoint of step {self._steps}")
        rows, wanted = self._rows(), self.reference.rows
        if (
            damaged and "metrics.jsonl" in self.now[0].said
        ):  # rows may be gone or differ, which was said, but none stands there twice
            if len({json.dumps(r) for r in rows}) < len(rows) or len(rows) > len(wanted):
                raise Violation("rows of metrics.jsonl stand there twice")
        elif rows != wanted:
            missing, more = [r for r in wanted if r not in rows], [r for r in rows if r not in wanted]
            raise Violation(
                f"metrics.jsonl differs: missing {missing[:3]}, not expected {more[:3]}, {len(rows)} of {len(wanted)} rows"
            )
        self.ends += 1
        self._renew()

    def _compare_saved(self, process: Process) -> None:
        for step, digest in process.saved.items():
            if digest != self.reference.digests[step]:
                raise Violation(f"the state of step {step} differs from that of the undisturbed run")


def damage(file: Path, fault: Fault) -> str:
    """One bit flipped, cut somewhere, or removed; what was done."""
    data = bytearray(file.read_bytes())
    place = int(fault.draws[2] * len(data))
    if fault.detail == "flipped" and data:
        data[place] ^= 1 << int(fault.draws[3] * 8)
        file.write_bytes(data)
        return f"bit flipped in byte {place} of {file.name}"
    file.unlink()
    if fault.detail == "removed":
        return f"{file.name} removed"
    file.write_bytes(data[:place])
    return f"{file.name} cut to {place} of {len(data)} bytes"


# ---- all of them -----------------------------------------------------------------------------------------------------------------


def torture(faults: list[Fault], folder: Path, steps: int, report: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    """All faults in their order; a row each."""
    rows: list[dict[str, Any]] = []
    for together in (1, 2):
        mine = [f for f in faults if (f.kind == "kill of two") == (together == 2)]
        if not mine:
            continue
        place = folder / f"of{together}"
        place.mkdir()
        one = Torture(place, steps, together)
        for fault in mine:
            rows.append({"fault": len(rows) + 1} | one(fault))
            report(rows[-1])
        try:
            if one.now:
                one.end()
        except Violation as e:
            rows.append({"fault": len(rows) + 1, "kind": "end", "verdict": str(e)})
            report(rows[-1])
    return rows


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=20, help="kills of one process")
    options.add_argument("--damages", type=int, help="files flipped, cut, removed, in turn (default: as many as kills)")
    options.add_argument("--others", type=int, help="other faults, in turn (default: a fifth of the kills)")
    options.add_argument("--pairs", type=int, help="kills where two processes train together (default: a tenth of the kills)")
    options.add_argument("--steps", type=int, default=16, help="of a run, saved every second")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--csv", type=Path, help="a row a fault is appended here, as it comes")
    args = options.parse_args(argv)
    count = {name: value if (value := getattr(args, name)) is not None else args.kills // part for name, part in SHARES.items()}
    faults = plan(args.kills, **count, seed=args.seed)
    writer = Rows(args.csv, shlex.join(["scripts/torture.py", *(sys.argv[1:] if argv is None else argv)]), args.seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{folder}/cache")
        child.preload()

        def report(row: dict[str, Any]) -> None:
            print(f"{row['fault']:>4}/{len(faults)}  {line(row)}", flush=True)
            writer.add(row)

        rows = torture(faults, Path(folder), args.steps, report)
    print_table(rows)
    return int(any(row["verdict"] != "fine" for row in rows))


class Rows:
    """Appends to a CSV, whose rows say where they come from."""

    def __init__(self, file: Path | None, command: str, seed: int):
        from jaxemb.run.environment import commit

        found = commit()
        self._origin = {"seed": seed, "commit": (found["commit"] or "")[:9] + "+" * bool(found["dirty"]), "command": command}
        self._file = file

    def add(self, row: dict[str, Any]) -> None:
        if self._file is None:
            return
        new = not self._file.exists()
        with open(self._file, "a", newline="") as f:
            writer = csv.DictWriter(f, [*COLUMNS, *self._origin])
            if new:
                writer.writeheader()
            writer.writerow(row | self._origin)


def line(row: dict[str, Any]) -> str:
    """A fault and what came of it."""
    what = f"{row['kind']} {row.get('detail', '')}".strip()
    how = (
        ""
        if "restored" not in row
        else (f"stopped at {row['stopped']} (status {row['status']}), complete {row['complete']}, begins at {row['restored']}")
    )
    return f"{what:<60} {how:<62} {row['verdict']}  {row.get('seconds', 0)} s"


def print_table(rows: list[dict[str, Any]]) -> None:
    """A line a kind of fault."""
    from jaxemb.log.table import table

    found = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        mine = [r for r in rows if r["kind"] == kind]
        lost = [r["lost"] for r in mine if "lost" in r]
        restored = len({r["restored"] for r in mine if "restored" in r})
        bad = sum(r["verdict"] != "fine" for r in mine)
        found.append((kind, len(mine), restored, f"{sum(lost) / max(len(lost), 1):.1f}", max(lost, default=0), bad or "fine"))
    print()
    table(("fault", ">times", ">different steps restored", ">steps lost, mean", ">most", ">violations"), found)


if __name__ == "__main__":
    sys.exit(main())
