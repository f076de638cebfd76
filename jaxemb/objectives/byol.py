"""BYOL: predict what an averaged copy of the model makes of another view; no negatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.layers.projector import Projector
from jaxemb.objectives.two_views import _TwoViews, each_view
from jaxemb.ops.similarity import unit
from jaxemb.types import Batch, Loss, Now, Paper


class BYOL(_TwoViews):
    """Regression on the projections of an EMA teacher, through a predictor that the teacher lacks (Grill et al., NeurIPS 2020).

        z' = teacher's projector(encoder(view)), no gradient;   p = predictor(projector(encoder(view)))
        loss = mean over images of  |unit(p_1) - unit(z'_2)|^2 + |unit(p_2) - unit(z'_1)|^2

    Needs an experiment with `ema`: (0.996, 1) in the paper, there on a cosine, here linear. The teacher's projector normalises by
    its batch; a ResNet teacher by the student's running statistics. Views here have no blur, hue or solarisation, see `Views`.
    """

    paper: ClassVar[Paper | None] = Paper("Bootstrap Your Own Latent", 2020, "arxiv.org/abs/2006.07733")
    teacher: ClassVar[bool] = True

    projector: Projector = field(default_factory=lambda: Projector((4096, 256)))
    predictor: Projector = field(default_factory=lambda: Projector((4096, 256)))
    """Its last width is the projector's."""

    def __post_init__(self) -> None:
        if self.predictor is self.projector:  # one object in two fields would be one module with one set of parameters
            object.__setattr__(self, "predictor", self.projector.clone())
        super().__post_init__()
        if self.predictor.widths[-1] != self.projector.widths[-1]:
            raise ConfigError(
                f"predictor.widths={self.predictor.widths} must end in the last of projector.widths={self.projector.widths}"
            )

    def targets(self, batch: Batch, now: Now) -> Float[Array, "b 2 k"]:
        """The teacher's projections of both views, of length 1."""
        return unit(each_view(self.projector, self.embedded(batch, train=False)["views"]))

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        rows = self.projected(z["views"])
        p = unit(each_view(self.predictor, rows))
        error = jnp.square(p - targets[:, ::-1]).sum(-1)
        # 1 / sqrt(k) for rows spread evenly over the sphere, 0 on collapse
        return Loss(error.sum(1).mean(), logs={"target_std": targets.std((0, 1)).mean()}, views={"projections": rows})
