"""A small encoder as E5-RoPE is built, trained on short texts alone: how long may a text be for it, with which extension?

    jaxemb train experiments/long_context/rotary.py --seed 0            # and 1, 2; one minute each on one core

As E5-RoPE: post-norm blocks of BERT, a norm after the word vectors, no absolute table, rotary positions on q and k in every layer
(half-split layout, base 10000), mean of the tokens, InfoNCE with the other documents of the batch. Not as E5-RoPE: 3 layers of
width 64 from nothing, and its texts are the passkeys and needles of `jaxemb.data.haystack`, of 32 to 128 tokens. `measure.py`
reads what was trained at up to 4 096 tokens.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb import Experiment, Optim
from jaxemb.contrastive import InfoNCE
from jaxemb.data.base import ArraySpec, Data, Spec, Split
from jaxemb.data.haystack import needle, passkey
from jaxemb.data.split import check_split
from jaxemb.data.stream import Drawn, drawn_split
from jaxemb.layers import FeedForward, LayerNorm
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives.base import allowed
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.pooling import Mean
from jaxemb.pooling.base import Pooling
from jaxemb.posemb import Rotary
from jaxemb.preprocess import BPE, TextPreprocess
from jaxemb.types import Batch, Loss, Now

WINDOW = 128
"""Tokens in training, at most."""
KINDS = {"passkey": passkey, "needle": needle}


@functools.cache
def vocabulary_text() -> bytes:
    """What the tokenizer is trained on: one document of each kind for many seeds."""
    found = [make(100, seed=seed, documents=20, queries=20) for seed in range(40) for make in KINDS.values()]
    return "\n".join(text for hay in found for text in (*hay.documents, *hay.queries)).encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs(Data):
    """A question and the short text that answers it, a passkey or a needle. Arrays: `query_tokens`, `query_mask`, `document_tokens`
    and `document_mask`."""

    length: int = WINDOW
    shortest: int = 32
    longest: int = 124
    """Of documents, in words over .75; with this tokenizer they have about as many tokens."""
    vocabulary: int = 1024
    count: int = 512

    @property
    def preprocess(self) -> TextPreprocess:
        tokenizer = BPE(self.vocabulary)
        return TextPreprocess(length=self.length, tokenizer=tokenizer, learned=tokenizer.state(vocabulary_text))

    @property
    def spec(self) -> Spec:
        arrays = {"tokens": ArraySpec((self.length,), "int32"), "mask": ArraySpec((self.length,), "bool")}
        return {f"{role}_{name}": spec for role in ("query", "document") for name, spec in arrays.items()}

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> Drawn:
        return Drawn(self._drawer(), size, seed=seed, shard=shard)

    def split(self, name: str) -> Split:
        check_split(name)
        return drawn_split(self._drawer(), name, 0, self.count)

    def _drawer(self) -> Any:
        preprocess = self.preprocess

        def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
            make = KINDS[str(rng.choice(list(KINDS)))]
            length, seed = int(rng.integers(self.shortest, self.longest + 1)), int(rng.integers(2**31))
            hay = make(length, seed=seed, queries=1, documents=1)
            rows = preprocess([hay.queries[0], hay.documents[0]])
            return {f"{role}_{name}": x[i] for i, role in enumerate(("query", "document")) for name, x in rows.items()}

        return draw


class Search(Contrastive):
    """encoder -> pooling, of queries and documents alike; each query looks for its document in the batch."""

    encoder: Transformer = field(default_factory=Transformer)
    pooling: Pooling = field(default_factory=Mean)
    contrast: InfoNCE = InfoNCE(temperature=0.05)

    def towers(self, batch: Batch) -> Mapping[str, Batch]:
        return {role: _tower(batch, role) for role in ("query", "document")}

    def embed(self, batch: Batch, role: str, train: bool) -> Float[Array, "b d"]:
        return self.pooling(self.encoder(batch["tokens"], allow=allowed(batch), train=train))

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        return self.contrast(z["query"], z["document"])

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        return self.embed(batch if "tokens" in batch else _tower(batch, role), role, False)


def _tower(batch: Batch, role: str) -> Batch:
    return {name: batch[f"{role}_{name}"] for name in ("tokens", "mask")}


data = Pairs()
block = Block(Attention(2, kernel_init="xavier"), FeedForward(hidden=256, kernel_init="xavier"), LayerNorm(1e-12), order="post")
encoder = Transformer(
    stem=Tokens(data.vocabulary),
    stem_norm=LayerNorm(1e-12),
    pos=Rotary(),
    width=64,
    depth=3,
    blocks=(block,),
    norm=None,
)
main = Experiment(
    name="long_rotary",
    objective=Search(encoder=encoder),
    data=data,
    optim=Optim("adamw", lr=1e-3, warmup=100, decay=0.01, clip=1.0),
    steps=250,
    batch=32,
    log_every=100,
)
