"""SimCLR: find the other view of an image among all views of the batch."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.layers.projector import Projector
from jaxemb.objectives.two_views import SMALL, _TwoViews, each_view
from jaxemb.ops.similarity import unit
from jaxemb.types import Batch, Loss, Now, Paper


class SimCLR(_TwoViews):
    """Contrastive learning with the normalised temperature-scaled cross-entropy (Chen et al., ICML 2020).

        loss = mean over the 2n views r of  -log  exp(cos(z_r, z_r') / temperature) / sum_{s != r} exp(cos(z_r, z_s) / temperature)

    r' is the other view of the same image; all other views of the global batch are negatives. Views here have no blur or hue, see
    `Views`. `accuracy`: how often r' is the nearest.
    """

    paper: ClassVar[Paper | None] = Paper(
        "A Simple Framework for Contrastive Learning of Visual Representations", 2020, "arxiv.org/abs/2002.05709"
    )
    tiny: ClassVar[dict] = {"projector": SMALL}

    projector: Projector = field(default_factory=lambda: Projector((2048, 128)))
    temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ConfigError(f"temperature must be above 0, is {self.temperature}")

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        z = each_view(self.projector, self.embed(batch, train=True))
        value, accuracy = nt_xent(z, self.temperature)
        return Loss(value, logs={"accuracy": accuracy}, views={"projections": z})


def nt_xent(z: Float[Array, "n 2 k"], temperature: float) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(loss, accuracy) of projections that need not be normalised."""
    rows = unit(z).reshape(-1, z.shape[-1])  # views of an image are neighbours: 0 1, 2 3, ...
    count = len(rows)
    logits = jnp.where(jnp.eye(count, dtype=bool), -jnp.inf, rows @ rows.T / temperature)
    other = jnp.arange(count) ^ 1
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), other[:, None], axis=1)
    return -log_p.mean(), (logits.argmax(-1) == other).astype(z.dtype).mean()
