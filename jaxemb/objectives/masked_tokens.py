"""Masked language modelling: hide some tokens of a text and predict them from all others."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError
from jaxemb.layers.token_head import TokenHead
from jaxemb.nn.pooled import wanted
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import Objective, allowed, placed, refuse_packed, tower
from jaxemb.ops.draws import Draws
from jaxemb.ops.dtypes import wide
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.sincos import SinCos
from jaxemb.preprocess.base import DataError
from jaxemb.token_masks.base import TokenMasks
from jaxemb.token_masks.random_tokens import RandomTokens
from jaxemb.types import Batch, Features, Loss, Now, Paper


def encoder(**fields: Any) -> Transformer:
    """A transformer on bytes and a mask token, unless `fields` say otherwise."""
    return Transformer(**{"stem": Tokens(257), "pos": SinCos(axes=1)} | fields)


class MaskedTokens(Objective):
    """Cross-entropy of hidden tokens, in nats (BERT, Devlin et al. 2018), with masks drawn anew at every epoch (RoBERTa, 2019).

        p(x_t | rest) = softmax(E head(z_t)),   loss = -mean over hidden t of log p(x_t | rest)

    Of the hidden tokens `replace` = (.8, .1) become the mask token and a random one, and the rest stay as they are. z (b n d) are
    the encoder's features of the changed text, E is the table of its stem, or with `tied=False` a matrix of the head's own. Padding
    (`mask`, `segments`) and the ids `special` are never hidden. `weight` is the number of hidden tokens, so that batches on many
    devices or in parts give the mean over all of them.

    The host draws `masked` (b k) and `masked_mask`, places and which of them are none, and `changed` (b n), the ids that go in.
    `accuracy`: of the hidden tokens.
    """

    paper: ClassVar[Paper | None] = Paper(
        "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", 2018, "arxiv.org/abs/1810.04805"
    )

    encoder: Transformer = field(default_factory=encoder)
    """Not causal, with the stem `Tokens`: a pretrained one as well (`FromPretrained`), with the ids of `mask_ids(tokenizer)`."""
    masks: TokenMasks = field(default_factory=RandomTokens)
    mask: int = 256
    """Id of the mask token."""
    special: tuple[int, ...] = ()
    """Ids that are neither hidden nor put in at random, such as [CLS] and [SEP]."""
    vocabulary: int | None = None
    """Ids that the tokenizer has, where the table has more rows (a multiple of 64, a mask token): those are no classes and never
    put in at random. None: the table's rows."""
    replace: tuple[float, float] = (0.8, 0.1)
    """Shares of the hidden tokens that become the mask token, and a random one."""
    tied: bool = True
    """Predict with the table that embeds the tokens; False: with `head/out` (v, d)."""
    passes: int | None = 7
    """Of `recovered`: hides one token in so many at a time, about the usual share. None: one token of a row at a time, in as many
    passes as there are tokens (pseudo-perplexity, Salazar et al. 2020)."""
    pooling: Pooling = field(default_factory=Mean)
    """Of the features, for `encode`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        name, stem = type(self).__name__, self.encoder.stem
        if self.encoder.causal:
            raise ConfigError(f"{name} needs an encoder with causal=False: a hidden token is predicted from both sides")
        if not isinstance(stem, Tokens):
            raise ConfigError(f"{name} needs an encoder of token ids, its stem is {type(stem).__name__}")
        if not 0 <= self.mask < stem.vocabulary:
            raise ConfigError(
                f"mask={self.mask} is no row of the stem's table, which has vocabulary={stem.vocabulary}: give it one row more "
                "than the tokenizer has ids, or name the tokenizer's own mask token"
            )
        if self.vocabulary is not None and not 1 <= self.vocabulary <= stem.vocabulary:
            raise ConfigError(f"vocabulary={self.vocabulary} must be from 1 to the {stem.vocabulary} rows of the stem's table")
        if min(self.replace) < 0 or sum(self.replace) > 1:
            raise ConfigError(
                f"replace={self.replace} are two shares of at least 0 and together at most 1: mask token, random token"
            )
        if self.passes is not None and self.passes < 1:
            raise ConfigError(f"passes must be at least 1, or None for one token at a time, is {self.passes}")

    def setup(self) -> None:
        self.head = TokenHead(self._classes, self.encoder.width, self.encoder.stem_width)

    # ---- on the host ------------------------------------------------------------------------------------------------------------

    def prepare(self, batch: dict[str, Any], draws: Draws) -> dict[str, Any]:
        tokens = tokens_of(self, batch)
        drawn = self.masks(np.asarray(self.free(batch)), draws, batch.get("words"))
        return {**batch, **drawn, "changed": self.change(tokens, drawn["masked"], drawn["masked_mask"], draws)}

    def change(
        self, tokens: Int[np.ndarray, "b n"], masked: Int[np.ndarray, "b k"], present: Bool[np.ndarray, "b k"], draws: Draws
    ) -> Int[np.ndarray, "b n"]:
        """The ids that go in: at the places `masked` the mask token, a random one or the same, by `replace`."""
        usual = np.setdiff1d(np.arange(self._classes, dtype=tokens.dtype), [self.mask, *self.special])
        own = np.take_along_axis(tokens, masked, axis=1)
        how, other = draws.random(masked.shape[1]), usual[draws.integers(0, len(usual), masked.shape[1])]
        hide, swap = self.replace
        new = np.where(how < hide, self.mask, np.where(how < hide + swap, other, own)).astype(tokens.dtype)
        changed, rows = tokens.copy(), np.broadcast_to(np.arange(len(tokens))[:, None], masked.shape)
        changed[rows[present], masked[present]] = new[present]
        return changed

    def free(self, batch: Batch) -> Any:
        """Which tokens can be hidden, in arrays of NumPy or JAX: no padding and not special. (b n)"""
        tokens = batch["tokens"]
        free = tokens != self.mask
        free = free & batch["mask"] if "mask" in batch else free
        free = free & (batch["segments"] > 0) if "segments" in batch else free
        for other in self.special:
            free = free & (tokens != other)
        return free

    # ---- on the devices ---------------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        z = self._features(batch, batch["changed"], train=True).tokens
        return self.compared(self.logits(z, batch["masked"]), batch)

    def compared(self, logits: Float[Array, "b k v"], batch: Batch, name: str = "masked") -> Loss:
        """Cross-entropy at the places `name` of a batch, those that its mask leaves out not counted."""
        own = jnp.take_along_axis(batch["tokens"], batch[name], axis=1)
        nll = negative_log_likelihood(logits, own)
        counted = batch[f"{name}_mask"].astype(nll.dtype)
        weight = counted.sum()
        right = (logits.argmax(-1) == own).astype(nll.dtype)
        value, accuracy = ((x * counted).sum() / jnp.maximum(weight, 1) for x in (nll, right))
        return Loss(value, weight, {"accuracy": accuracy})

    def logits(self, z: Float[Array, "b n d"], places: Int[Array, "b k"]) -> Float[Array, "b k v"]:
        """Of the tokens at these places of a row, from the features of all: the head is computed for them alone."""
        picked = jnp.take_along_axis(z, places[:, :, None], axis=1)
        # The table after the encoder ran, so that `init` has made it.
        return self.head(picked, self.encoder.variables["params"]["stem"]["embedding"] if self.tied else None)

    def recovered(self, batch: Batch) -> dict[str, Array]:
        """Each token, when it is hidden with others far from it: `nll` -log p in nats, `right` whether it is the most probable,
        `counted` where it can be hidden; (b n) each, 0 elsewhere. Deterministic; every token is hidden once."""
        tokens, free = batch["tokens"], self.free(batch)
        n = tokens.shape[1]
        passes = min(self.passes or n, n)
        rank = jnp.cumsum(free, axis=1) - 1

        def once(turn: Array) -> tuple[Array, Array]:
            hidden = free & (rank % passes == turn)
            places = jnp.argsort(~hidden, axis=1, stable=True)[:, : -(-n // passes)]
            changed = jnp.where(hidden, jnp.asarray(self.mask, tokens.dtype), tokens)
            logits = self.logits(self._features(batch, changed, train=False).tokens, places)
            own = jnp.take_along_axis(tokens, places, axis=1)
            nll, right = negative_log_likelihood(logits, own), logits.argmax(-1) == own
            rows = jnp.arange(len(tokens))[:, None]
            back = [jnp.zeros((len(tokens), n), jnp.float32).at[rows, places].set(x.astype(jnp.float32)) for x in (nll, right)]
            return jnp.where(hidden, back[0], 0), jnp.where(hidden, back[1], 0)

        nll, right = jax.lax.map(once, jnp.arange(passes))
        return {"nll": nll.sum(0), "right": right.sum(0), "counted": free.astype(jnp.float32)}

    def features(self, batch: Batch, role: str = "document") -> Features:
        batch = tower(batch, role)
        return self._features(batch, tokens_of(self, batch), train=False)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        batch = tower(batch, role)
        refuse_packed(batch)
        return self.pooling(self.features(batch))

    @property
    def _classes(self) -> int:
        stem: Any = self.encoder.stem
        return stem.vocabulary if self.vocabulary is None else self.vocabulary

    def _features(self, batch: Batch, ids: Array, train: bool, layers: tuple[int, ...] = ()) -> Features:
        told: dict[str, Any] = {"pos": placed(batch), "types": batch.get("types"), "allow": allowed(batch)}
        asked: dict[str, Any] = {"layers": layers} if layers else wanted(self.pooling, self.encoder)
        return self.encoder(ids, **told, **asked, train=train)


def tokens_of(owner: Any, batch: Batch) -> Any:
    """The ids of a batch (b n)."""
    if "tokens" not in batch:
        raise ConfigError(f"{type(owner).__name__} reads 'tokens', which are not in the batch; it holds {', '.join(sorted(batch))}")
    tokens = batch["tokens"]
    if isinstance(tokens, np.ndarray):  # on the host, where numbers are known
        those = tokens[np.asarray(owner.free(batch))]
        if those.size and not 0 <= those.min() <= those.max() < owner._classes:
            raise DataError(
                f"{type(owner).__name__} predicts the ids 0 to {owner._classes - 1} and the batch has {those.min()} to "
                f"{those.max()}: encoder.stem.vocabulary, or vocabulary, is that of another tokenizer"
            )
    return tokens


def negative_log_likelihood(logits: Float[Array, "b k v"], ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    """-log softmax at the ids, in float32 or better."""
    log_p = jax.nn.log_softmax(logits.astype(wide(logits)))
    return -jnp.take_along_axis(log_p, ids[:, :, None], axis=-1)[..., 0]
