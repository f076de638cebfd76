"""A picture of what the patches of an image are to an encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.io.embedder import Embedder, load
from jaxemb.io.run import Run
from jaxemb.log.plot import feature_map
from jaxemb.train.setup import new_state


def draw_features(runs: Sequence[str], out: Path, *, count: int = 8) -> Path:
    """Test images of the first run's data above the patch features of each run, and of the first one before training.

    Colours are the first three principal components over all images of a row: patches of one colour are alike to the encoder.
    """
    models = {run: load(run) for run in runs}
    first = next(iter(models.values()))
    data = first.experiment.data
    if "images" not in data.spec:
        raise ConfigError(f"feature maps are drawn of images, the data of {runs[0]} hold {', '.join(data.spec)}")
    arrays = {"images": data.arrays("test", limit=count, seed=0)["images"]}
    maps = {"untrained": _map(_untrained(first), arrays)}
    for run, model in models.items():
        if model.experiment.data.spec["images"] != data.spec["images"]:
            raise DataError(
                f"{run} sees images of {model.experiment.data.spec['images'].shape}, {runs[0]} others; draw one at a time"
            )
        name = Run(run).path.name
        maps[run if name in maps else name] = _map(model, arrays)  # two steps of a run have one name
    mean, std = getattr(data, "statistics", (0.0, 1.0))
    return feature_map(arrays["images"] * np.asarray(std, np.float32) + np.asarray(mean, np.float32), maps, out)


def _untrained(model: Embedder) -> Embedder:
    """The encoder as the run initialised it."""
    return Embedder(model.experiment, new_state(model.experiment, model.mesh).variables(), model.mesh)


def _map(model: Embedder, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Token features on their square of places."""
    tokens = np.asarray(model.features(arrays).tokens, np.float32)
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        raise ConfigError(f"{tokens.shape[1]} tokens do not form a square map")
    return tokens.reshape(len(tokens), side, side, -1)
