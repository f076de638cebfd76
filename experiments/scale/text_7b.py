"""A bidirectional text encoder of 7 billion parameters: the dimensions of Mistral 7B (Jiang et al. 2023), 512 tokens.

    jaxemb compile experiments/scale/text_7b.py --topology v5e:8x8
    jaxemb train experiments/scale/text_7b.py --set data.path=lines.txt

Trained on pairs that any text gives: a line and itself, under two draws of dropout (Gao et al. 2021). A copy with its moments are
85 GB in float32, so everything is cut over all devices, a layer keeps its input alone, and `pieces` embeds a part of the batch at
a time where that does not suffice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

from jax import Array
from jaxtyping import Float

from jaxemb import Experiment, Optim
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.data import Text
from jaxemb.layers import FeedForward, RMSNorm
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.nn.pooled import wanted
from jaxemb.objectives.base import allowed
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.ops.dtypes import wide
from jaxemb.pooling import Mean
from jaxemb.pooling.base import Pooling
from jaxemb.posemb import Rotary
from jaxemb.preprocess.text import BPE
from jaxemb.types import Batch, Features, Loss, Now, Paper


class DropoutPairs(Contrastive):
    """Two embeddings of a text under two draws of dropout find each other among those of all texts of the batch (Gao et al. 2021).

    The batch holds `tokens` (b n) and `mask` (b n). An encoder without dropout learns nothing from it.
    """

    paper: ClassVar[Paper | None] = Paper(
        "SimCSE: Simple Contrastive Learning of Sentence Embeddings", 2021, "arxiv.org/abs/2104.08821"
    )

    encoder: Transformer = field(default_factory=lambda: Transformer(stem=Tokens()))
    pooling: Pooling = field(default_factory=Mean)
    contrast: ContrastiveLoss = InfoNCE(0.05)

    def towers(self, batch: Batch) -> Mapping[str, Batch]:
        return {"first": batch, "second": batch}

    def embed(self, batch: Batch, role: str = "first", train: bool = False) -> Float[Array, "b d"]:
        z = self.pooling(self._features(batch, train))
        return z.astype(wide(z))

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        return self.contrast(z["first"], z["second"])

    def features(self, batch: Batch, role: str = "document") -> Features:
        return self._features(batch, train=False)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        return self.embed(batch)

    def _features(self, batch: Batch, train: bool) -> Features:
        return self.encoder(batch["tokens"], allow=allowed(batch), **wanted(self.pooling, self.encoder), train=train)


block = Block(
    Attention(heads=32, kv_heads=8, head_width=128, bias=False, dropout=0.1),
    FeedForward(hidden=14_336, activation="silu", gated=True, bias=False, dropout=0.1),
    RMSNorm(1e-5),
)
encoder = Transformer(
    stem=Tokens(32_000),
    pos=Rotary(),
    width=4096,
    depth=32,
    blocks=(block,),
    norm=RMSNorm(1e-5),
    dtype="bfloat16",
    scan=True,
    remat="full",
)
main = Experiment(
    name="scale_text_7b",
    objective=DropoutPairs(encoder=encoder),
    data=Text("lines.txt", rows="lines", length=512, tokenizer=BPE(32_000, file="tokenizer.json")),
    optim=Optim("adamw", lr=2e-5, warmup=0.1, decay=0.01, clip=1.0),
    steps=10_000,
    batch=2048,
    mesh={"fsdp": -1},
    sharding="fsdp",
    save_every=1_000,
)
