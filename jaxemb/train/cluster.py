"""Several processes that train as one: who belongs to the job, how they join, and how they leave when one of them is lost.

from jaxemb.train.cluster import join
join()                          # from the environment, Slurm, Open MPI, a TPU pod or Kubernetes; before JAX looks at devices
join("10.0.0.1:8476,2,0")       # where process 0 listens, how many there are, which one this is
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jaxemb.config import ConfigError
from jaxemb.run.files import RunError, Where, absolute
from jaxemb.train.leaving import LOST, leave_on_errors, runtime, when_aborted

TIMEOUT = 300
"""Seconds in which all processes must have started: machines of a pod do not boot at the same time."""
HEARTBEAT = 10
"""Seconds without a sign of life after which a process counts as lost, and the others leave; measured: 6.5 to 7.5 s after it fell
silent. JAX waits for 100. Heartbeats come from a thread of the runtime, in C++: they go on while XLA compiles and while Python
holds its lock (10 s of it with a heartbeat of 4 changed nothing), so that only a machine that stands still misses them."""
SEEN = 60.0
"""Seconds in which a shared file system must show what another machine has written: NFS looks again after 60 at most."""

NUMBERS = (
    ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    ("SLURM_NTASKS", "SLURM_PROCID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
)
"""Environment variables that say how many processes there are and which one this is. JAX itself reads of the first kind only
JAX_COORDINATOR_ADDRESS."""
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
BY_HAND = (
    "--distributed ADDRESS:PORT,PROCESSES,ID, or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID in the environment"
)


class LostError(RuntimeError):
    """Other processes of the job are not there."""

    status = LOST
    """Of the command: the same one again may find them."""


class Cluster(NamedTuple):
    """What a process knows of its job."""

    coordinator: str
    """host:port at which process 0 listens."""
    processes: int
    process: int
    found: str
    """How this became known, such as "Slurm job 123"."""

    def __str__(self) -> str:
        return f"process {self.process} of {self.processes}, {self.found}, coordinator {self.coordinator}"


def join(how: str = "auto", *, timeout: int = TIMEOUT, heartbeat: int = HEARTBEAT, say: Callable[[str], object] = print) -> Cluster:
    """Makes this process one of a job, before JAX looks at its devices; returns when all are there.

    `how`: "auto", or ADDRESS:PORT,PROCESSES,ID. From here on the process also leaves, with status `LOST` and a message, when
    another one is lost; and without waiting for the others when it fails itself.
    """
    if jax.distributed.is_initialized():
        raise ConfigError("this process has joined a job already")
    cluster = find(how, timeout)
    say(str(cluster))
    reach(cluster, timeout, say)
    when_aborted(missing(cluster, timeout))
    jax.distributed.initialize(
        cluster.coordinator,
        num_processes=cluster.processes,
        process_id=cluster.process,
        cluster_detection_method="deactivate" if how != "auto" else None,
        initialization_timeout=timeout,
        heartbeat_timeout_seconds=heartbeat,
    )
    when_aborted(lost(cluster))
    leave_on_errors(lost(cluster))
    agree(cluster)
    return cluster


# ---- who is there ----------------------------------------------------------------------------------------------------------------


def find(how: str = "auto", timeout: int = TIMEOUT) -> Cluster:
    """The job that this process belongs to; an error says what is missing."""
    if how != "auto":
        found = re.fullmatch(r"(.+:\d+),(\d+),(\d+)", how)
        if not found:
            raise ConfigError(f"--distributed takes nothing (found out by itself) or ADDRESS:PORT,PROCESSES,ID, not {how!r}")
        return checked(Cluster(found[1], int(found[2]), int(found[3]), "as told"))
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address and (cluster := numbered(address)):
        return checked(cluster)
    if not address and (told := [name for name in NUMBERS[0] if name in os.environ]):
        raise ConfigError(f"{' and '.join(told)} without JAX_COORDINATOR_ADDRESS, host:port where process 0 listens")
    try:
        cluster = detected(timeout)
    except ConfigError as e:
        pairs = ", or ".join(" and ".join(names) for names in NUMBERS[:3])
        raise ConfigError(f"JAX_COORDINATOR_ADDRESS is set, but not {pairs}: {e}" if address else str(e)) from None
    return checked(cluster._replace(coordinator=address or cluster.coordinator))


def numbered(address: str) -> Cluster | None:
    """The job whose size and whose number of this process stand in the environment."""
    for names in NUMBERS:
        values = [os.environ.get(name) for name in names]
        if not any(values):
            continue
        for name, value in zip(names, values, strict=True):
            if not re.fullmatch("[0-9]+", value or ""):
                raise ConfigError(f"JAX_COORDINATOR_ADDRESS is set, but {name} is {repr(value) if value else 'not'}")
        return Cluster(address, int(values[0] or 0), int(values[1] or 0), f"by {' and '.join(names)}")
    return None


def detected(timeout: int) -> Cluster:
    """The job as Slurm, Open MPI, a TPU pod or Kubernetes describe it, by JAX's own detection."""
    from jax._src.clusters import ClusterEnv

    failed = ""
    for kind in ClusterEnv._cluster_types:
        try:
            if kind.opt_in_only_method or not kind.is_env_present():
                continue
            port = os.environ.get("JAX_COORDINATOR_PORT")
            address = kind.get_coordinator_address(timeout_secs=timeout, override_coordinator_port=port)
            return Cluster(address, kind.get_process_count(), kind.get_process_id(), named(kind.name))
        except Exception as e:  # of a metadata server, a name that is not resolved, numbers that are none
            failed += f"; {named(kind.name)}: {type(e).__name__}: {e}"
    if "SLURM_JOB_ID" in os.environ:
        absent = [name for name in SLURM if name not in os.environ]
        if absent:
            raise ConfigError(
                f"{named('slurm')}, but {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not set: start the command "
                "by srun, in a job with --ntasks"
            )
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        raise ConfigError(
            "Open MPI from version 5 on does not say where process 0 is: set JAX_COORDINATOR_ADDRESS=host:port of its machine"
        )
    raise ConfigError(f"no cluster was found (environment, Slurm, Open MPI, TPU pod, Kubernetes{failed}); elsewhere: {BY_HAND}")


