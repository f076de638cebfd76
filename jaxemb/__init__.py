"""jaxemb: a JAX/Flax research framework for embeddings.

    from jaxemb import load
    model = load("runs/shapes")           # a run folder, trained on any number of devices
    model.encode(images)                  # arrays or file names -> one row each

The names below are imported when they are first used, so that `import jaxemb` itself costs nothing. Training is
`jaxemb.train.loop.train(experiment, folder)`: a name `train` here would hide the package of that name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxemb.discover import list_methods as list_methods
    from jaxemb.experiment import Experiment as Experiment
    from jaxemb.io.embedder import Embedder as Embedder
    from jaxemb.io.embedder import load as load
    from jaxemb.io.evaluate import evaluate as evaluate
    from jaxemb.train.init import FromRun as FromRun
    from jaxemb.train.optim import Optim as Optim
    from jaxemb.train.pretrained import FromPretrained as FromPretrained

__version__ = "0.1.0"

_HOME = {
    "Embedder": "jaxemb.io.embedder",
    "Experiment": "jaxemb.experiment",
    "FromPretrained": "jaxemb.train.pretrained",
    "FromRun": "jaxemb.train.init",
    "Optim": "jaxemb.train.optim",
    "evaluate": "jaxemb.io.evaluate",
    "list_methods": "jaxemb.discover",
    "load": "jaxemb.io.embedder",
}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"jaxemb has no {name!r}; it offers {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)
