"""What objectives share that compare views of an image with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.contrastive.nt_xent import NTXent
from jaxemb.layers.projector import Projector
from jaxemb.nn.base import Encoder
from jaxemb.nn.pooled import wanted
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import refuse_mask, tower
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.ops.draws import Draws
from jaxemb.ops.dtypes import wide
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.types import Batch, Features, Loss, Now
from jaxemb.views.base import Views
from jaxemb.views.crops import CropViews


class _TwoViews(Contrastive):
    """views -> encoder -> pooling, in pieces if so wished; then the projector on all views of the batch, and the loss.

    The batch holds `images` (b H W c) without augmentation, and from `prepare` the seeds of the views, `view_seeds` (b m).
    `encode` gives the pooled features below the projector, `project` what the projector makes of them.
    """

    pair: ClassVar[bool] = True
    """Whether there must be two views exactly."""

    encoder: Encoder = field(default_factory=Transformer)
    pooling: Pooling = field(default_factory=Mean)
    projector: Projector = field(default_factory=Projector)
    views: Views = field(default_factory=CropViews)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pair and self.views.count != 2:
            raise ConfigError(f"{type(self).__name__} compares two views, not views.count={self.views.count}")

    def prepare(self, batch: dict[str, np.ndarray], draws: Draws) -> dict[str, np.ndarray]:
        refuse_mask(self, batch)
        return {**batch, "view_seeds": self.views.seeds(draws)}

    def towers(self, batch: Batch) -> dict[str, Batch]:
        return {"views": {name: batch[name] for name in ("images", "view_seeds")}}

    def embed(self, batch: Batch, role: str = "views", train: bool = False) -> Float[Array, "b m d"]:
        """The pooled features of every view."""
        return self._pooled(self.views(batch["images"], batch["view_seeds"]), train)

    def project(self, batch: Batch) -> Float[Array, "b k"]:
        """The projections of the images themselves, by the running statistics: what RankMe is defined on. Deterministic."""
        return self.projector(self.encode(batch))

    def features(self, batch: Batch, role: str = "document") -> Features:
        batch = tower(batch, role)
        refuse_mask(self, batch)
        encoder: Any = self.encoder
        return encoder(batch["images"], **wanted(self.pooling, encoder), train=False)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        """The pooled features below the projector."""
        return self.pooling(self.features(batch, role))

    def projected(self, z: Float[Array, "b m d"]) -> Float[Array, "b m k"]:
        """All views at once through the projector in training: its batch norm sees them as one batch."""
        if len(z) < 2 and not self.is_initializing():
            raise ConfigError(
                f"{type(self).__name__} compares the examples of a batch: it needs at least 2 in a (micro-)batch, not {len(z)}"
            )
        return each_view(self.projector, z)

    def _pooled(self, views: Float[Array, "b m h w c"], train: bool) -> Float[Array, "b m d"]:
        encoder: Any = self.encoder
        b, m = views.shape[:2]
        z = self.pooling(encoder(views.reshape(b * m, *views.shape[2:]), **wanted(self.pooling, encoder), train=train))
        return z.reshape(b, m, -1).astype(wide(z))


class _Pair(_TwoViews):
    """Two views, compared by a loss of the family `contrastive`."""

    contrast: ContrastiveLoss = NTXent()
    """First views are its queries, second ones its candidates."""

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        rows = self.projected(z["views"])
        loss: Loss = self.contrast(rows[:, 0], rows[:, 1])
        return loss._replace(views={"projections": rows})


def each_view(module: Any, z: Float[Array, "b m d"]) -> Float[Array, "b m k"]:
    """A projector in training on all views at once."""
    return module(z.reshape(-1, z.shape[-1]), train=True).reshape(*z.shape[:2], -1)
