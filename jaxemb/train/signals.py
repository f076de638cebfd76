"""SIGTERM (a preempted machine) and Ctrl-C as a wish that the loop grants between two steps."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

import jax


class Stop:
    """Within its `with` block the first signal is only noted, for `wanted`; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The one that ends the training, once `wanted` has said so."""
        self._received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        # With several processes all must stop after the same step: there JAX itself listens to SIGTERM, and spreads the news.
        numbers = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else (signal.SIGINT,)
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._receive) for s in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wanted(self, step: int) -> bool:
        """Whether to save and leave after this step; the same answer in all processes."""
        if jax.process_count() == 1:
            self.signal = self._received
        elif _all_stop_at(step):
            self.signal = signal.SIGTERM
        return self.signal is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = signal.Signals(number)
        if jax.process_count() > 1:  # Ctrl-C: told to all as SIGTERM is
            os.kill(os.getpid(), signal.SIGTERM)


def _all_stop_at(step: int) -> bool:
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)
