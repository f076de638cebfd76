"""The family of training objectives. One train step (`train/step.py`) serves them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.layers.norms import normalise
from jaxemb.ops.allow import Allow
from jaxemb.ops.draws import Draws
from jaxemb.types import Averaged, Batch, Features, Loss, Now, Paper


class Objective(nn.Module):
    """Owns the encoder and whatever else is trained with it (predictor, head, masks).

    The order of a training step:
        host    batch = objective.prepare(batch, draws)         draws what must have fixed shapes, e.g. masks
        device  targets = objective.targets(batch, now)         run with the EMA parameters, gradient stopped
        device  loss = objective.loss(batch, targets, now)      run with the trained parameters, dropout on
    Evaluation sees `encode` alone.
    """

    paper: ClassVar[Paper | None] = None
    teacher: ClassVar[bool] = False
    """Whether `targets` are those of an average of the parameters, without which the method is another one or collapses."""

    def needs_average(self) -> bool:
        """Whether an experiment with this objective must keep an average (`ema`); one without is refused."""
        return self.teacher

    def prepare(self, batch: dict[str, Any], draws: Draws) -> dict[str, Any]:
        """Host side, numpy only. What a row draws depends on its place in the global batch and on the step alone (`ops/draws.py`).
        Shapes must be the same at every step, so that nothing recompiles."""
        return batch

    def targets(self, batch: Batch, now: Now) -> Any:
        """What the loss regresses on, if that comes from the (EMA) model itself. None: nothing does."""
        return None

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        """The training loss; random numbers from `self.make_rng("dropout")`, those that `targets` must share from `now.key`."""
        raise TypeError(f"{type(self).__name__} does not define loss")

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        """The embedding of each example: what evaluation and users see. Deterministic. `role` is "query" or "document", for
        objectives that embed the two in different ways; of a batch that is nested by tower, the one to embed (see `tower`)."""
        raise TypeError(f"{type(self).__name__} does not define encode")

    def features(self, batch: Batch, role: str = "document") -> Features:
        """The token features behind `encode`: what pictures and dense evaluations see. Deterministic; `role` as there."""
        raise TypeError(f"{type(self).__name__} does not define features")

    def __call__(self, batch: Batch) -> tuple[Loss, Array]:
        """Touches every parameter; what `init` runs. Packed rows, of which `encode` gives no embedding, are one text to it here."""
        now = Now(jnp.zeros((), jnp.int32), 1, jax.random.key(0))
        whole = {name: x for name, x in batch.items() if name not in ("segments", "positions")}
        return self.loss(batch, self.targets(batch, now), now), self.encode(whole)


def allowed(batch: Batch) -> Allow:
    """What a batch says of its tokens: `mask` (b n), False where one is padding; `segments` (b n), which texts of a packed row they
    belong to, 0 where one is padding."""
    mask, segments = batch.get("mask"), batch.get("segments")
    if segments is not None:
        mask = segments > 0 if mask is None else mask & (segments > 0)
    return Allow(mask, segments)


def placed(batch: Batch) -> Array | None:
    """`positions` (b n) of a batch's tokens as an encoder takes them, b n 1; None: the stem knows where they are."""
    return batch["positions"][:, :, None] if "positions" in batch else None


def refuse_packed(batch: Batch) -> None:
    """Raises where a row holds several texts and one embedding is asked for."""
    if "segments" in batch:
        raise ConfigError("encode gives one embedding a row, and a packed row (segments) holds several texts: unpack them")


def tower(batch: Batch, role: str) -> Batch:
    """The part of a batch nested by tower, `{"query": {...}, "document": {...}}`, that has this role. A batch that is not nested is
    of every role."""
    nested = [name for name, part in batch.items() if isinstance(part, Mapping)]
    if not nested:
        return batch
    if role not in nested:
        raise ConfigError(f"role={role!r} is no tower of the batch, which has {', '.join(sorted(nested))}")
    return batch[role]


def last_layers(encoder: Any, inputs: Array, count: int) -> Float[Array, "b n d"]:
    """The mean of the outputs of a transformer's last layers, each normalised along its features (eps 1e-5)."""
    layers = encoder(inputs, layers=tuple(range(-count, 0))).layers
    return jnp.stack([normalise(x, 1e-5) for x in layers]).mean(0)


def spread(targets: Float[Array, "b n d"]) -> dict[str, Averaged]:
    """Deviation of the targets over images, at one place and feature, and over the patches of an image: both near 0 on collapse."""
    stds = {"target_std": targets.std(0), "target_patch_std": targets.std(1)}
    return {name: Averaged(std.mean(), jnp.asarray(len(targets), std.dtype)) for name, std in stds.items()}


def refuse_mask(owner: Any, batch: Batch) -> None:
    """Raises for a batch that says something of its tokens which this objective would not heed."""
    for name in ("mask", "segments"):
        if name in batch:
            raise ConfigError(
                f"the batch holds {name!r}, which {type(owner).__name__} of {type(owner.encoder).__name__} cannot heed: it would "
                "take padding for content; use an objective and an encoder of token sequences, or data without padding"
            )
