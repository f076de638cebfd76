"""Reading the reference arrays, and comparing with them in 32 and in 64 bits."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@dataclasses.dataclass(frozen=True)
class Precision:
    """What to compute in, and how closely it must agree (the tolerances of the arrays' README)."""

    name: str
    rtol: float
    atol: float

    def array(self, x):
        x = np.asarray(x)
        return jnp.asarray(x, self.name) if np.issubdtype(x.dtype, np.floating) else jnp.asarray(x)

    def tree(self, tree):
        return jax.tree.map(self.array, tree)

    @property
    def dtypes(self):
        return {"dtype": self.name}

    def check(self, got, expected, what):
        expected = np.asarray(expected, np.float64)
        # Entries near zero carry the rounding of the large ones they were summed from, so the absolute part scales with the array:
        # a fixed one would let pass what it likes of an array of small numbers. How sums are ordered depends on the processor.
        scale = float(np.abs(expected).max(initial=0)) or 1.0
        np.testing.assert_allclose(np.asarray(got, np.float64), expected, rtol=self.rtol, atol=scale * self.atol, err_msg=what)


@pytest.fixture(scope="module")
def wide():
    """All in 64 bits: `pytestmark = pytest.mark.usefixtures("wide")`."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    wide = request.param == "float64"
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        # In 64 bits 1e-7 relative; the absolute part only covers entries that are zero up to rounding.
        yield Precision("float64", 1e-7, 1e-10) if wide else Precision("float32", 1e-4, 1e-5)


@pytest.fixture
def load(golden):
    def read(name):
        if not (golden / name).is_file():
            pytest.skip(f"no {name} in {golden}")
        with np.load(golden / name) as arrays:
            return {k: arrays[k] for k in arrays.files}

    return read
