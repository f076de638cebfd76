"""Supervised classification: the baseline that every pre-training is compared with."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.nn.dense import Dense
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import Objective
from jaxemb.ops.dtypes import wide
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.types import Batch, Features, Loss


class Classify(Objective):
    """Cross-entropy of a linear head on the pooled features, with label smoothing (Szegedy et al. 2016).

        loss = -mean_i sum_c q_ic log softmax(W z_i + a)_c,   q = (1 - smoothing) onehot(label) + smoothing / classes

    Where the batch holds `labels_soft` (b v), from mixup or cutmix, they stand in for the one-hot rows.
    """

    encoder: nn.Module = field(default_factory=Transformer)
    """Anything that returns `Features`: Transformer, ResNet."""
    pooling: Pooling = field(default_factory=Mean)
    classes: int = 10
    label: str = "labels"
    """Which array of the batch holds the class numbers."""
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"smoothing must be in [0, 1), is {self.smoothing}")
        if self.classes < 2:
            raise ConfigError(f"classes must be at least 2, is {self.classes}")

    def setup(self) -> None:
        # Zeros: the first loss is log(classes) whatever the features, and the first gradient reaches the head alone.
        self.head = Dense(self.classes, kernel_init="zeros")

    def loss(self, batch: Batch, targets: Any) -> Loss:
        if self.label not in batch:
            raise ConfigError(f"label={self.label!r} is not in the batch, which holds {', '.join(sorted(batch))}")
        logits = self.logits(batch, train=True)
        logits = logits.astype(wide(logits))
        labels = batch[self.label]
        hard = jax.nn.one_hot(labels, self.classes, dtype=logits.dtype)
        soft = batch["labels_soft"].astype(logits.dtype) if "labels_soft" in batch else hard
        soft = (1 - self.smoothing) * soft + self.smoothing / self.classes
        value = -(soft * jax.nn.log_softmax(logits)).sum(-1).mean()
        return Loss(value, {"accuracy": (logits.argmax(-1) == labels).astype(logits.dtype).mean()}, {})

    def logits(self, batch: Batch, *, train: bool = False) -> Float[Array, "b v"]:
        return self.head(self.pooling(self._features(batch, train)))

    def features(self, batch: Batch) -> Features:
        return self._features(batch, train=False)

    def encode(self, batch: Batch) -> Float[Array, "b d"]:
        """The pooled features below the head."""
        return self.pooling(self.features(batch))

    def _features(self, batch: Batch, train: bool) -> Features:
        encoder: Any = self.encoder
        return encoder(batch["images"], train=train)
