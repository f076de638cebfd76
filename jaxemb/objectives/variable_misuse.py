"""Find a variable that is used in another's place, and the one that belongs there."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.layers.dense import Dense
from jaxemb.nn.pooled import wanted
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import Objective, allowed, placed, refuse_packed, tower
from jaxemb.objectives.masked_tokens import encoder
from jaxemb.ops.draws import Draws
from jaxemb.ops.pointer import MASKINGS, location_loss, pointer_log_probs, repair_loss
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.first import First
from jaxemb.preprocess.base import DataError
from jaxemb.types import Averaged, Batch, Features, Loss, Now, Paper

NEEDED = ("candidates", "error", "repairs")


class VariableMisuse(Objective):
    """Localise and repair, by two pointers over the positions of a function (CuBERT, Kanade et al., ICML 2020), in nats.

        [u v] = H W (n 2),   P_loc = softmax(u), P_rep = softmax(v) over the candidates
        loss  = mean over rows of -log P_loc(error) - sum over repairs t of log P_rep(t)

    The batch holds `tokens` (b n), `candidates` (b n) bool, first pieces of variables and position 0, `error` (b), the position of
    the misuse and 0 where there is none, and `repairs` (b n) bool, the positions of the right variable, none where there is no bug.
    Logged: `clean`, share of rows without a bug called so; `located`, of rows with one whose position is found; `repaired`, of
    those whose repair is found as well (`preprocess/variable_misuse.py` makes such rows of source text).
    """

    paper: ClassVar[Paper | None] = Paper(
        "Learning and Evaluating Contextual Embedding of Source Code", 2020, "arxiv.org/abs/2001.00059"
    )

    encoder: Transformer = field(default_factory=encoder)
    masking: str = "exclude"
    """Of what is no candidate: "exclude" from the softmax, or "multiply" its logit by 0, as published code does."""
    each: bool = True
    """Sum -log P over the right positions, as published; False: -log of their mass together."""
    pooling: Pooling = field(default_factory=First)
    """Of the features, for `encode`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, masking=MASKINGS)
        if not isinstance(self.encoder.stem, Tokens):
            raise ConfigError(f"VariableMisuse needs an encoder of token ids, its stem is {type(self.encoder.stem).__name__}")

    def setup(self) -> None:
        self.head = Dense(2, use_bias=False)

    def prepare(self, batch: dict[str, Any], draws: Draws) -> dict[str, Any]:
        """The batch as it is; what would cost an endless loss is named here, on the host."""
        if self.masking == "exclude" and all(name in batch for name in NEEDED):
            candidates, error = np.asarray(batch["candidates"]), np.asarray(batch["error"])
            outside = ~candidates[np.arange(len(error)), error] | (np.asarray(batch["repairs"]) & ~candidates).any(1)
            if outside.any():
                at = int(outside.argmax())
                raise DataError(
                    f"VariableMisuse: row {at} of the batch has an error ({error[at]}) or a repair at a place that is no "
                    "candidate; candidates are the first pieces of variables, and position 0 for rows without a bug"
                )
        return batch

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        if missing := [name for name in NEEDED if name not in batch]:
            raise ConfigError(
                f"VariableMisuse reads {', '.join(missing)}, not in the batch, which holds {', '.join(sorted(batch))}"
            )
        log_probs = self.log_probs(batch, train=True)
        losses = location_loss(log_probs, batch["error"]) + repair_loss(log_probs, batch["repairs"], each=self.each)
        found = self._judged(log_probs, batch)
        buggy = (batch["error"] > 0).astype(losses.dtype)
        shares = {
            "located": (found["located"], buggy),
            "repaired": (found["repaired"], buggy),
            "clean": (found["located"], 1 - buggy),
        }
        logs = {name: Averaged((x * of).sum() / jnp.maximum(of.sum(), 1), of.sum()) for name, (x, of) in shares.items()}
        return Loss(losses.mean(), jnp.asarray(len(losses), losses.dtype), logs)

    def log_probs(self, batch: Batch, *, train: bool = False) -> Float[Array, "b 2 n"]:
        """Of both pointers."""
        return pointer_log_probs(self.head(self._features(batch, train).tokens), batch["candidates"], self.masking)

    def answers(self, batch: Batch) -> dict[str, Array]:
        """`located` and `repaired` (b), 1 where the most probable position is right; a row without a bug has nothing to repair."""
        return self._judged(self.log_probs(batch), batch)

    def _judged(self, log_probs: Float[Array, "b 2 n"], batch: Batch) -> dict[str, Array]:
        where, repair = log_probs[:, 0].argmax(-1), log_probs[:, 1].argmax(-1)
        located = where == batch["error"]
        right = jnp.take_along_axis(batch["repairs"], repair[:, None], axis=1)[:, 0] | (batch["error"] == 0)
        return {"located": located.astype(log_probs.dtype), "repaired": (located & right).astype(log_probs.dtype)}

    def features(self, batch: Batch, role: str = "document") -> Features:
        return self._features(tower(batch, role), train=False)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        batch = tower(batch, role)
        refuse_packed(batch)
        return self.pooling(self.features(batch))

    def _features(self, batch: Batch, train: bool) -> Features:
        told: dict[str, Any] = {"pos": placed(batch), "types": batch.get("types"), "allow": allowed(batch)}
        return self.encoder(batch["tokens"], **told, **wanted(self.pooling, self.encoder), train=train)
