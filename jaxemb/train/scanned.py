"""Which parameters are stacks over layers: found from how the model runs, not from what its modules are called."""

from __future__ import annotations

from typing import Any

from jaxemb.ops.paths import by_path
from jaxemb.train.initialised import initialiser
from jaxemb.train.remembered import remembered


def scanned_paths(objective: Any, batch: Any) -> frozenset[str]:
    """The paths of parameters with a leading axis that `nn.scan` (or `nn.vmap`) gave them: those that have a dimension more in the
    tree than where they are used. `batch` may be arrays, tracers or shapes, of any number of rows."""
    known = _known(objective)
    shapes = tuple((name, x.shape[1:], str(x.dtype)) for name, x in by_path(batch).items())
    if shapes not in known:
        known[shapes] = _scanned_paths(objective, batch)
    return known[shapes]


@remembered
def _known(objective: Any) -> dict[Any, frozenset[str]]:
    """What was found for an objective."""
    return {}


def _scanned_paths(objective: Any, batch: Any) -> frozenset[str]:
    start = initialiser(objective)
    params = start.shapes(batch).get("params", {})
    return frozenset(path for path, x in by_path(params).items() if x.ndim > start.used.get(path, x.ndim))
