"""The whole suite runs checked: shapes and types at run time, strict dtypes and ranks, warnings as errors, 8 CPU devices."""

import gc
import os
import pathlib
import resource

# Before JAX is imported, and inherited by every subprocess that a test starts.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile far more than they run: each flag takes something off what a compilation costs (all: about half of it).
FLAGS = (
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE",
)
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])
CACHE = pathlib.Path(os.environ.get("JAXEMB_TEST_CACHE", pathlib.Path(__file__).parent.parent / ".cache" / "jax"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["JAXEMB_RECOMPILATION"] = "error"  # a run that compiles after its warm-up fails

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("jaxemb", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def golden() -> pathlib.Path:
    """The folder of reference arrays; `JAXEMB_GOLDEN` names another one with files of the same names."""
    folder = pathlib.Path(os.environ.get("JAXEMB_GOLDEN", pathlib.Path(__file__).parents[2] / "shared" / "golden"))
    if not folder.is_dir():
        pytest.skip(f"no reference arrays: {folder} is not a folder (name one in the environment variable JAXEMB_GOLDEN)")
    return folder


@pytest.fixture(scope="session")
def tfds_dir() -> pathlib.Path:
    """A prepared TFDS folder with CIFAR-10; `TFDS_DATA_DIR` names another one."""
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", pathlib.Path(__file__).parents[2] / "shared" / "data" / "tfds"))
    if not (folder / "cifar10").is_dir():
        pytest.skip(f"no prepared CIFAR-10: {folder / 'cifar10'} is not a folder (name its parent in TFDS_DATA_DIR)")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _forget_what_was_compiled():
    """Files share hardly a compiled function, and hundreds of them fill the memory of a process; what they do share is on disk."""
    yield
    jax.clear_caches()


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


def pytest_collection_finish() -> None:
    """Nothing that was imported is ever garbage: the collector need not walk through it again with every trace."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


ORDER = ("e2e", "contract", "golden", "parity", "posemb", "scripts", "nn", "train")
"""Folders whose files take longest come first: what runs last, while the other process has nothing left to do, should be short."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((i for i, folder in enumerate(ORDER) if folder in item.path.parts), len(ORDER)))


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """gs://any/... on this disk; nothing is written below the current folder."""
    from buckets import stand_in

    from jaxemb.run import claim

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(claim, "SETTLE", 0.0)
    yield stand_in(tmp_path / "buckets", monkeypatch)
    assert list((tmp_path / "here").iterdir()) == []


# ---- what the suite costs: printed at its end ------------------------------------------------------------------------------------

PEAKS: list[int] = []
"""MiB of each process that ran tests."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = peak
    elif not PEAKS:
        PEAKS.append(peak)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    PEAKS.append(getattr(node, "workeroutput", {}).get("peak", 0))


def pytest_terminal_summary(terminalreporter) -> None:
    """The ten slowest files, set-up included: where the budget of the suite goes."""
    seconds: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                file = report.nodeid.partition("::")[0]
                seconds[file] = seconds.get(file, 0.0) + report.duration
    if len(seconds) > 10:
        terminalreporter.write_line(f"ten slowest of {len(seconds)} files; processes took up to {max(PEAKS, default=0)} MiB")
        for file in sorted(seconds, key=lambda f: -seconds[f])[:10]:
            terminalreporter.write_line(f"{seconds[file]:7.1f} s  {file}")
