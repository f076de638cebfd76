"""How long a step waits for its batch when the data are as slow as they may be, by the number of batches made ahead.

    python scripts/bench_feed.py                            four virtual devices, source of 80 % of a step, with jitter
    python scripts/bench_feed.py --source 15 --jitter 1.0 --ahead 1,2,4,8

Step and source sleep, so that what is measured is the queue of `train/feed.py` and its copy to the devices. The time of a batch of
the source is log-normal with mean --source; --jitter is the deviation of its logarithm. `wait` is the share of the time that the
training thread waits in `next(feed)`, and `queue` what it would be if nothing but the queue took time: 100 000 steps are
computed, so that a busy machine does not disturb it. `copy` is the milliseconds of `to_devices`, which the feed's thread alone
spends, and `arrives` those until all devices hold the batch.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np


class Slow:
    """Images whose batches take their time."""

    def __init__(self, milliseconds: float, jitter: float, image: int):
        from jaxemb.data.base import ArraySpec

        self.spec = {"images": ArraySpec((image, image, 3))}
        self.specs = (self.spec,)
        self._mean, self._jitter, self._rng = milliseconds / 1e3, jitter, np.random.default_rng(0)

    def batches(self, size: int, *, seed: int, shard: tuple[int, int]) -> Slow:
        self._batch = {"images": np.zeros((size, *self.spec["images"].shape), np.float32)}
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        time.sleep(self._mean * self._rng.lognormal(-(self._jitter**2) / 2, self._jitter))
        return self._batch

    def get_state(self) -> None: ...


def waits(mesh: Any, ahead: int, args: argparse.Namespace) -> float:
    """The share of the time that a step waits."""
    from jaxemb.objectives.base import Objective
    from jaxemb.train.feed import Feed

    data = Slow(args.source, args.jitter, args.image)
    feed = Feed(SimpleNamespace(data=data, objective=Objective(), batch=args.batch, seed=0), mesh, ahead=ahead)  # pyright: ignore
    waited, start = 0.0, None
    for i in range(args.steps + ahead + 1):
        asked = time.perf_counter()
        if i == ahead + 1:
            start = asked
        next(feed)
        waited += time.perf_counter() - asked if start else 0
        time.sleep(args.step / 1e3)
    feed.close()
    return waited / (time.perf_counter() - (start or 0))


def queue_waits(ahead: int, args: argparse.Namespace, steps: int = 100_000) -> float:
    """`waits` of a queue alone: batch i is put when it is made and batch i - ahead was taken, and taken when a step asks."""
    times = args.source * np.random.default_rng(0).lognormal(-(args.jitter**2) / 2, args.jitter, steps)
    put, taken, waited = np.zeros(steps), np.zeros(steps), 0.0
    for i in range(steps):
        made = times[i] + (put[i - 1] if i else 0)
        put[i] = max(made, taken[i - ahead] if i >= ahead else 0)
        asked = taken[i - 1] + args.step if i else 0
        taken[i] = max(asked, put[i])
        waited += taken[i] - asked
    return waited / (taken[-1] + args.step)


def copies(mesh: Any, args: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds, medians: of the call, and until the batch is there."""
    import jax

    from jaxemb.train.sharding import to_devices

    batch, times = {"images": np.zeros((args.batch, args.image, args.image, 3), np.float32)}, []
    for _ in range(10):
        start = time.perf_counter()
        placed = to_devices(batch, mesh)
        called = time.perf_counter()
        jax.block_until_ready(placed)
        times.append((called - start, time.perf_counter() - start))
    return tuple(1e3 * np.median(times, axis=0))


def main(argv: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ahead", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4, 8])
    p.add_argument("--devices", type=int, default=4, help="half in `data`, half in `fsdp`")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--image", type=int, default=224)
    p.add_argument("--step", type=float, default=50, help="milliseconds of a step")
    p.add_argument("--source", type=float, default=40, help="mean milliseconds of a batch of the source")
    p.add_argument("--jitter", type=float, default=0.5)
    p.add_argument("--steps", type=int, default=200)
    args = p.parse_args(argv)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={args.devices}")
    from jaxemb.train.sharding import make_mesh

    mesh = make_mesh({"data": -1, "fsdp": 2 if args.devices % 2 == 0 else 1})
    call, arrives = copies(mesh, args)
    print(f"{mesh.size} devices, {args.batch} x {args.image} px: copy {call:.1f} ms, arrives {arrives:.1f} ms")
    for ahead in args.ahead:
        print(f"ahead {ahead}: wait {waits(mesh, ahead, args):.1%}, queue {queue_waits(ahead, args):.1%}")


if __name__ == "__main__":
    main()
