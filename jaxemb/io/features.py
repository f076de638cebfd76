"""Pictures of what the patches of an image are to an encoder, and of where it looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxemb.config import ConfigError
from jaxemb.data.base import Data, DataError
from jaxemb.evals.knn import KNN
from jaxemb.evals.labels import names
from jaxemb.io.embedder import Embedder, load
from jaxemb.log.plot import attention_map, feature_map, neighbour_map
from jaxemb.preprocess.images import ImagePreprocess
from jaxemb.run.files import Where
from jaxemb.run.folder import Run
from jaxemb.train.encode import Encoder
from jaxemb.train.start import untrained

PLACES = 250
"""Images over which the mean feature of a place is taken."""


def draw_features(runs: Sequence[str], out: Where, *, count: int = 8) -> epath.Path:
    """Test images of the first run's data above the patch features of each run, and of the first one before training.

    Colours are the first three principal components over all images of a row, after the mean of each place over `PLACES` test
    images is taken away: patches of one colour are alike to the encoder in what they show, wherever they are.
    """
    models = _models(runs)
    first, experiment = models[runs[0]], _experiment(runs[0])
    arrays = _images(runs[0], experiment.data, count)
    others = _images(runs[0], experiment.data, PLACES)
    maps = {"untrained": _map(_untrained(first, experiment), arrays, others)}
    for run, model in models.items():
        name = Run(run).path.name
        maps[run if name in maps else name] = _map(model, arrays, others)  # two steps of a run have one name
    return feature_map(_pixels(first, arrays), maps, out)


def draw_attention(run: str, out: Where, *, count: int = 8) -> epath.Path:
    """Test images of the run's data above the attention weights of each head of the last layer: those of the class token where
    there is one, else the mean over all patches that look."""
    model = load(run)
    arrays = _images(run, _experiment(run).data, count)
    last = model.attention(arrays)[-1]
    encoder: Any = model.model.encoder  # pyright: ignore[reportAttributeAccessIssue]
    prefix = int(encoder.class_token) + encoder.registers
    looks = last[:, :1] if encoder.class_token else last[:, prefix:]
    weights = looks.mean(1)[..., prefix:]  # b h n
    side = _side(weights.shape[-1])
    return attention_map(_pixels(model, arrays), weights.reshape(*weights.shape[:2], side, side), out)


def draw_neighbours(runs: Sequence[str], out: Where, *, count: int = 8, near: int = 5) -> epath.Path:
    """Test images of the first run's data and the training images nearest to them, by its untrained encoder and by each run's.

    Near is what the first k-nearest-neighbour evaluation of the first run calls so, among its training rows. The title of a block
    says how many of that evaluation's labels an image and a neighbour share, on average over all its test rows.
    """
    models = _models(runs)
    first, experiment = models[runs[0]], _experiment(runs[0])
    data = experiment.data
    knn = next((e for e in experiment.evals.values() if isinstance(e, KNN)), KNN(train=2000, test=500))
    _images(runs[0], data, count)  # says what is wrong with data that hold none
    queries, bank = (data.split(s).sample(n, seed=0)[:] for s, n in (("test", max(count, knn.test)), ("train", knn.train)))
    labels = [name for name in names(knn.label) if name in queries and (queries[name] >= 0).all()]
    found, shared = {}, {}
    for run, model in {"untrained": _untrained(first, experiment), **models}.items():
        reader = Encoder(model.model, model.mesh).bind(model.variables)
        rows, votes = knn.search(reader.encode(queries), reader.encode(bank), near)
        rows = np.take_along_axis(rows, np.argsort(-votes, axis=1), axis=1)
        same: Any = sum(bank[label][rows] == queries[label][:, None] for label in labels)
        name = "untrained" if model is not models.get(run) else f"{run if len(models) > 1 else Run(run).path.name}, trained"
        name += f": {np.mean(same):.2f} of {len(labels)} labels shared" if labels else ""
        found[name], shared[name] = _pixels(first, {"images": bank["images"][rows[:count]]}), same
    chance = sum(np.mean(bank[label][:, None] == queries[label]) for label in labels)
    note = f"frame: how many of {', '.join(labels)} a neighbour shares with its image; any two images share {chance:.2f}"
    return neighbour_map(_pixels(first, queries)[:count], found, shared, len(labels), out, note=note if labels else "")


def _models(runs: Sequence[str]) -> dict[str, Embedder]:
    """Runs that see images of one size."""
    models = {run: load(run) for run in runs}
    spec = models[runs[0]].preprocess.spec
    for run, model in models.items():
        if model.preprocess.spec != spec:
            raise DataError(f"{run} sees images of {model.preprocess.spec['images'].shape}, {runs[0]} others; draw one at a time")
    return models


def _experiment(run: str) -> Any:
    """The experiment of a run, with what its preprocessing has learnt."""
    folder = Run(run)
    return folder.restored(folder.experiment())


def _images(run: str, data: Data, count: int) -> dict[str, np.ndarray]:
    if "images" not in data.spec:
        raise ConfigError(f"maps are drawn of images, the data of {run} hold {', '.join(data.spec)}")
    return {"images": data.split("test").sample(count, seed=0)[:]["images"]}


def _pixels(model: Embedder, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """In [0, 1], as they were before normalisation."""
    return model.preprocess.pixels(arrays["images"]) if isinstance(model.preprocess, ImagePreprocess) else arrays["images"]


def _untrained(model: Embedder, experiment: Any) -> Embedder:
    """The encoder as the run started."""
    return Embedder(model.model, untrained(experiment, model.mesh).variables(), model.preprocess, mesh=model.mesh)


def _map(model: Embedder, arrays: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> np.ndarray:
    """Token features on their square of places, less the mean of each place over other images."""
    tokens, usual = (np.asarray(model.features(x).tokens, np.float32) for x in (arrays, others))
    side = _side(tokens.shape[1])
    return (tokens - usual.mean(0)).reshape(len(tokens), side, side, -1)


def _side(tokens: int) -> int:
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ConfigError(f"{tokens} tokens do not form a square map")
    return side
