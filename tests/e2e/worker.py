"""Trains the experiment of a run folder's `wanted.json`, in a process that a test may kill. Not a test itself.

worker.py RUN [MODE [PORT INDEX]]: "commit" and "seal" hang at step 15 just before the checkpoint, or its manifest, is made final;
"slow" takes 50 ms a step, so that a signal can come between two.
"small-disk" lets no file grow beyond 16 kB.
PORT and INDEX make it one of two processes.
"""

import json
import os
import pathlib
import resource
import signal
import sys
import time

import jax

from jaxemb.config import from_json
from jaxemb.train.loop import train

run, mode = pathlib.Path(sys.argv[1]), (sys.argv[2:] or [""])[0]
if sys.argv[3:]:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    address, index = f"127.0.0.1:{sys.argv[3]}", int(sys.argv[4])
    jax.distributed.initialize(address, num_processes=2, process_id=index, heartbeat_timeout_seconds=10)


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

if mode == "small-disk":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))

experiment = from_json(json.loads(pathlib.Path(f"{run}.wanted.json").read_text()))
print("FIGURES", json.dumps(train(experiment, run)), flush=True)
