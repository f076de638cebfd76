"""What patch features tell about the patch: segmentation by a linear probe and by nearest neighbours."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, suggest
from jaxemb.data.base import Data
from jaxemb.evals.base import Encodes, Eval, rows_of
from jaxemb.evals.knn import nearest, vote
from jaxemb.evals.probe import RidgeSolver, predict, standardise
from jaxemb.ops.neighbours import most_similar, window_neighbours


@dataclasses.dataclass(frozen=True, kw_only=True)
class DensePatches(Eval):
    """Every patch gets the label that most of its pixels have, and is predicted from its feature alone.

    `top1` is a ridge probe's accuracy on all patches, `pure_top1` and `boundary_top1` on those with one label and with several;
    `knn_top1` that of the weighted nearest neighbours among training patches. `purity`: of the k patches around one that are most
    similar to it, how many share its label; `purity_around`: of all patches around it. Patches must form a square grid.
    """

    label: str = "regions"
    """An array n H W of class numbers."""
    train: int = 300
    """Training images."""
    test: int = 200
    penalty: float = 1e-3
    k: int = 20
    neighbours: int = 4
    """Of purity."""

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        train, test = (rows_of(data, s, n, seed) for s, n in (("train", self.train), (self.split, self.test)))
        if self.label not in train.names or train[:1][self.label].ndim != 3:
            raise ConfigError(f"label={self.label!r} must be an array n H W of the data{suggest(self.label, train.names)}")
        z, z_test = (np.asarray(model.encode(rows, of="features").tokens, np.float32) for rows in (train, test))
        side = math.isqrt(z.shape[1])
        if side * side != z.shape[1]:
            raise ConfigError(f"{z.shape[1]} patches do not form a square grid")
        y, (y_test, pure) = patch_labels(train.column(self.label), side)[0].reshape(-1), patch_labels(test.column(self.label), side)
        a, b = standardise(z.reshape(-1, z.shape[-1]), z_test.reshape(-1, z.shape[-1]))
        classes = int(max(y.max(), y_test.max())) + 1
        right = (predict(RidgeSolver(a).fit(y, classes, self.penalty), b) == y_test.reshape(-1)).reshape(pure.shape)
        ids, weights = nearest(b.astype(np.float32), a.astype(np.float32), self.k, 0.07)
        figures = {"top1": right.mean(), "knn_top1": (vote(y[ids], weights) == y_test.reshape(-1)).mean()}
        figures |= {f"{name}_top1": right[which].mean() for name, which in (("pure", pure), ("boundary", ~pure)) if which.any()}
        return {name: float(value) for name, value in (figures | self._purity(z_test, y_test, side)).items()}

    def _purity(self, z: Float[np.ndarray, "n p d"], y: Int[np.ndarray, "n p"], side: int) -> dict[str, float]:
        if side < 3:
            return {}
        ids, valid = window_neighbours((side, side), 3)
        chosen, _ = most_similar(jnp.asarray(z - z.mean((0, 1), keepdims=True)), ids, valid, self.neighbours)
        similar = np.take_along_axis(y, np.asarray(chosen).reshape(len(y), -1), axis=1).reshape(*y.shape, -1)
        return {"purity": (similar == y[..., None]).mean(), "purity_around": (y[:, ids] == y[..., None]).mean()}


def patch_labels(maps: Int[np.ndarray, "n H W"], side: int) -> tuple[Int[np.ndarray, "n p"], Bool[np.ndarray, "n p"]]:
    """(the most frequent label of each patch, whether it is the only one), for side x side patches."""
    n, height, width = maps.shape
    if height % side or width % side:
        raise ConfigError(f"labels of {height} x {width} pixels are not whole patches on a grid of {side} x {side}")
    cut = maps.reshape(n, side, height // side, side, width // side).transpose(0, 1, 3, 2, 4).reshape(n, side * side, -1)
    counts = np.stack([(cut == c).sum(-1) for c in range(int(maps.max()) + 1)], -1)
    return counts.argmax(-1), counts.max(-1) == cut.shape[-1]
