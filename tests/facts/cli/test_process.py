"""Settings of the process before JAX starts."""

import argparse
import fnmatch
import os

import jax
import pytest

from jaxemb.cli.process import HUGE_PAGES, compute_in_the_calling_thread, leave_out_libtpu, on_cpu

CASES = [
    ({}, {}, True),
    ({"devices": 8}, {}, False),
    ({"distributed": "auto"}, {}, False),
    ({}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}, False),
    ({}, {"JAX_PLATFORMS": "cuda"}, False),
    ({}, {"GLIBC_TUNABLES": "glibc.rtld.nns=3"}, False),
]


@pytest.mark.parametrize(("options", "environment", "wanted"), CASES)
def test_one_cpu_device_with_huge_pages_computes_in_the_calling_thread(options, environment, wanted, monkeypatch):
    for name, value in {"GLIBC_TUNABLES": HUGE_PAGES, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", **environment}.items():
        monkeypatch.setenv(name, value)
    set_to = []
    monkeypatch.setattr(jax.config, "update", lambda *setting: set_to.append(setting))
    compute_in_the_calling_thread(argparse.Namespace(**options))
    assert set_to == [("jax_cpu_enable_async_dispatch", False)] * wanted


@pytest.mark.parametrize(
    ("installed", "files", "named", "expected"),
    [
        ((), [], None, True),
        (("libtpu",), [], None, True),  # for `jaxemb compile`
        (("libtpu",), ["/dev/accel0"], None, False),
        ((), ["/dev/vfio/0"], None, True),  # a device, and nothing to use it with
        (("libtpu",), ["/dev/vfio/0"], None, False),
        (("jax_plugins",), [], None, False),
        (("jax_plugins",), [], "cpu", True),
        (("libtpu",), [], "tpu", False),
    ],
)
def test_libtpu_alone_is_no_tpu(installed, files, named, expected, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if named:
        monkeypatch.setenv("JAX_PLATFORMS", named)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr("glob.glob", lambda pattern: [f for f in files if fnmatch.fnmatch(f, pattern)])
    assert on_cpu() is expected
    if not named:
        leave_out_libtpu()
        assert os.environ.get("JAX_PLATFORMS") == ("cpu" if expected and "libtpu" in installed else None)
