"""A small encoder as E5-RoPE is built, trained on short texts alone: how long may a text be for it, with which extension?

    jaxemb train experiments/long_context/rotary.py --seed 0            # and 1, 2; one minute each on one core
    jaxemb train experiments/long_context/rotary.py:learned --seed 0    # the same with a table of 64 positions
    jaxemb train experiments/long_context/rotary.py:tuned_interpolate   # and :tuned_recurrent; of its rows to 512 the new ones

As E5-RoPE: post-norm blocks of BERT, a norm after the word vectors, no absolute table, rotary positions on q and k in every layer
(half-split layout, base 10000), mean of the tokens, InfoNCE with the other documents of the batch. Not as E5-RoPE: 3 layers of
width 64 from nothing, with a negative for each query, and its texts are those of `order` and `passkey` (`jaxemb.data.haystack`),
of 28 to 64 tokens. `measure.py` reads what was trained at up to 1 024 tokens.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb import Experiment, FromRun, Optim
from jaxemb.contrastive import InfoNCE
from jaxemb.data.base import ArraySpec, Data, Spec, Split
from jaxemb.data.haystack import order, passkey
from jaxemb.data.split import check_split
from jaxemb.data.stream import Drawn, drawn_split
from jaxemb.experiment import replace
from jaxemb.layers import FeedForward, LayerNorm
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives.base import allowed
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.pooling import Mean
from jaxemb.pooling.base import Pooling
from jaxemb.posemb import Extended, Learned, Rotary
from jaxemb.preprocess import BPE, TextPreprocess
from jaxemb.train.grown import Grown
from jaxemb.types import Batch, Loss, Now

WINDOW = 64
"""Tokens in training, at most."""
KINDS = {"order": order, "passkey": passkey}


@functools.cache
def vocabulary_text() -> bytes:
    """What the tokenizer is trained on: one document of each kind for many seeds."""
    found = [make(60, seed=seed, documents=40, queries=40) for seed in range(40) for make in KINDS.values()]
    return "\n".join(text for hay in found for text in (*hay.documents, *hay.queries)).encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Triples(Data):
    """A question, the short text that answers it, and one that does not: of "order" with the same names in the other order. Arrays:
    `query_tokens`, `query_mask`, and so on for `document` and `negative`."""

    query_length: int = 24
    length: int = WINDOW
    """Of documents, in tokens."""
    shortest: int = 28
    longest: int = 62
    """Of documents, in words over .75; with this tokenizer they have about as many tokens."""
    ordered: float = 0.75
    """Share of "order" among the questions; the others are passkeys."""
    vocabulary: int = 1024
    count: int = 512

    @property
    def preprocess(self) -> TextPreprocess:
        tokenizer = BPE(self.vocabulary)
        return TextPreprocess(length=self.length, tokenizer=tokenizer, learned=tokenizer.state(vocabulary_text))

    @property
    def spec(self) -> Spec:
        lengths = {"query": self.query_length, "document": self.length, "negative": self.length}
        kinds = {"tokens": "int32", "mask": "bool"}
        return {f"{role}_{name}": ArraySpec((n,), dtype) for role, n in lengths.items() for name, dtype in kinds.items()}

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> Drawn:
        return Drawn(self._drawer(), size, seed=seed, shard=shard)

    def split(self, name: str) -> Split:
        check_split(name)
        return drawn_split(self._drawer(), name, 0, self.count)

    def _drawer(self) -> Any:
        preprocess = self.preprocess
        short = dataclasses.replace(preprocess, length=self.query_length)

        def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
            make = order if rng.random() < self.ordered else passkey
            length, seed = int(rng.integers(self.shortest, self.longest + 1)), int(rng.integers(2**31))
            hay = make(length, seed=seed, queries=1, documents=2)
            right = int(hay.answers[0])
            found = {"query": short(hay.queries)}
            found |= {"document": preprocess([hay.documents[right]]), "negative": preprocess([hay.documents[1 - right]])}
            return {f"{role}_{name}": x[0] for role, arrays in found.items() for name, x in arrays.items()}

        return draw


class Search(Contrastive):
    """encoder -> pooling, of queries and documents alike; each query looks for its document in the batch, negatives included."""

    encoder: Transformer = field(default_factory=Transformer)
    pooling: Pooling = field(default_factory=Mean)
    contrast: InfoNCE = InfoNCE(temperature=0.05)

    def towers(self, batch: Batch) -> Mapping[str, Batch]:
        return {role: _tower(batch, role) for role in ("query", "document", "negative")}

    def embed(self, batch: Batch, role: str, train: bool) -> Float[Array, "b d"]:
        return self.pooling(self.encoder(batch["tokens"], allow=allowed(batch), train=train))

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        return self.contrast(z["query"], jnp.concatenate([z["document"], z["negative"]]))

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        return self.embed(batch if "tokens" in batch else _tower(batch, role), role, False)


def _tower(batch: Batch, role: str) -> Batch:
    return {name: batch[f"{role}_{name}"] for name in ("tokens", "mask")}


data = Triples()
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
main = rotary = Experiment(
    name="long_rotary",
    objective=Search(encoder=encoder),
    data=data,
    optim=Optim("adamw", lr=1e-3, warmup=100, decay=0.01, clip=1.0),
    steps=600,
    batch=32,
    log_every=100,
)
learned = replace(main, name="long_learned", objective=Search(encoder=encoder.clone(pos=Learned(shape=(WINDOW,)))))


def tuned(how: str) -> Experiment:
    """LongEmbed's tuning: all but the new rows of the table is frozen, short texts stand at random places for long ones."""
    grown = Extended(original=WINDOW, factor=8, how=how)
    return replace(
        main,
        name=f"long_tuned_{how}",
        objective=Search(encoder=encoder.clone(pos=grown)),
        optim=replace(main.optim, lr=5e-3, freeze=("^(?!.*pos/rows)",)),
        init=Grown(FromRun("runs/long_learned"), grown),
    )


tuned_interpolate, tuned_recurrent = tuned("interpolate"), tuned("recurrent")
