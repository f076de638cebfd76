"""LeJEPA: views agree, and all projections together look like a Gaussian; no teacher, no stop-gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, not_negative
from jaxemb.layers.projector import Projector
from jaxemb.objectives.two_views import _TwoViews
from jaxemb.ops.draws import Draws
from jaxemb.ops.sigreg import check_points, random_directions, sigreg
from jaxemb.types import Batch, Loss, Now, Paper
from jaxemb.views.base import Views
from jaxemb.views.crops import CropViews


class LeJEPA(_TwoViews):
    """A joint embedding kept from collapse by a test of normality, SIGReg (Balestriero & LeCun 2025; see `ops/sigreg.py`).

        centre_i    mean of the projections z_i of the global views of image i; the gradient flows through it too
        invariance  mean over all views, images and features of (centre_i - z_i)^2
        loss        invariance + weight SIGReg(projections of all views, one row each)

    Global views are those of `views`, local ones those of `local`. The paper's text was not obtained: this follows two public
    implementations that agree, with the projector of the smaller one.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics", 2025, "arxiv.org/abs/2511.08544"
    )
    pair: ClassVar[bool] = False

    projector: Projector = field(default_factory=lambda: Projector((2048, 2048, 64), bias=True))
    views: Views = field(default_factory=lambda: CropViews(count=4))
    """The global views, from which the centre is made; two of 224 px in the larger implementation."""
    local: Views | None = None
    """Smaller views that are pulled to the centre: six of 96 px in the larger implementation."""
    weight: float = 0.02
    """lambda: .02 to .05."""
    convex: bool = False
    """(1 - weight) invariance + weight SIGReg, as one of the two implementations has it."""
    slices: int = 1024
    """Random directions, drawn anew at each step."""
    t_max: float = 3.0
    points: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "weight")
        check_points(self.t_max, self.points)
        if self.slices < 1:
            raise ConfigError(f"slices must be at least 1, is {self.slices}")
        if self.convex and self.weight > 1:
            raise ConfigError(f"weight={self.weight} must be at most 1 with convex=True")
        if self.views.count + (self.local.count if self.local else 0) < 2:
            raise ConfigError("LeJEPA needs two views or more in all: raise views.count or give local views")

    def prepare(self, batch: dict[str, np.ndarray], draws: Draws) -> dict[str, np.ndarray]:
        batch = super().prepare(batch, draws)
        return {**batch, "local_seeds": self.local.seeds(draws)} if self.local else batch

    def towers(self, batch: Batch) -> dict[str, Batch]:
        """Global and local views."""
        local = {"local": {name: batch[name] for name in ("images", "local_seeds")}} if self.local else {}
        return {**super().towers(batch), **local}

    def embed(self, batch: Batch, role: str = "views", train: bool = False) -> Float[Array, "b m d"]:
        if role == "local" and self.local is not None:
            return self._pooled(self.local(batch["images"], batch["local_seeds"]), train)
        return super().embed(batch, role, train)

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        rows = self.projected(jnp.concatenate([*z.values()], axis=1))
        return self.join(rows, random_directions(self.make_rng("dropout"), rows.shape[-1], self.slices, rows.dtype.name))

    def join(self, z: Float[Array, "b m k"], directions: Float[Array, "k s"]) -> Loss:
        """The loss of projections, global views first."""
        agree = invariance(z, self.views.count)
        normal = sigreg(z.reshape(-1, z.shape[-1]), directions, t_max=self.t_max, points=self.points)
        value = (1 - self.weight if self.convex else 1) * agree + self.weight * normal
        return Loss(value, logs={"invariance": agree, "sigreg": normal}, views={"projections": z})


def invariance(z: Float[Array, "b m k"], count: int) -> Float[Array, ""]:
    """Mean squared distance of all views from the mean of the first `count`."""
    return jnp.square(z[:, :count].mean(1, keepdims=True) - z).mean()
