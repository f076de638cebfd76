"""SIGTERM (a preempted machine) and Ctrl-C as a wish that the loop grants between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import jax


class Stop:
    """Within its `with` block the first signal only sets `signal`; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        # With several processes all must stop after the same step: there JAX itself listens to SIGTERM, and spreads the news.
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            self._before = {s: signal.signal(s, self._receive) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wanted(self, step: int) -> bool:
        """Whether to save and leave after this step; the same answer in all processes."""
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            if multihost_utils.reached_preemption_sync_point(step):
                self.signal = signal.SIGTERM
        return self.signal is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
