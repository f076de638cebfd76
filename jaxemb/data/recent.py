"""What was read last, kept for the next one who asks; several threads that ask for the same wait for one reading."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any


class Recent:
    """The last `most` results of `read(key)`."""

    def __init__(self, read: Callable[[Any], Any], most: int):
        self.most = most
        self._read, self._lock = read, threading.Lock()
        self._held: OrderedDict[Hashable, Future] = OrderedDict()

    def __call__(self, key: Hashable) -> Any:
        with self._lock:
            future = self._held.get(key)
            fresh = future is None
            if future is None:
                future = self._held[key] = Future()
            self._held.move_to_end(key)
            while len(self._held) > self.most:
                self._held.popitem(last=False)
        if fresh:
            try:
                future.set_result(self._read(key))
            except BaseException as e:
                with self._lock:
                    self._held.pop(key, None)
                future.set_exception(e)
        return future.result()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held
