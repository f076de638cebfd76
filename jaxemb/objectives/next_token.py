"""A causal language model: predict every token of a sequence from those before it."""

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
from jaxemb.nn.pooled import wanted
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import Objective, allowed, placed, refuse_packed, tower
from jaxemb.ops.allow import predicted
from jaxemb.ops.dtypes import wide
from jaxemb.ops.rows import by_rows
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.token import Token
from jaxemb.posemb.sincos import SinCos
from jaxemb.types import Batch, Features, Loss, Now


def decoder(**fields: Any) -> Transformer:
    """A causal transformer on bytes, unless `fields` say otherwise."""
    return Transformer(**{"stem": Tokens(256), "pos": SinCos(axes=1), "causal": True} | fields)


class NextToken(Objective):
    """Cross-entropy of the next token, in nats: a row of n tokens gives n - 1 predictions.

        p(x_t+1 | x_1 .. x_t) = softmax(E z_t),   loss = -mean_t log p(x_t+1),   t = 1 .. n - 1

    z (b n d) are the features of the encoder, E (v, d) is the table of its stem (Press & Wolf 2017), or with `tied=False` a Dense
    head of its own. Where the batch holds `mask` (b n), padding is neither seen nor predicted; `segments` (b n) are texts packed
    into one row, that neither see nor predict each other (0: padding), and `positions` (b n) where their tokens are.
    `bits_per_token`: the loss in bits.
    """

    encoder: Transformer = field(default_factory=decoder)
    """Causal, with the stem `Tokens`; its `vocabulary` is the number of classes."""
    tied: bool = True
    """Predict with the table that embeds the tokens; False: `head/kernel` (d, v) and `head/bias` (v)."""
    pooling: Pooling = field(default_factory=lambda: Token(last=True))
    """Of the features, for `encode`: the last token alone has seen the whole sequence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.encoder.causal:
            raise ConfigError("NextToken needs an encoder with causal=True: otherwise a token sees the one it is to predict")
        if not isinstance(self.encoder.stem, Tokens):
            raise ConfigError(f"NextToken needs an encoder of token ids, its stem is {type(self.encoder.stem).__name__}")

    def setup(self) -> None:
        if not self.tied:
            self.head = Dense(self._vocabulary)

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        nll = self._nll(batch, train=True)
        counted = predicted(batch).astype(nll.dtype)
        weight = counted.sum()
        value = (nll * counted).sum() / jnp.maximum(weight, 1)
        return Loss(value, weight, {"bits_per_token": value / np.log(2)})

    def logits(self, batch: Batch, *, train: bool = False) -> Float[Array, "b n v"]:
        """Of the token that follows each one; those of the last token are for going on with the sequence."""
        z = self._features(batch, train).tokens
        if not self.tied:
            return self.head(z)
        table = self.encoder.variables["params"]["stem"]["embedding"]  # after the encoder ran, so that `init` has made it
        return by_rows(jnp.einsum("bnd,vd->bnv", z, table.astype(z.dtype), preferred_element_type=wide(z)))

    def nll(self, batch: Batch) -> Float[Array, "b m"]:
        """-log p of each token but the first, in nats (m = n - 1); 0 where it is padding. Deterministic."""
        nll = self._nll(batch, train=False)
        return nll * predicted(batch).astype(nll.dtype)

    def features(self, batch: Batch, role: str = "document") -> Features:
        return self._features(tower(batch, role), train=False)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        batch = tower(batch, role)
        refuse_packed(batch)
        return self.pooling(self.features(batch))

    @property
    def _vocabulary(self) -> int:
        stem: Any = self.encoder.stem
        return stem.vocabulary

    def _nll(self, batch: Batch, train: bool) -> Float[Array, "b m"]:
        # All n tokens go in though the last predicts nothing: a length that is a round number suits the attention kernels.
        logits = self.logits(batch, train=train)[:, :-1]
        log_p = jax.nn.log_softmax(logits.astype(wide(logits)))
        return -jnp.take_along_axis(log_p, batch["tokens"][:, 1:, None], axis=-1)[..., 0]

    def _features(self, batch: Batch, train: bool) -> Features:
        if "tokens" not in batch:
            raise ConfigError(f"NextToken reads 'tokens', which are not in the batch; it holds {', '.join(sorted(batch))}")
        told = {"pos": placed(batch), "allow": allowed(batch), **wanted(self.pooling, self.encoder)}
        return self.encoder(batch["tokens"], **told, train=train)
