"""An encoder with what makes one vector of its tokens: what is loaded, embedded with and trained on from."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.nn.base import Encoder
from jaxemb.nn.block import Layers
from jaxemb.nn.stem import own_grids
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.types import Batch, Features


class Pooled(nn.Module):
    """encoder -> pooling -> heads.

    A batch holds `images`, or `tokens` (b n, ids) with `mask` (b n, False where one is padding), and where a model wants them
    `types` (b n, kinds of tokens; of patches, 1: masked), `pooled` (b n, False where a token is seen by the others but left out
    of the pooling, as those of an instruction) and `chunks` (b n, the part of its text that a token belongs to, for `ChunkMeans`).
    Images of several sizes are patches that were cut before (b n p), with a `mask` and `shapes` (b 2, rows and columns of
    patches). Parameters: encoder, pooling, heads_0, heads_1, ...
    """

    encoder: Encoder = field(default_factory=Transformer)
    pooling: Pooling = field(default_factory=Mean)
    heads: tuple[nn.Module, ...] = ()
    """From vector to vector, one after the other."""

    def __call__(self, batch: Batch) -> Float[Array, "b *m d"]:
        return self.encode(batch)

    def encode(self, batch: Batch, role: str = "document", train: bool = False) -> Float[Array, "b *m d"]:
        """The embedding of each row; `role` changes nothing here, prompts are part of the tokens."""
        z = self.pooling(counted(features_of(self.encoder, batch, **wanted(self.pooling, self.encoder), train=train), batch))
        for head in self.heads:
            z = head(z)
        return z

    def features(self, batch: Batch, role: str = "document") -> Features:
        """The tokens behind it."""
        return features_of(self.encoder, batch)


def features_of(encoder: Any, batch: Batch, **how: Any) -> Features:
    """What an encoder makes of the arrays that `Pooled` reads; `how` are further arguments of its call."""
    inputs = batch["tokens"] if "tokens" in batch else batch["images"]
    if "tokens" in batch or "mask" in batch:
        how["allow"] = Allow(batch.get("mask"))
    if "types" in batch:
        how["types"] = batch["types"]
    if "shapes" in batch:
        how["pos"] = own_grids(batch["shapes"], inputs.shape[1])
    return encoder(inputs, **how)


def counted(f: Features, batch: Batch) -> Features:
    """The features as a pooling takes them: with the tokens that the batch leaves out of it, and the parts of a text."""
    if "pooled" in batch:
        f = f._replace(mask=f.mask & batch["pooled"], seen=f.mask)
    return f._replace(chunks=batch.get("chunks"))


def wanted(pooling: Pooling, encoder: Any) -> dict[str, Any]:
    """Arguments of an encoder's call: the layers that a pooling reads besides the last one's output."""
    layers = pooling.wants(encoder.depth) if isinstance(encoder, Layers) else ()
    return {"layers": layers} if layers else {}
