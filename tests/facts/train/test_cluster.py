"""Who belongs to a job, as the environment says it, and what is said when something is missing. No process is started."""

import os
import socket

import jax
import pytest
from jax._src.clusters import ClusterEnv

from jaxemb.config import ConfigError
from jaxemb.train import cluster, leaving
from jaxemb.train.cluster import Cluster, LostError, find, join, reach
from jaxemb.train.leaving import LOST, leave

JOB = {
    "SLURM_JOB_ID": "123",
    "SLURM_STEP_NODELIST": "node[07-08,11]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


@pytest.fixture
def environment(monkeypatch):
    """environment(NAME="value", ...): of all that can describe a cluster these alone."""
    for name in tuple(os.environ):
        if name.startswith(("JAX_COORDINATOR", "JAX_NUM", "JAX_PROCESS", "SLURM_", "OMPI_", "PMI_", "TPU_", "KUBERNETES")):
            monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(*item) for item in values.items()]


def test_an_address_is_taken_as_told(environment):
    environment(**JOB)  # the user's word counts more
    assert find("10.0.0.1:8476,4,3") == Cluster("10.0.0.1:8476", 4, 3, "as told")
    assert str(find("[fe80::1]:8476,2,0")) == "process 0 of 2, as told, coordinator [fe80::1]:8476"


def test_slurm_describes_its_job(environment):
    environment(**JOB, JAX_COORDINATOR_PORT="8476")
    assert str(find()) == "process 3 of 4, Slurm job 123, coordinator node07:8476"


def test_the_environment_describes_a_job(environment):
    environment(JAX_COORDINATOR_ADDRESS="one:8476", JAX_NUM_PROCESSES="2", JAX_PROCESS_ID="1", **JOB)
    assert str(find()) == "process 1 of 2, by JAX_NUM_PROCESSES and JAX_PROCESS_ID, coordinator one:8476"


@pytest.mark.parametrize("names", cluster.NUMBERS[1:])
def test_an_address_is_joined_by_the_numbers_of_a_launcher(environment, names):
    environment(JAX_COORDINATOR_ADDRESS="one:8476", **dict(zip(names, ("2", "1"), strict=True)))
    assert find()[:3] == ("one:8476", 2, 1)