def named(kind: str) -> str:
    job = os.environ.get("SLURM_JOB_ID")
    names = {"slurm": f"Slurm job {job}", "ompi": "Open MPI", "gcetpu": "TPU pod", "gketpu": "TPU pod (GKE)", "k8s": "Kubernetes"}
    return names.get(kind, kind)


def checked(cluster: Cluster) -> Cluster:
    host, _, port = cluster.coordinator.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
        raise ConfigError(f"the coordinator is host:port, such as 10.0.0.1:8476, not {cluster.coordinator!r} ({cluster.found})")
    if not 0 <= cluster.process < cluster.processes:
        raise ConfigError(
            f"of {cluster.processes} processes none is number {cluster.process}: they are counted from 0 ({cluster.found})"
        )
    return cluster


# ---- joining ---------------------------------------------------------------------------------------------------------------------


def reach(cluster: Cluster, timeout: int, say: Callable[[str], object]) -> None:
    """The runtime ends a process without a word of Python when it cannot reach the first one, and crashes on a port in use. So
    process 0 makes sure that the port is free, and the others knock until somebody is there."""
    host, _, port = cluster.coordinator.rpartition(":")
    if cluster.process == 0:
        bind = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", f"[::]:{port}").rpartition(":")
        if why := in_use(bind[0].strip("[]"), int(bind[2])):
            raise ConfigError(
                f"process 0 cannot listen at port {bind[2]} of this machine: {why}. Another job, or two processes that "
                "are both told to be number 0"
            )
        return
    began, told = time.monotonic(), False
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as e:
            waited = time.monotonic() - began
            if waited > timeout:
                raise LostError(
                    f"no process 0 at {cluster.coordinator} within {timeout} s ({e.strerror or e}): does it run there, at this "
                    "address and port as seen from here, and do firewalls let it through?"
                ) from None
            if waited > 10 and not told:
                say(f"still waiting for process 0 at {cluster.coordinator}: {e.strerror or e}")
                told = True
            time.sleep(0.2)


def in_use(host: str, port: int) -> str | None:
    """Why a server could not listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET6 and not socket.has_dualstack_ipv6():
        family, host = socket.AF_INET, "0.0.0.0"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what an earlier run left closing is no hindrance
            s.bind((host, port))
    except OSError as e:
        return e.strerror or str(e)
    return None


def agree(cluster: Cluster) -> None:
    """Refuses processes that were told different numbers: JAX itself does not notice."""
    told = f"jaxemb/joined/{cluster.process}"
    client = runtime()
    client.key_value_set(told, str(cluster.processes))
    client.wait_at_barrier("jaxemb/joined", 60_000)
    said = {int(key.rpartition("/")[2]): int(value) for key, value in client.key_value_dir_get("jaxemb/joined/")}
    if len(set(said.values())) > 1:
        each = ", ".join(f"process {i} of {n}" for i, n in sorted(said.items()))
        raise ConfigError(f"the processes were told different numbers of processes: {each}")


# ---- what is said when it fails -------------------------------------------------------------------------------------------


def missing(cluster: Cluster, timeout: int) -> str:
    return (
        f"process {cluster.process} of {cluster.processes}: not all have joined at {cluster.coordinator} within {timeout} s. "
        "Does each run, with this address and number of processes, and a number of its own?"
    )


def lost(cluster: Cluster) -> str:
    return (
        f"process {cluster.process} of {cluster.processes} leaves, since the runtime ended it: another process was lost or "
        "started a second time, or it failed itself (see above); the same command goes on from the last checkpoint"
    )


# ---- what all must see -----------------------------------------------------------------------------------------------------------


def see_the_same(file: Where) -> None:
    """Waits until every process sees a file as the first one wrote it, and refuses a folder that they do not share: by the same
    error in all."""
    if jax.process_count() == 1:
        return
    import zlib

    from jax.experimental import multihost_utils

    path, first = absolute(file), jax.process_index() == 0

    def seen() -> int:
        return zlib.crc32(path.read_bytes()) if path.exists() else 0

    wanted = int(multihost_utils.broadcast_one_to_all(np.uint32(seen() if first else 0)))
    until = time.monotonic() + SEEN
    while (same := seen() == wanted) is False and time.monotonic() < until:
        time.sleep(0.2)
    blind = np.flatnonzero(~np.asarray(multihost_utils.process_allgather(np.bool_(same))).reshape(-1))
    if len(blind):
        who = f"process{'es' if len(blind) > 1 else ''} {', '.join(map(str, blind))}"
        raise RunError(
            f"{who} of {jax.process_count()} cannot see {path}, as process 0 has written it, within {SEEN:.0f} s: the run folder "
            "must be on a file system that all share, or in a bucket (gs://...); name it with --run"
        )
