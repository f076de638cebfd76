"""Trains the experiment of a run folder's `wanted.json`, in a process that a test may kill. Not a test itself.

worker.py RUN [MODE [PORT INDEX COUNT HEARTBEAT]]: "commit" and "seal" hang at step 15 just before the checkpoint, or its manifest,
is made final;
"slow" takes 50 ms a step, so that a signal can come between two.
"small-disk" lets no file grow beyond 16 kB.
"traced" writes a trace of two steps.
"idle" waits for the others again and again, and trains nothing.
"blind" sees no run folder but its own, "bare" fails in the loop.
PORT, INDEX, COUNT and HEARTBEAT make it one of several processes.
"""

import json
import os
import pathlib
import resource
import signal
import sys
import time

from jaxemb.train.cluster import join

run, mode = pathlib.Path(sys.argv[1]), (sys.argv[2:] or [""])[0]
if sys.argv[3:]:
    port, index, count, heartbeat = sys.argv[3], sys.argv[4], sys.argv[5], sys.argv[6]
    join(f"127.0.0.1:{port},{count},{index}", heartbeat=int(heartbeat))


def hang(what):
    print(f"HANGING in {what}", flush=True)
    time.sleep(600)


if mode == "commit":
    rename = os.rename

    def patched(source, target, **options):
        if pathlib.Path(target).name == "15":
            hang("commit")
        rename(source, target, **options)

    os.rename = patched
if mode == "seal":
    import jaxemb.run.checkpoint

    seal = jaxemb.run.checkpoint.seal
    jaxemb.run.checkpoint.seal = lambda folder, step: hang("seal") if step == 15 else seal(folder, step)

if mode == "slow":
    import jaxemb.train.feed

    offer = jaxemb.train.feed.Feed.__next__
    jaxemb.train.feed.Feed.__next__ = lambda self: (time.sleep(0.05), offer(self))[1]

if mode == "bare" and index == "1":
    import jaxemb.train.feed

    jaxemb.train.feed.Feed.__next__ = lambda self: 1 / 0

if mode == "small-disk":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))

if mode == "idle":
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("start")
    print("JOINED", flush=True)
    while True:
        multihost_utils.sync_global_devices("again")

from jaxemb.config import from_json  # noqa: E402  after "idle", which needs neither
from jaxemb.train.loop import train  # noqa: E402

experiment = from_json(json.loads(pathlib.Path(f"{run}.wanted.json").read_text()))

if mode == "blind":
    import jaxemb.train.cluster

    jaxemb.train.cluster.SEEN = 0.5
    run = run / index  # as on a disk of its own: nothing of the first one's is there
print("FIGURES", json.dumps(train(experiment, run, profile=(2, 4) if mode == "traced" else None)), flush=True)
