"""Distilled sentence embeddings: a small head over two vectors learns from labels and from the logits of a cross-encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.nn.base import Encoder
from jaxemb.nn.pair_head import PairHead
from jaxemb.nn.pooled import counted, features_of, wanted
from jaxemb.objectives.base import refuse_packed, tower
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.objectives.pairs import INPUTS, POSITIVE, QUERY, of_bytes
from jaxemb.ops.dtypes import wide
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.types import Batch, Features, Loss, Now, Paper

TASKS = ("classes", "binary", "regression")


class PairScores(Contrastive):
    """loss = (1 - alpha) task + alpha mean_b sum_c (z_bc - t_bc)^2, z the head's logits of a pair, t the teacher's (DSE).

    The batch is nested by `query` and `positive`, with `labels` (b), class numbers, or `scores` (b) of a regression, and with
    alpha above 0 `teacher` (b c), logits before any softmax. A label of -1 is unknown: such a pair adds nothing to the task, and is
    for the teacher alone. Both terms are means over all rows. Texts are encoded alone, so their vectors can be kept; the score is
    no product, so no index finds the nearest.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Scalable Attentive Sentence-Pair Modeling via Distilled Sentence Embedding", 2020, "arxiv.org/abs/1908.05161"
    )

    encoder: Encoder = field(default_factory=of_bytes)
    pooling: Pooling = field(default_factory=Mean)
    head: PairHead = field(default_factory=PairHead)
    task: str = "binary"
    """classes: cross-entropy of as many as the head has; binary, regression: of a head of one, cross-entropy of its sigmoid, or
    squared error."""
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, task=TASKS)
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"PairScores: alpha must be in 0 to 1, is {self.alpha}")
        classes = getattr(self.head, "classes", 1)
        if (classes == 1) == (self.task == "classes"):
            raise ConfigError(f"PairScores: task={self.task!r} with a head of {classes} classes; 'classes' has several, others one")

    def towers(self, batch: Batch) -> Mapping[str, Batch]:
        parts = {role: batch[role] for role in (QUERY, POSITIVE) if isinstance(batch.get(role), Mapping)}
        if parts and len(parts) < 2:
            raise ConfigError(f"PairScores compares 'query' and 'positive'; the batch holds {', '.join(sorted(batch))}")
        parts = parts or {QUERY: batch, POSITIVE: batch}
        return {role: {name: x for name, x in part.items() if name in INPUTS} for role, part in parts.items()}

    def embed(self, batch: Batch, role: str = QUERY, train: bool = False) -> Float[Array, "b d"]:
        refuse_packed(batch)
        f = features_of(self.encoder, batch, **wanted(self.pooling, self.encoder), train=train)
        z = self.pooling(counted(f, batch))
        return z.astype(wide(z))

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        logits = self.head(z[QUERY], z[POSITIVE])
        label = "scores" if self.task == "regression" else "labels"
        needed = [*([label] if self.alpha < 1 else []), *(["teacher"] if self.alpha > 0 else [])]
        if missing := [name for name in needed if name not in batch]:
            raise ConfigError(f"PairScores reads {', '.join(missing)}, not in the batch, which holds {', '.join(sorted(batch))}")
        if self.alpha > 0 and batch["teacher"].shape != logits.shape:
            raise ConfigError(f"PairScores: teacher has the shape {batch['teacher'].shape}, and the logits {logits.shape}")
        terms: dict[str, Array] = {}
        if self.alpha < 1:
            terms["task"] = self._task(logits, batch[label]).mean()
        if self.alpha > 0:
            terms["distil"] = jnp.square(logits - batch["teacher"].astype(logits.dtype)).sum(1).mean()
        each = {"task": 1 - self.alpha, "distil": self.alpha}
        value = jnp.stack([each[name] * x for name, x in terms.items()]).sum()
        return Loss(value, jnp.asarray(len(logits), logits.dtype), logs=terms)

    def _task(self, logits: Float[Array, "b c"], labels: Array) -> Float[Array, " b"]:
        if self.task == "regression":
            return jnp.square(logits[:, 0] - labels.astype(logits.dtype))
        if self.task == "binary":
            nll = jax.nn.softplus(jnp.where(labels > 0, -logits[:, 0], logits[:, 0]))
        else:
            hot = jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
            nll = -(hot * jax.nn.log_softmax(logits)).sum(1)
        nll = jnp.where(labels < max(2, logits.shape[1]), nll, jnp.nan)  # no class: it must not cost 0 or pass for another one
        return jnp.where(labels >= 0, nll, jnp.zeros_like(nll))

    def logits(self, batch: Batch) -> Float[Array, "b c"]:
        """Of the pairs of a batch."""
        parts = self.towers(batch)
        return self.head(*(self.embed(parts[role], role) for role in (QUERY, POSITIVE)))

    def features(self, batch: Batch, role: str = "document") -> Features:
        part = _asked(batch, role)
        refuse_packed(part)
        return features_of(self.encoder, part)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        return self.embed(_asked(batch, role), role)


def _asked(batch: Batch, role: str) -> Batch:
    """A document is the second of a pair, where the batch has one."""
    return tower(batch, POSITIVE if role == "document" and isinstance(batch.get(POSITIVE), Mapping) else role)
