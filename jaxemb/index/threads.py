"""Pieces of a search on several cores: what is compiled with a loop in it runs on one."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

FULL_PRECISION = functools.partial(jax.default_matmul_precision, "highest")
"""Products of 32 bits, which TPUs and GPUs round to fewer unless they are told. What is to be fast is kept in half precision."""


def threads() -> int:
    """How many pieces are computed at the same time: on a CPU as many as there are cores; other devices need one thread alone."""
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(f: Callable[[Any], Any], pieces: Iterable[Any]) -> list[Any]:
    """`f` of each piece, in their order."""
    pieces = list(pieces)
    if len(pieces) < 2 or threads() < 2:
        return [f(piece) for piece in pieces]
    wide = jax.config.read("jax_enable_x64")

    def one(piece: Any) -> Any:
        with jax.enable_x64(wide), FULL_PRECISION():  # which a thread does not inherit
            return jax.block_until_ready(f(piece))

    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(one, pieces))
