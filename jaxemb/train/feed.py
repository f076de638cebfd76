"""The batches of a run, on the devices before they are asked for."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import Mesh

from jaxemb.data.base import DataError
from jaxemb.ops.draws import Draws
from jaxemb.train.setup import every_batch_shape, layout
from jaxemb.train.sharding import data_shard, to_devices

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


class Feed:
    """Loading, augmentation, masks and the copy to the devices happen in a thread, `ahead` steps before the step that trains.

    What a step sees depends on the seed and its number alone. `place` is where the data stood after the batch that was handed
    out last, however far the thread has run ahead: this is what a checkpoint must hold.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, *, start: int = 0, place: Any = None, ahead: int = 2):
        """`start`: the number of updates done. `place`: of a checkpoint, None at the beginning."""
        self._experiment, self._mesh = experiment, mesh
        self._shard = data_shard(mesh)
        self._rows = experiment.batch // self._shard[1]
        self._stream = experiment.data.batches(self._rows, seed=experiment.seed, shard=self._shard)
        if place is not None:
            self._stream.set_state(place)
        self.place = self._stream.get_state()
        self._expected = [layout(shapes) for shapes in every_batch_shape(experiment, mesh)]
        self._ready: queue.Queue = queue.Queue(ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(start,), name="feed", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def arrives(self, seconds: float) -> bool:
        """Whether a batch is there, or comes within so many seconds."""
        with self._ready.not_empty:
            return self._ready.not_empty.wait_for(self._ready._qsize, seconds) > 0  # pyright: ignore[reportAttributeAccessIssue]

    def __next__(self) -> dict[str, Any]:
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        batch, self.place = item
        return batch

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._thread.join()

    def _fill(self, start: int) -> None:
        try:
            for step in itertools.count(start):
                with jax.profiler.TraceAnnotation("read a batch"):
                    arrays = next(self._stream)
                place = self._stream.get_state()
                with jax.profiler.TraceAnnotation("prepare a batch"):
                    batch = self._prepare(step, arrays)
                if not self._offer((batch, place)):
                    return
        except BaseException as e:  # whatever it is, the training thread is the one to raise it
            self._offer(e)

    def _prepare(self, step: int, arrays: dict[str, Any]) -> dict[str, Any]:
        draws = Draws((self._experiment.seed, step), self._rows, self._shard)
        batch = to_devices(self._experiment.objective.prepare(arrays, draws), self._mesh)
        if (found := layout(batch)) not in self._expected:
            got, expected = ({name: (shape, dtype) for name, shape, dtype in arrays} for arrays in (found, self._expected[-1]))
            name = next(k for k in {**got, **expected} if got.get(k) != expected.get(k))
            raise DataError(
                f"batch {step}: {name!r} is {got.get(name, 'missing')}, but the data's spec and the objective's prepare say "
                f"{expected.get(name, 'nothing of it')}; shapes must be the same at every step, or one of `data.specs`"
            )
        return batch

    def _offer(self, item: Any) -> bool:
        """Waits for room; False if nobody is going to ask any more."""
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
