"""Supervised classification: the baseline that every pre-training is compared with."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.layers.dense import Dense
from jaxemb.nn.base import Encoder
from jaxemb.nn.pooled import wanted
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import Objective, allowed, placed, refuse_mask, refuse_packed, tower
from jaxemb.ops.dtypes import wide
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.types import Averaged, Batch, Features, Loss, Now


class Classify(Objective):
    """Cross-entropy of a linear head on the pooled features, with label smoothing (Szegedy et al. 2016).

        loss = -mean_i sum_c q_ic log softmax(W z_i + a)_c,   q = (1 - smoothing) onehot(label) + smoothing / classes

    Where the batch holds `labels_soft` (b v), from mixup or cutmix, they stand in for the one-hot rows. Of several labels each
    has a head of its own, and the loss is the mean over all labels of all rows. A label of -1 is unknown, and not counted.

    Packed rows (`segments` b n of 1, 2, ..., 0 for padding) have labels b s, one for each of at most s texts of a row.
    """

    encoder: Encoder = field(default_factory=Transformer)
    pooling: Pooling = field(default_factory=Mean)
    classes: int | tuple[int, ...] = 10
    """How many; of several labels, a number for each."""
    label: str | tuple[str, ...] = "labels"
    """Which array of the batch holds the class numbers, or which ones."""
    smoothing: float = 0.0
    inputs: str = "images"
    """Which array of the batch the encoder reads: "tokens" of sequences."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"smoothing must be in [0, 1), is {self.smoothing}")
        if len(self._classes) != len(self._labels):
            raise ConfigError(f"classes={self.classes} must have a number for each label, which are {self.label}")
        if min(self._classes) < 2:
            raise ConfigError(f"classes must be at least 2, is {self.classes}")

    def setup(self) -> None:
        # Zeros: the first loss is log(classes) whatever the features, and the first gradient reaches the head alone.
        self.head = Dense(sum(self._classes), kernel_init="zeros")

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        for name in self._labels:
            if name not in batch:
                raise ConfigError(f"label={name!r} is not in the batch, which holds {', '.join(sorted(batch))}")
        if "labels_soft" in batch and len(self._labels) > 1:
            raise ConfigError(f"mixup and cutmix mix one label, not {self.label}")
        texts = batch[next(iter(self._labels))].shape[1] if "segments" in batch else None
        parts = jnp.split(self._scores(self._pooled(batch, True, texts)), np.cumsum(self._classes)[:-1], axis=-1)
        losses, right, counts = [], {}, {}
        for name, logits in zip(self._labels, parts, strict=True):
            logits = logits.astype(wide(logits))
            label = batch[name].reshape(-1)
            hard = jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
            soft = batch["labels_soft"].astype(logits.dtype) if "labels_soft" in batch else hard
            soft = (1 - self.smoothing) * soft + self.smoothing / logits.shape[-1]
            known = (label >= 0).astype(logits.dtype)
            losses.append(-((soft * jax.nn.log_softmax(logits)).sum(-1) * known).sum())
            right[name] = ((logits.argmax(-1) == label).astype(logits.dtype) * known).sum()
            counts[name] = known.sum()
        weight = jnp.stack([*counts.values()]).sum()
        value, accuracy = (jnp.stack([*sums]).sum() / jnp.maximum(weight, 1) for sums in (losses, right.values()))
        each = {f"accuracy_{name}": Averaged(right[name] / jnp.maximum(n, 1), n) for name, n in counts.items()}
        return Loss(value, weight, {"accuracy": accuracy, **(each if len(right) > 1 else {})})

    def logits(self, batch: Batch, *, train: bool = False) -> Float[Array, "b v"]:
        """Of all labels, one after the other."""
        return self._scores(self._pooled(batch, train))

    def _scores(self, z: Float[Array, "b d"]) -> Float[Array, "b v"]:
        """The logits of pooled features, in training as in evaluation; a member with another head overrides this."""
        return self.head(z)

    @property
    def _labels(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def _classes(self) -> tuple[int, ...]:
        return (self.classes,) if isinstance(self.classes, int) else self.classes

    def features(self, batch: Batch, role: str = "document") -> Features:
        return self._features(tower(batch, role), train=False)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        """The pooled features below the head."""
        return self._pooled(tower(batch, role), train=False)

    def _pooled(self, batch: Batch, train: bool, texts: int | None = None) -> Float[Array, "_ d"]:
        """A row each; of packed rows one for each of `texts` texts of a row."""
        if texts is None:
            refuse_packed(batch)
            return self.pooling(self._features(batch, train))
        f = self._features(batch, train)
        b, n, d = f.tokens.shape
        own = batch["segments"][:, None] == jnp.arange(1, texts + 1)[None, :, None]
        tokens = jnp.broadcast_to(f.tokens[:, None], (b, texts, n, d)).reshape(-1, n, d)
        return self.pooling(Features(tokens, (own & f.mask[:, None]).reshape(-1, n)))

    def _features(self, batch: Batch, train: bool) -> Features:
        if self.inputs not in batch:
            raise ConfigError(f"inputs={self.inputs!r} is not in the batch, which holds {', '.join(sorted(batch))}")
        encoder: Any = self.encoder
        if isinstance(encoder, Transformer):
            told: dict[str, Any] = {"pos": placed(batch), "types": batch.get("types"), "allow": allowed(batch)}
            return encoder(batch[self.inputs], **told, **wanted(self.pooling, encoder), train=train)
        refuse_mask(self, batch)
        return encoder(batch[self.inputs], train=train)
