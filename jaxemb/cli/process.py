"""What must be settled before JAX starts: huge pages, simulated devices, the processes of a cluster."""

from __future__ import annotations

import argparse
import glob
import importlib.util
import os
import re
import sys

from jaxemb.config import ConfigError
from jaxemb.log.table import say

KEEP = 2**34
HUGE_PAGES = f"glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold={KEEP}:glibc.malloc.trim_threshold={KEEP}"
"""XLA on CPU allocates the scratch memory of a step anew each time. Huge pages make it few pieces (of ViT-Ti at batch 8, 500 page
faults a step instead of 135 000), and the two thresholds let threads keep what they have. (A single arena, arena_max=1, would spare
the last faults of large models, and makes small ones a quarter slower: measured.) glibc reads this variable before a process
starts, so the process starts itself once more."""

TPU_FILES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
"""How Linux shows the chips of a TPU VM."""

SLEEP = "4"
"""OPENBLAS_THREAD_TIMEOUT. XLA on CPU factorises matrices by OpenBLAS, whose threads spin for 2^26 cycles after each call, on cores
that XLA needs: a step of ViT-Ti with TrAct took 23 % longer than without. After 2^4 cycles they sleep, and it is 7 %."""


def restart_with_huge_pages(args: argparse.Namespace) -> None:
    """Replaces this process by itself with HUGE_PAGES in the environment, where that helps and has not been done.

    JAXEMB_HUGE_PAGES is the word of the machine's owner: 0 never, 1 for every verb that computes; without it `train` alone does.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", SLEEP)
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    asked = {"0": False, "1": hasattr(args, "huge_pages")}.get(os.environ.get("JAXEMB_HUGE_PAGES", ""), None)
    wanted = getattr(args, "huge_pages", False) if asked is None else asked
    wanted = wanted and "glibc.malloc.hugetlb" not in tunables and "JAXEMB_RESTARTED" not in os.environ
    if not wanted or not sys.platform.startswith("linux") or not on_cpu() or not has_glibc():
        return
    ours = [setting for setting in HUGE_PAGES.split(":") if setting.partition("=")[0] not in tunables]
    env = os.environ | {"GLIBC_TUNABLES": ":".join(filter(None, (tunables, *ours))), "JAXEMB_RESTARTED": "1"}
    print("restarting with huge pages for the CPU (JAXEMB_HUGE_PAGES=0 switches this off)", file=sys.stderr, flush=True)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], env)


def compute_in_the_calling_thread(args: argparse.Namespace) -> None:
    """With huge pages and one CPU device, a computation runs in the thread that asks for it. Before JAX starts.

    Otherwise it runs in a thread of XLA's, for which glibc keeps no piece above 64 MiB whatever the thresholds say: the kernel
    clears the scratch memory of ViT-Ti, 347 MiB, on one core in each step, 5 to 10 % of its time on two cores. The main thread
    keeps it. A step of 9 ms takes 0.4 ms longer, since Python no longer runs ahead; batches come from another thread either way.
    """
    several = any(getattr(args, name, None) for name in ("devices", "distributed", "processes"))
    simulated = "--xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if several or simulated or not huge_pages_note("cpu") or not on_cpu():
        return
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def huge_pages_note(platform: str) -> str:
    return ", huge pages" if platform == "cpu" and "glibc.malloc.hugetlb=1" in os.environ.get("GLIBC_TUNABLES", "") else ""


def on_cpu() -> bool:
    """Whether JAX will run on the CPU, told without importing it."""
    if named := os.environ.get("JAX_PLATFORMS"):
        return named == "cpu"
    return importlib.util.find_spec("jax_plugins") is None and not has_tpu()


def has_tpu() -> bool:
    """libtpu alone is no TPU: `jaxemb compile` uses it on machines without one."""
    return importlib.util.find_spec("libtpu") is not None and any(glob.glob(pattern) for pattern in TPU_FILES)


def leave_out_libtpu() -> None:
    """On a machine without a TPU, JAX would try an installed libtpu first, which says so in five lines."""
    if importlib.util.find_spec("libtpu") is not None and on_cpu():
        os.environ.setdefault("JAX_PLATFORMS", "cpu")


def has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (OSError, ValueError):
        return False


def choose_devices(args: argparse.Namespace) -> None:
    """Simulated devices, chips that are not here and the processes of a cluster, before JAX looks at the machine."""
    if getattr(args, "topology", None):
        from jaxemb.aot.topology import prepare

        prepare(args.topology)
    count, distributed = getattr(args, "devices", None), getattr(args, "distributed", None)
    if count is not None:
        if count < 1:
            raise ConfigError(f"--devices must be at least 1, not {count}")
        simulate(count)
    if distributed:
        from jaxemb.train.cluster import join

        join(distributed, say=say)
    if count is not None:
        import jax

        if jax.local_device_count() != count:
            raise ConfigError(f"--devices {count} comes too late: JAX has already started with {jax.local_device_count()}")


def simulate(devices: int) -> None:
    """The CPU alone, as so many devices."""
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={devices}".strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_platforms", "cpu")


def left(status: int) -> int:
    """The exit status after an error. One of several processes tells the others, as it can, before it leaves."""
    if "jaxemb.train.leaving" not in sys.modules:
        return status
    from jaxemb.train.leaving import leave

    return leave(status)


def is_first() -> bool:
    import jax

    return jax.process_index() == 0