def test_open_mpi_describes_its_job(environment):
    uri = "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"
    environment(OMPI_MCA_orte_hnp_uri=uri, OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1", OMPI_COMM_WORLD_LOCAL_RANK="1")
    found = find()
    assert found.coordinator.startswith("10.96.0.1:") and found[1:] == (2, 1, "Open MPI")


def test_a_pod_describes_its_job(environment, monkeypatch):
    monkeypatch.setattr("jax._src.clusters.cloud_tpu_cluster.running_in_cloud_tpu_vm", True)
    environment(TPU_WORKER_HOSTNAMES="localhost,other", TPU_WORKER_ID="1", MEGASCALE_NUM_SLICES="1", MEGASCALE_SLICE_ID="0")
    environment(MEGASCALE_COORDINATOR_ADDRESS="localhost")
    assert str(find()) == "process 1 of 2, TPU pod (GKE), coordinator localhost:8482"


SLURM_ALONE = {k: JOB[k] for k in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_LOCALID")}


@pytest.mark.parametrize(
    "how, given, said",
    [
        ("10.0.0.1", {}, "takes nothing .* or ADDRESS:PORT,PROCESSES,ID, not '10.0.0.1'"),
        ("one:8476,2,2", {}, "of 2 processes none is number 2: they are counted from 0"),
        ("one:99999,2,0", {}, "the coordinator is host:port, such as 10.0.0.1:8476, not 'one:99999'"),
        (
            "auto",
            {},
            r"no cluster was found \(environment, Slurm, Open MPI, TPU pod, Kubernetes\); elsewhere: --distributed ADDRESS",
        ),
        ("auto", SLURM_ALONE, "Slurm job 123, but SLURM_STEP_NODELIST, SLURM_PROCID are not set: start the command by srun"),
        ("auto", {**JOB, "SLURM_NTASKS": "two"}, "Slurm job 123: ValueError: invalid literal"),
        ("auto", {"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI from version 5 on .* set JAX_COORDINATOR_ADDRESS=host:port"),
        ("auto", {"JAX_NUM_PROCESSES": "2"}, "JAX_NUM_PROCESSES without JAX_COORDINATOR_ADDRESS"),
        ("auto", {"JAX_COORDINATOR_ADDRESS": "one:1"}, "is set, but not JAX_NUM_PROCESSES and JAX_PROCESS_ID, or SLURM_NTASKS"),
        ("auto", {"JAX_COORDINATOR_ADDRESS": "one:1", "JAX_PROCESS_ID": "0"}, "is set, but JAX_NUM_PROCESSES is not"),
        ("auto", {"JAX_COORDINATOR_ADDRESS": "one:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID is '-1'"),
        ("auto", {"JAX_COORDINATOR_ADDRESS": "one", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, "host:port, .* not 'one'"),
    ],
)
def test_what_is_missing_is_named(environment, how, given, said):
    environment(**given)
    with pytest.raises(ConfigError, match=said):
        find(how)


def test_a_failing_detection_is_told(environment, monkeypatch):
    class Metadata(ClusterEnv):
        name = "gcetpu"
        is_env_present = classmethod(lambda cls: 1 / 0)

    monkeypatch.setattr(ClusterEnv, "_cluster_types", [Metadata])
    environment()
    with pytest.raises(ConfigError, match="no cluster was found .*; TPU pod: ZeroDivisionError: division by zero"):
        find()


@pytest.fixture
def listening():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        yield s.getsockname()[1]


def test_process_0_needs_its_port(listening):
    with pytest.raises(
        ConfigError, match=f"cannot listen at port {listening} .*: Address already in use. Another job, or two proc"
    ):
        reach(Cluster(f"127.0.0.1:{listening}", 2, 0, "as told"), 1, print)
    reach(Cluster(f"127.0.0.1:{listening}", 2, 1, "as told"), 1, print)  # the others knock


def test_the_others_say_that_process_0_is_not_there(listening, monkeypatch):
    said, clock = [], iter(range(0, 100, 6))
    monkeypatch.setattr(cluster.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(cluster.time, "sleep", lambda s: None)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = s.getsockname()[1]
    with pytest.raises(LostError, match=f"no process 0 at 127.0.0.1:{closed} within 20 s .Connection refused.: does it run") as e:
        reach(Cluster(f"127.0.0.1:{closed}", 2, 1, "as told"), 20, said.append)
    assert e.value.status == LOST
    assert said == [f"still waiting for process 0 at 127.0.0.1:{closed}: Connection refused"]


class Runtime:
    """A coordinator that knows what each process was told."""

    def __init__(self, told, barrier=None):
        self.told, self.barrier = {f"jaxemb/joined/{i}": str(n) for i, n in told.items()}, barrier

    def key_value_set(self, key, value):
        self.told[key] = value

    def key_value_dir_get(self, folder):
        return list(self.told.items())

    def wait_at_barrier(self, name, timeout):
        if self.barrier:
            raise self.barrier


def test_processes_agree_on_their_number(monkeypatch):
    monkeypatch.setattr(cluster, "runtime", lambda: Runtime({1: 2}))
    cluster.agree(Cluster("one:1", 2, 0, "as told"))
    with pytest.raises(ConfigError, match="told different numbers of processes: process 0 of 3, process 1 of 2"):
        cluster.agree(Cluster("one:1", 3, 0, "as told"))


def test_a_process_that_is_alone_with_its_error_does_not_wait(monkeypatch):
    ended = []
    assert leave(2) == 2  # of one process
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(leaving.os, "_exit", ended.append)
    monkeypatch.setattr(leaving, "runtime", lambda: Runtime({}))
    assert leave(2) == 2 and not ended  # all have met it
    monkeypatch.setattr(leaving, "runtime", lambda: Runtime({}, RuntimeError("DEADLINE_EXCEEDED")))
    leave(2)
    assert ended == [2]
    with pytest.raises(ConfigError, match="has joined a job already"):
        join("one:1,2,0")
