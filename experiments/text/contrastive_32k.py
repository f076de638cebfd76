"""Contrastive fine-tuning of MiniLM's dimensions with 32 768 pairs a batch, all of which are compared with each other.

    jaxemb compile experiments/text/contrastive_32k.py --topology v5e-64
    python scripts/bench_pairs.py compile

The rows of the batch lie on all chips. Each embeds its own 512, 64 at a time, and computes 512 rows of the 32 768 x 32 768
similarities: the candidates travel, the matrix does not, and no chip holds it whole.
"""

from __future__ import annotations

from jaxemb import Experiment, Optim
from jaxemb.contrastive import InfoNCE
from jaxemb.data import TextPairs
from jaxemb.layers import FeedForward, LayerNorm
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives import Pairs
from jaxemb.posemb import Learned
from jaxemb.preprocess.text import BPE

encoder = Transformer(
    stem=Tokens(30_522),
    pos=Learned(shape=(512,)),
    width=384,
    depth=6,
    blocks=(Block(Attention(heads=12, dropout=0.1), FeedForward(hidden=1536, dropout=0.1), LayerNorm(1e-12), order="post"),),
    norm=None,
    stem_norm=LayerNorm(1e-12),
    dtype="bfloat16",
    scan=True,
)
main = Experiment(
    name="text_contrastive_32k",
    objective=Pairs(encoder=encoder, contrast=InfoNCE(0.05, directions=("q2d", "d2q"), partition="each"), pieces=8),
    data=TextPairs("pairs.jsonl", length=64, tokenizer=BPE(30_522, file="tokenizer.json")),
    optim=Optim("adamw", lr=2e-5, warmup=0.1, decay=0.01, clip=1.0),
    steps=10_000,
    batch=32_768,
    mesh={"data": -1},
)
