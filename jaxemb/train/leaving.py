"""How one of several processes leaves when another is lost, or when it fails itself."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import re
import signal
import sys
from types import TracebackType
from typing import Any

import jax

LOST = 70
"""Exit status after another process was lost (EX_SOFTWARE): the same command, in all, goes on."""
TOGETHER = 5
"""Seconds that a process which leaves with an error gives the others to leave with it."""

_handlers: list[Any] = []  # what C code may still call must not be collected


def when_aborted(message: str) -> None:
    """Says `message` and leaves with status `LOST` where the runtime would abort: so it does, in a thread of its own, when a
    heartbeat is missed or process 0 is gone, while Python waits in a collective operation that will never end.

    (JAX's `missed_heartbeat_callback` dies of std::bad_cast in jaxlib 0.10.2 before it is called.) A handler of C, since Python's
    own run in the main thread alone, which is the one that waits.
    """

    def handler(number: int) -> None:
        faulthandler.dump_traceback_later(3, exit=True, file=2)  # whatever holds us up now: a thread of C ends it
        os.write(2, f"{message}\n".encode())
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(LOST)

    _handlers.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(handler))
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(_handlers[-1], ctypes.c_void_p))


def leave(status: int) -> int:
    """Before a process ends with an error. Where all have met it, as a mistake in the config, all leave in order; a process that
    is alone with it ends here, since at the end of Python the runtime would wait for the others, which wait for it."""
    if not jax.distributed.is_initialized():
        return status
    try:
        runtime().wait_at_barrier("jaxemb/leaving", TOGETHER * 1000)
    except Exception:
        _exit(status)
    return status


def _exit(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def leave_on_errors(message: str) -> None:
    """`leave` after an error that nobody caught, once it has been shown; with `message` where it is the loss of another process."""
    show = sys.excepthook

    def shown(kind: type[BaseException], e: BaseException, trace: TracebackType | None) -> None:
        show(kind, e, trace)
        if of_the_runtime(e) and "RESOURCE_EXHAUSTED" not in str(e):
            print(message, file=sys.stderr)
            _exit(LOST)
        leave(130 if isinstance(e, KeyboardInterrupt) else 1)

    sys.excepthook = shown


def of_the_runtime(e: BaseException) -> bool:
    """Whether an error is XLA's. One that comes while an array is read on the host is a bare ValueError with a status in front."""
    return isinstance(e, jax.errors.JaxRuntimeError) or (type(e) is ValueError and bool(re.match("[A-Z_]{5,}: ", str(e))))


def runtime() -> Any:
    """The connection to the coordinator: a store of keys, and barriers with a timeout, which need no device."""
    from jax._src import distributed

    return distributed.global_state.client
