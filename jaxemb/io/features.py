"""Pictures of what the patches of an image are to an encoder, and of where it looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxemb.config import ConfigError
from jaxemb.data.base import Data, DataError
from jaxemb.io.embedder import Embedder, load
from jaxemb.log.plot import attention_map, feature_map
from jaxemb.run.files import Where
from jaxemb.run.folder import Run
from jaxemb.train.start import untrained


def draw_features(runs: Sequence[str], out: Where, *, count: int = 8) -> epath.Path:
    """Test images of the first run's data above the patch features of each run, and of the first one before training.

    Colours are the first three principal components over all images of a row: patches of one colour are alike to the encoder.
    """
    models = {run: load(run) for run in runs}
    first = next(iter(models.values()))
    data = first.experiment.data
    arrays = _images(runs[0], data, count)
    maps = {"untrained": _map(_untrained(first), arrays)}
    for run, model in models.items():
        if model.experiment.data.spec["images"] != data.spec["images"]:
            raise DataError(
                f"{run} sees images of {model.experiment.data.spec['images'].shape}, {runs[0]} others; draw one at a time"
            )
        name = Run(run).path.name
        maps[run if name in maps else name] = _map(model, arrays)  # two steps of a run have one name
    return feature_map(_pixels(data, arrays), maps, out)


def draw_attention(run: str, out: Where, *, count: int = 8) -> epath.Path:
    """Test images of the run's data above the attention weights of each head of the last layer: those of the class token where
    there is one, else the mean over all patches that look."""
    model = load(run)
    data = model.experiment.data
    arrays = _images(run, data, count)
    last = model.attention(arrays)[-1]
    encoder: Any = model.experiment.objective.encoder  # pyright: ignore[reportAttributeAccessIssue]
    prefix = int(encoder.class_token) + encoder.registers
    looks = last[:, :1] if encoder.class_token else last[:, prefix:]
    weights = looks.mean(1)[..., prefix:]  # b h n
    side = _side(weights.shape[-1])
    return attention_map(_pixels(data, arrays), weights.reshape(*weights.shape[:2], side, side), out)


def _images(run: str, data: Data, count: int) -> dict[str, np.ndarray]:
    if "images" not in data.spec:
        raise ConfigError(f"maps are drawn of images, the data of {run} hold {', '.join(data.spec)}")
    return {"images": data.split("test").sample(count, seed=0)[:]["images"]}


def _pixels(data: Data, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """In [0, 1], as they were before normalisation."""
    mean, std = getattr(data, "statistics", (0.0, 1.0))
    return arrays["images"] * np.asarray(std, np.float32) + np.asarray(mean, np.float32)


def _untrained(model: Embedder) -> Embedder:
    """The encoder as the run started."""
    return Embedder(model.experiment, untrained(model.experiment, model.mesh).variables(), model.mesh)


def _map(model: Embedder, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Token features on their square of places."""
    tokens = np.asarray(model.features(arrays).tokens, np.float32)
    side = _side(tokens.shape[1])
    return tokens.reshape(len(tokens), side, side, -1)


def _side(tokens: int) -> int:
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ConfigError(f"{tokens} tokens do not form a square map")
    return side
