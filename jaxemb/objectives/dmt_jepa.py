"""DMT-JEPA: I-JEPA whose target for a patch is made of the neighbours that look most like it."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxemb.config import ConfigError, choices
from jaxemb.nn.aggregation import Aggregation
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.ops.neighbours import most_similar, window_neighbours
from jaxemb.types import Batch, Now, Paper

STARTS = ("mean", "released", "zero")


class DMTJEPA(IJEPA):
    """Discriminative masked targets: predict an aggregate of the k neighbours of a hidden patch that are most similar to it.

        F         features of the teacher, LayerNormed as in I-JEPA
        K_i       of the patches around patch i, the k with the largest cosine similarity: rows of F
        target_i  = head([mean_j F_j; K_i]), with the EMA parameters of the head (see `nn/aggregation.py`)
        context   = head(context patches), the same head with its trained parameters, before the predictor

    The patch's own feature enters its target through the mean alone. What is known of the method is the abstract, a summary and
    the released code, which is followed here, but for its target head: for batches of several images that starts a patch from
    another image's mean (`start="released"` does so too). Of the paper's text: `loss_name="l2"`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "DMT-JEPA: Discriminative Masked Targets for Joint-Embedding Predictive Architecture", 2024, "arxiv.org/abs/2405.17995"
    )

    neighbours: int = 4
    """k."""
    window: int = 3
    """Side of the square of patches around a patch from which the neighbours are taken."""
    wrap: bool = True
    """The grid is a torus (as released): opposite borders are neighbours. False: a window ends at the border."""
    head: Aggregation = field(default_factory=Aggregation)
    target_head: bool = True
    """False: I-JEPA's own targets, with the context head (an ablation)."""
    context_head: bool = True
    """False: the context goes to the predictor as it is (an ablation)."""
    start: str = "mean"
    """What the aggregation of a target starts from, and keeps through its residual path. "mean": of the patch's image; "released":
    row (image b, patch n) of a batch of B starts from the mean of image (b N + n) mod B; "zero": neighbours alone (an ablation)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1 or self.neighbours > self.window**2 - 1:
            most = self.window**2 - 1
            raise ConfigError(
                f"neighbours={self.neighbours} must lie in 1 to {most}, the patches of window={self.window} around one"
            )
        choices(self, start=STARTS)
        if self.window < 3 or self.window % 2 == 0:
            raise ConfigError(f"window={self.window} must be odd and at least 3")

    def targets(self, batch: Batch, now: Now) -> Float[Array, "b n d"]:
        features = super().targets(batch, now)
        return self.aggregate(features, self._grid(batch["images"])) if self.target_head else features

    def aggregate(self, features: Float[Array, "b n d"], grid: tuple[int, int]) -> Float[Array, "b n d"]:
        """The targets of all patches from their features."""
        b, n, _ = features.shape
        ids, valid = most_similar(features, *window_neighbours(grid, self.window, self.wrap), self.neighbours)
        start = features.mean(1, keepdims=True)
        if self.start == "released":
            start = start[:, 0][jnp.arange(b * n).reshape(b, n) % b]
        elif self.start == "zero":
            start = jnp.zeros_like(start)
        return self.head.neighbours(features, ids, valid, start)

    def _refine(self, z: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None) -> Float[Array, "b n d"]:
        return self.head.context(z, mask) if self.context_head else z
