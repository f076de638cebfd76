"""What can go wrong in the middle of training, said so that the reader knows what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from jaxemb.config import flatten, to_json
from jaxemb.train.leaving import LOST, of_the_runtime

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES}


class TrainError(RuntimeError):
    """Training cannot go on; the message says why, what is kept, and what to try."""


@contextlib.contextmanager
def explained(experiment: Experiment, say: Callable[[str], None]) -> Iterator[None]:
    """Turns errors of the devices and of the disk into a `TrainError`."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as e:
        if not of_the_runtime(e):
            raise
        if "RESOURCE_EXHAUSTED" in str(e):
            raise TrainError(out_of_memory(experiment, str(e))) from e
        if jax.process_count() > 1:
            # The other processes are gone. Leaving in order would wait for them until the heartbeat times out.
            say(f"lost contact to another process: {str(e).splitlines()[0]}; the same command goes on from the last checkpoint")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(LOST)
        raise
    except OSError as e:
        if e.errno in FULL:
            where = f" {e.filename}" if e.filename else ""
            raise TrainError(
                f"cannot write{where}: {e.strerror}; the checkpoints so far are kept. Once that is mended the same command goes on"
            ) from e
        raise


def out_of_memory(experiment: Experiment, message: str) -> str:
    """Which numbers to lower, and what they are now."""
    config = flatten(to_json(experiment))
    found = {p: v for p, v in config.items() if p.split(".")[-1] in ("remat", "dtype", "param_dtype", "scan")}
    now = "".join(f"\n  {path} = {value!r}" for path, value in found.items())
    rows = experiment.batch // experiment.accumulate
    return (
        f"out of memory on {jax.devices()[0].device_kind}: {message.splitlines()[0][:200]}\n"
        f"In this order: raise accumulate (now {experiment.accumulate}: {rows} examples at a time), switch remat on, with scan, "
        "compute in bfloat16 (dtype), spread over more devices (mesh, sharding), "
        f"lower batch (now {experiment.batch}).{now}"
    )


def not_finite(experiment: Experiment, step: int, values: Mapping[str, Any]) -> str:
    """Where it happened, and what to try."""
    optim = experiment.optim
    shown = ", ".join(f"{name} {value}" for name, value in values.items())
    inputs = ". optim.tract needs inputs whose second moment is finite: standardise them" if optim.tract else ""
    return (
        f"step {step}: {shown}, which is not finite. It came from batch {step - 1} (counted from 0); nothing was saved since, "
        f"and the last checkpoint is kept. Try a lower optim.lr (now {optim.lr}), a longer optim.warmup (now {optim.warmup}), "
        f"clipping with optim.clip (now {optim.clip}), or float32 where dtype is bfloat16{inputs}"
    )
