"""Masked auto-encoding at several sizes of one model: each must recover hidden tokens, and the whole text from one vector."""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError
from jaxemb.nn.block import Layers
from jaxemb.objectives.base import allowed, placed
from jaxemb.objectives.masked_tokens import MaskedTokens, negative_log_likelihood, tokens_of
from jaxemb.ops.allow import Allow
from jaxemb.ops.draws import Draws
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.first import First
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.posemb.none import NoPos
from jaxemb.token_masks.base import TokenMasks
from jaxemb.token_masks.whole_words import WholeWords
from jaxemb.types import Batch, Loss, Now, Paper


class TextDecoder(Layers):
    """Blocks on vectors that know their positions already. Parameters: block_i."""

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], allow: Allow, train: bool) -> Float[Array, "b n d"]:
        pos = NoPos()
        places = Places(jnp.arange(x.shape[1])[None, :, None], grid=None, allow=allow, rows=len(x), train=train)
        return self.run_blocks(x, places, pos, given=places, allow=allow)[0]


class MaskedAutoEncoding(MaskedTokens):
    """SMAE, the pre-training of Starbucks (Zhuang et al. 2024): masked tokens and a masked auto-encoder at each of `sizes`; nats.

        for (l, k):  MLM = mean over hidden t of CE(head(H_l[t, :k]), x_t)
                     MAE = mean over the decoder's hidden t of CE(head(D(z; e)[t]), x_t),   z = head.transform(H_l[0, :k])
        loss = mean over texts and sizes of (MLM + MAE) / 2

    H_l are the states after l layers; the head's first layer takes k coordinates by the first k rows of its kernel. e are the
    vectors that the first block gets of the decoder's text, of which a larger share, `decoder_rate`, is hidden, what is hidden of
    the encoder's text among it; z takes the place of the first of them. The means are those of a text, so that batches in parts
    have the loss of the whole. The first token, [CLS] in BERT, is never hidden.

    The host draws what `MaskedTokens` does, and for the decoder `decoder_masked` (b j), `decoder_masked_mask`, `decoder_changed`.
    The paper's decoder is one layer that starts as the encoder's first: `Copied` with copies=(("^encoder/block_0/",
    "decoder/block_0/"),).
    """

    paper: ClassVar[Paper | None] = Paper(
        "Starbucks: Improved Training for 2D Matryoshka Embeddings", 2024, "arxiv.org/abs/2410.13230"
    )

    masks: TokenMasks = field(default_factory=lambda: WholeWords(0.2))
    sizes: tuple[tuple[int, int], ...] = ((2, 32), (4, 64))
    """(layers, coordinates): the paper's are (2, 32), (4, 64), (6, 128), (8, 256), (10, 512), (12, 768)."""
    decoder_rate: float = 0.4
    """Share of the tokens that is hidden from the decoder."""
    decoder_depth: int = 1
    pooling: Pooling = field(default_factory=First)

    def __post_init__(self) -> None:
        super().__post_init__()
        depth, width = self.encoder.depth, self.encoder.width
        if not self.sizes or any(not (1 <= layer <= depth and 1 <= k <= width) for layer, k in self.sizes):
            raise ConfigError(
                f"sizes={self.sizes} are pairs (layers, coordinates), with layers from 1 to the encoder's depth={depth} and "
                f"coordinates from 1 to its width={width}"
            )
        if not self.masks.rate <= self.decoder_rate <= 1:
            raise ConfigError(
                f"decoder_rate={self.decoder_rate} must be from masks.rate={self.masks.rate} to 1: what is hidden from the encoder "
                "is hidden from the decoder as well"
            )
        if self.encoder.stem_width not in (None, width):
            raise ConfigError(f"MaskedAutoEncoding puts a vector of the width, {width}, among those of the table: stem_width=None")
        if type(self.encoder.pos).add is PosEmb.add and not isinstance(self.encoder.pos, NoPos):
            raise ConfigError(
                "MaskedAutoEncoding decodes from vectors to which positions were added, and the positions of its encoder, "
                f"{type(self.encoder.pos).__name__}, add nothing: the decoder would not know the order of the text"
            )
        if self.encoder.class_token or self.encoder.registers:
            raise ConfigError("MaskedAutoEncoding takes the first token for the text's vector: class_token=False and registers=0")

    def setup(self) -> None:
        super().setup()
        blocks = tuple(block.copy(parent=None) for block in self.encoder.blocks[:1])
        self.decoder = TextDecoder(width=self.encoder.width, depth=self.decoder_depth, blocks=blocks)

    def prepare(self, batch: dict[str, Any], draws: Draws) -> dict[str, Any]:
        tokens, words = tokens_of(self, batch), batch.get("words")
        free = np.array(self.free(batch))
        free[:, 0] = False
        wide = dataclasses.replace(self.masks, rate=self.decoder_rate)
        more = wide(free, draws, words)
        among = np.zeros_like(free)
        rows = np.broadcast_to(np.arange(len(free))[:, None], more["masked"].shape)[more["masked_mask"]]
        among[rows, more["masked"][more["masked_mask"]]] = True
        within = dataclasses.replace(self.masks, rate=self.masks.rate / self.decoder_rate)
        length = within.most(wide.most(tokens.shape[1]))  # of a whole row the share would be that of all tokens
        fewer = {name: x[:, :length] for name, x in within(among, draws, words).items()}
        return {
            **batch,
            **fewer,
            "changed": self.change(tokens, fewer["masked"], fewer["masked_mask"], draws),
            **{f"decoder_{name}": x for name, x in more.items()},
            "decoder_changed": self.change(tokens, more["masked"], more["masked_mask"], draws),
        }

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        if "segments" in batch:
            raise ConfigError(
                "MaskedAutoEncoding has one vector a row, and a packed row (segments) holds several texts: unpack them"
            )
        depth = self.encoder.depth
        asked = tuple(sorted({layer - 1 for layer, _ in self.sizes}))
        f = self._features(batch, batch["changed"], True, asked)
        states = {i + 1: x for i, x in zip(asked, f.layers, strict=True)} | {depth: f.tokens}
        told = {"pos": placed(batch), "types": batch.get("types"), "allow": allowed(batch)}
        first = self.encoder.first(batch["decoder_changed"], **told, train=True)
        values, logs = [], {}
        for layer, k in self.sizes:
            z = states[layer][:, :, :k]
            mlm = self._of_texts(self.logits(z, batch["masked"]), batch, "masked")
            whole = jnp.concatenate([self.head.transform(z[:, :1]), first[:, 1:]], axis=1)
            decoded = self.decoder(whole, allowed(batch), True)
            mae = self._of_texts(self.logits(decoded, batch["decoder_masked"]), batch, "decoder_masked")
            values.append(((mlm + mae) / 2).mean())
            logs |= {f"mlm_{layer}_{k}": mlm.mean(), f"mae_{layer}_{k}": mae.mean()}
        return Loss(jnp.stack(values).mean(), jnp.asarray(len(first), values[0].dtype), logs)

    def _of_texts(self, logits: Float[Array, "b k v"], batch: Batch, name: str) -> Float[Array, " b"]:
        """The mean over the hidden tokens of each text."""
        own: Int[Array, "b k"] = jnp.take_along_axis(batch["tokens"], batch[name], axis=1)
        nll = negative_log_likelihood(logits, own)
        counted = batch[f"{name}_mask"].astype(nll.dtype)
        return (nll * counted).sum(1) / jnp.maximum(counted.sum(1), 1)
