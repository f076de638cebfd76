"""One process alone trains in a run folder: a lock on a file system, an object that says who in a bucket, where nothing locks.

The object `claim.json` is written anew every `BEAT` seconds. It is stale, and taken over, when that has not happened for
`STALE` seconds, or when its process has ended on this machine.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from etils import epath

from jaxemb.files import is_local
from jaxemb.run.files import RunError, locked, read_json, write_text

BEAT = 30.0
"""Seconds between two signs of life."""
STALE = 180.0
"""Seconds without one after which a claim is over."""
SETTLE = 1.0
"""Seconds until another process that has seen no claim either has written its own: the last one written counts."""

_held: set[str] = set()
"""The claims of this process."""
log = logging.getLogger("jaxemb")


def claim(folder: epath.Path) -> contextlib.AbstractContextManager[Any]:
    """Holds a folder until the end of the context or of the process; BlockingIOError, at the call, where another one does."""
    return locked(folder / ".lock") if is_local(folder) else Claim(folder / "claim.json")


class Claim:
    """The claim of a bucket's folder."""

    def __init__(self, file: epath.Path, clock: Callable[[], float] = time.time, settle: float | None = None):
        self._file, self._clock, self._name = file, clock, uuid.uuid4().hex
        other = self._other()
        if other and (reason := _alive(other, clock())):
            raise BlockingIOError(reason)
        if other:
            log.warning("%s: taken over from %s, which no longer runs", file.parent, _who(other))
        self.renew()
        time.sleep(SETTLE if settle is None else settle)
        if other := self._other():
            raise BlockingIOError(f"{_who(other)}, which started at the same time")
        _held.add(self._name)
        self._end = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="claim", daemon=True)
        self._beating.start()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._beating.join()
        _held.discard(self._name)
        if not self._other():
            self._file.unlink(missing_ok=True)

    def renew(self) -> None:
        """Says that this process runs."""
        doc = {
            "host": socket.gethostname(),
            "processes": _processes(),
            "pid": os.getpid(),
            "time": self._clock(),
            "name": self._name,
        }
        write_text(self._file, json.dumps(doc) + "\n")

    def _other(self) -> dict[str, Any] | None:
        """The claim that stands there, unless it is this one. One that cannot be read is no claim."""
        with contextlib.suppress(RunError):
            found = read_json(self._file)
            if found.get("name") != self._name and type(found.get("time")) in (int, float):
                return found
        return None

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            try:
                if other := self._other():
                    log.error("%s: %s has taken this folder over; end one of the two", self._file.parent, _who(other))
                    return
                self.renew()
            except Exception as e:  # a bucket out of reach for a while
                log.warning("%s could not be written: %s", self._file, e)


def _alive(other: dict[str, Any], now: float) -> str | None:
    """Who holds a claim, and until when; None if it is stale."""
    age = now - other["time"]
    here = (other.get("host"), other.get("processes")) == (socket.gethostname(), _processes())
    if age >= STALE or (here and not _runs(other)):
        return None
    rest = "" if here else f", last seen {max(age, 0):.0f} s ago: a claim ends {STALE:.0f} s after its process"
    return f"{_who(other)}{rest}"


def _runs(other: dict[str, Any]) -> bool:
    """Whether a process of this machine is there. Our own number without our own claim is that of a dead one."""
    pid = other.get("pid")
    if pid == os.getpid():
        return other.get("name") in _held
    try:
        os.kill(pid if isinstance(pid, int) and pid > 0 else 2**31 - 1, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _processes() -> str:
    """The namespace that process ids belong to: containers may share the name of their machine."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _who(other: dict[str, Any]) -> str:
    return f"process {str(other.get('pid'))[:20]} on {str(other.get('host'))[:100]}"
