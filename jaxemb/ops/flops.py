"""FLOPs of a computation, counted in its jaxpr.

    a product b m k, b k n:  2 b m n k          a convolution:  2 outputs (kernel positions) (channels in) / groups

times the length of each scan that it stands in. XLA's own count sees the body of a loop once, so that a scan over 12 layers counts
as one of them. Products, convolutions and factorisations alone are counted: those are what the peak of a chip is stated for, and
what a utilisation divides by. One multiply-add is two FLOPs.

Attention is counted with all n x m pairs of queries and keys where it is a product and a mask, also causal or in a window; of a
kernel every block of its grid counts, also those that it skips. Of causal and windowed attention both are more than what has to be
computed: a time from them is no lower bound, and a utilisation may be too high.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval


@dataclasses.dataclass(frozen=True)
class Flops:
    """What a function computes, over all devices."""

    count: float = 0.0
    loops: bool = False
    """Whether a loop of unknown length was counted as one turn."""

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.count + other.count, self.loops or other.loops)

    def __mul__(self, times: int) -> Flops:
        return Flops(self.count * times, self.loops)


def flops_of(f: Callable, *shapes: Any) -> Flops:
    """The FLOPs of f(*shapes), of what its results need; nothing is compiled or run."""
    closed = jax.make_jaxpr(f)(*shapes)
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return flops_of_jaxpr(jaxpr)


def flops_of_jaxpr(jaxpr: Any) -> Flops:
    """Those of the equations of a jaxpr."""
    return sum((_equation(e) for e in jaxpr.eqns), Flops())


def _equation(e: Any) -> Flops:
    name = e.primitive.name
    if (own := OWN.get(name)) is not None:
        return Flops(own(e))
    if name == "cond":  # the branches have one shape of result, and the dearest bounds them
        return max((flops_of_jaxpr(_open(b)) for b in e.params["branches"]), key=lambda f: f.count)
    inside = sum((flops_of_jaxpr(j) for j in _inner(e)), Flops())
    if name == "while":
        return Flops(inside.count, inside.loops or inside.count > 0)
    return inside * _times(e)


def _times(e: Any) -> int:
    """How often what is inside an equation runs."""
    name = e.primitive.name
    if name == "scan":
        return e.params["length"]
    if name == "pallas_call":
        return math.prod(n for n in e.params["grid_mapping"].grid if isinstance(n, int))
    if name == "shard_map":  # the jaxpr is what each device does
        manual = e.params["newly_manual_axes"] if "newly_manual_axes" in e.params else e.params["manual_axes"]
        return math.prod(e.params["mesh"].shape[axis] for axis in manual)
    return 1


def _inner(e: Any) -> Iterator[Any]:
    """The jaxprs that an equation runs: of a custom gradient the function itself, not what its derivative would be."""
    for name, value in e.params.items():
        if name in ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd", "jvp", "transpose_jaxpr", "cond_jaxpr"):
            continue
        for x in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(x, (core.Jaxpr, core.ClosedJaxpr)):
                yield _open(x)


def _open(jaxpr: Any) -> Any:
    return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


# ---- what single operations cost -------------------------------------------------------------------------------------------------


def _product(e: Any) -> float:
    (contracted, _), _ = e.params["dimension_numbers"]
    left, out = e.invars[0].aval.shape, e.outvars[0].aval.shape
    return 2.0 * math.prod(out) * math.prod(left[d] for d in contracted)


def _convolution(e: Any) -> float:
    """Zeros that a dilated input holds between its numbers (the gradient of a strided convolution) are no arithmetic."""
    kernel, out = e.invars[1].aval.shape, e.outvars[0].aval.shape
    features = e.params["dimension_numbers"].rhs_spec[0]
    positions = math.prod(kernel) / kernel[features]  # positions times channels in, of a group
    return 2.0 * math.prod(out) * positions / math.prod(e.params["lhs_dilation"])


def _cholesky(e: Any) -> float:
    *batch, n, _ = e.invars[0].aval.shape
    return math.prod(batch) * n**3 / 3.0


def _triangular(e: Any) -> float:
    return float(math.prod(e.invars[1].aval.shape) * e.invars[0].aval.shape[-1])


def _symmetric(e: Any) -> float:
    """Golub and Van Loan: about 9 n^3 for eigenvalues and vectors of a symmetric matrix."""
    *batch, n, _ = e.invars[0].aval.shape
    return math.prod(batch) * 9.0 * n**3


OWN: dict[str, Callable[[Any], float]] = {
    "dot_general": _product,
    "conv_general_dilated": _convolution,
    "cholesky": _cholesky,
    "triangular_solve": _triangular,
    "eigh": _symmetric,
}
