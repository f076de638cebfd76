"""A bidirectional text encoder of 7 billion parameters: the dimensions of Mistral 7B (Jiang et al. 2023), 512 tokens.

    jaxemb compile experiments/scale/text_7b.py --topology v5e:8x8
    jaxemb train experiments/scale/text_7b.py --set data.path=lines.txt

Trained on pairs that any text gives: a line and itself, under two draws of dropout (Gao et al. 2021). A copy with its moments are
85 GB in float32, so everything is cut over all devices, a layer keeps its input alone, and `pieces` embeds a part of the batch at
a time where that does not suffice.
"""

from __future__ import annotations

from jaxemb import Experiment, Optim
from jaxemb.contrastive import InfoNCE
from jaxemb.data import Text
from jaxemb.layers import FeedForward, RMSNorm
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives import Pairs
from jaxemb.posemb import Rotary
from jaxemb.preprocess.text import BPE

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
    objective=Pairs(encoder=encoder, contrast=InfoNCE(0.05)),
    data=Text("lines.txt", rows="lines", length=512, tokenizer=BPE(32_000, file="tokenizer.json")),
    optim=Optim("adamw", lr=2e-5, warmup=0.1, decay=0.01, clip=1.0),
    steps=10_000,
    batch=2048,
    mesh={"fsdp": -1},
    sharding="fsdp",
    save_every=1_000,
)
