"""LiDAR as an evaluation: whether views of an image stay together and images apart, without labels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.base import Encodes, Eval, rows_of
from jaxemb.metrics.lidar import lidar
from jaxemb.types import Paper
from jaxemb.views.base import Views
from jaxemb.views.crops import CropViews


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiDAR(Eval):
    """The effective rank of the embeddings of training images against that of random views of each (`metrics/lidar.py`).

    Between 1 and the width. A feature that no view keeps, or that all images share, does not count, as it does for RankMe. Needs
    more images than features. The paper has 1 000 images of 50 views (from memory, unverified); here `samples` x `views.count`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures", 2024, "arxiv.org/abs/2312.04000"
    )

    of: str = "encode"
    """The method of the objective that gives the rows: "project" is the projector's output, where there is one."""
    samples: int = 500
    """Images."""
    split: str = "train"
    views: Views = CropViews(count=10)
    """What a view is; its `mean` and `std` are replaced by those of the data, where these have some."""
    delta: float = 1e-4
    """Added to the variance of views, so that it can be divided by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views.count < 2 or self.samples < 2:
            raise ConfigError(f"LiDAR needs 2 images of 2 views or more, not samples={self.samples} of {self.views.count}")

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        rows = rows_of(data, self.split, self.samples, seed)
        if "images" not in rows.names:
            raise ConfigError(f"LiDAR makes views of images, the data hold {', '.join(rows.names)}")
        views = self.views
        if known := getattr(data, "statistics", None):
            views = dataclasses.replace(views, mean=tuple(map(float, known[0])), std=tuple(map(float, known[1])))
        images = rows.column("images")
        seeds = np.random.default_rng(seed).integers(0, 2**32, (len(images), views.count), dtype=np.uint32)
        draw = jax.jit(views.__call__)
        every = np.concatenate([np.asarray(draw(images[i : i + 100], seeds[i : i + 100])) for i in range(0, len(images), 100)])
        n, q = every.shape[:2]
        z = np.asarray(model.encode({"images": every.reshape(n * q, *every.shape[2:])}, of=self.of), np.float64)
        if n <= z.shape[1]:
            raise ConfigError(f"LiDAR: samples={n} must be more than the {z.shape[1]} features")
        return {"lidar": lidar(z.reshape(n, q, -1), delta=self.delta), "width": float(z.shape[1])}
