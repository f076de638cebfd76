"""The whole suite runs checked: shapes and types at run time, strict dtypes and ranks, warnings as errors, 8 CPU devices."""

import os
import pathlib

# Before JAX is imported, and inherited by every subprocess that a test starts.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile far more than they run: without LLVM's optimisations the suite takes a third less.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
CACHE = pathlib.Path(os.environ.get("JAXEMB_TEST_CACHE", pathlib.Path(__file__).parent.parent / ".cache" / "jax"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

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


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
