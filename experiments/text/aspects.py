"""Does an embedding that was trained on one kind of similarity find that kind, and lose the others? (Ostendorff et al. 2022)

    python -m experiments.text.aspects [--seeds 3]      about a minute on one core; writes results/text_aspects.csv and .png

Procedural documents of three independent aspects, each of 40 values: a document says four words of its topic's eight, three of
its method's, two of its data set's, and five words that say nothing, in any order. A small encoder per aspect is trained by InfoNCE
on the pairs that share its value (`aspect_pairs`; rows of one value are no negatives of each other), and one on the pairs of all
aspects ("any"). Of test documents, which no training has seen, precision@10, recall@10 and the reciprocal rank of neighbours that
share a value, by every aspect: trained x evaluated. "words" are counts of words, without training. Test documents alone are
candidates, never the query itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.text.lab import asked, fit
from experiments.text.rows import Row, command_of, gather, means, refuse_trial
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.data.aspects import aspect_pairs, sharing
from jaxemb.layers.feedforward import FeedForward
from jaxemb.metrics.ranking import precision, ranking, recall, reciprocal_rank
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives.pairs import Pairs
from jaxemb.posemb.sincos import SinCos

OUT = Path(__file__).parents[2] / "results" / "text_aspects.csv"
SAID = {"topic": 4, "method": 3, "data": 2}
"""How many words of each aspect a document says: a generic embedding sees the topic best."""
VALUES, WORDS, NOISE = 40, 8, 5
COMMON = 200
ARMS = ("words", "any", *SAID)
WIDTH, BATCH, STEPS, TRAIN, TEST, LR = 64, 64, 400, 1200, 400, 5e-3


def documents(count: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(tokens n t, the value of each document by aspect)."""
    rng = np.random.default_rng(seed)
    values, parts = {}, [rng.integers(0, COMMON, (count, NOISE))]
    for i, (name, said) in enumerate(SAID.items()):
        values[name] = rng.permutation(np.arange(count) % VALUES)
        words = rng.random((count, WORDS)).argsort(1)[:, :said]
        parts.append(COMMON + (i * VALUES + values[name][:, None]) * WORDS + words)
    return rng.permuted(np.concatenate(parts, axis=1), axis=1).astype(np.int32), values


def pairs(tokens: np.ndarray, values: dict[str, np.ndarray], aspects: Sequence[str]) -> dict[str, Any]:
    """The pairs that share a value of one of the aspects; equal ids are of one value."""
    found, ids = [], []
    for i, name in enumerate(aspects):
        labels = values[name][:, None] == np.arange(VALUES)[None]
        found.append(aspect_pairs(labels))
        ids.append(i * VALUES + values[name][found[-1][:, 0]])
    both, own = np.concatenate(found), np.concatenate(ids).astype(np.int32)
    sides = {
        role: {"tokens": tokens[both[:, i]], "mask": np.ones((len(both), tokens.shape[1]), bool)}
        for i, role in enumerate(("query", "positive"))
    }
    return sides | {"positive_id": own}


def objective() -> Pairs:
    block = Block(Attention(2, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
    stem = Tokens(COMMON + len(SAID) * VALUES * WORDS, std=1.0)
    return Pairs(encoder=Transformer(stem=stem, pos=SinCos(axes=1), width=WIDTH, depth=1, blocks=(block,)), contrast=InfoNCE(0.05))


def neighbours(z: np.ndarray, values: dict[str, np.ndarray]) -> dict[str, float]:
    """Figures of the neighbours by cosine, of each aspect; the query is no candidate, of equals the first is first."""
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    scores = (z @ z.T).astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
    found = {}
    for name, own in values.items():
        r = ranking(order, sharing(own[:, None] == np.arange(VALUES)[None], len(own)).astype(int))
        found |= {
            f"{name}/precision@10": precision(r, 10).mean(),
            f"{name}/recall@10": recall(r, 10).mean(),
            f"{name}/mrr@10": reciprocal_rank(r, 10).mean(),
        }
    return found


def trained(arm: str, seed: int, steps: int = STEPS) -> dict[str, float]:
    """What the embedding of an arm finds."""
    (tokens, values), (held, wanted) = documents(TRAIN, 2 * seed), documents(TEST, 2 * seed + 1)
    if arm == "words":
        return neighbours(np.apply_along_axis(np.bincount, 1, held, minlength=held.max() + 1).astype(float), wanted)
    model = objective()
    rows = pairs(tokens, values, [*SAID] if arm == "any" else [arm])
    variables = fit(model, rows, steps=steps, batch=BATCH, seed=seed, lr=LR)
    return neighbours(asked(model, variables, {"tokens": held, "mask": np.ones(held.shape, bool)}, "encode"), wanted)


def picture(rows: Sequence[Row], file: Path) -> None:
    """precision@10 of trained x evaluated aspect; brighter is better."""
    from matplotlib.figure import Figure

    found = means(rows)
    systems = [*dict.fromkeys(system for _, system, *_ in rows)]
    x = np.array([[found["documents", system, f"{name}/precision@10"] for name in SAID] for system in systems])
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(x, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (i, j), value in np.ndenumerate(x):
        axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color="white" if value < 0.5 else "black")
    axes.set(title="precision@10", xlabel="evaluated", ylabel="trained")
    axes.set_xticks(range(len(SAID)), [*SAID])
    axes.set_yticks(range(len(systems)), systems)
    figure.savefig(file, dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    refuse_trial(parser, args, "arms", "steps")
    arms = [("documents", arm, arm) for arm in args.arms.split(",")]
    rows = gather(arms, args.seeds, lambda arm, seed: trained(arm, seed, args.steps), args.out, command_of("aspects", argv))
    picture(rows, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
