"""Does a loss that knows a hierarchy tell near terms from less near ones, and what does it cost synonyms? (HiPrBERT, Cai 2023)

    python -m experiments.text.hierarchy [--seeds 3]      about two minutes on one core; writes results/text_hierarchy.csv

A planted hierarchy of depth 4 and branching 4, whose 256 leaves are terms: a word of its own, and a head that in half of them is
its parent's word. Each has four spellings (the words turned, two letters swapped, a head cut short); three are trained on. A
perceptron reads their hashed groups of three letters. All arms learn synonyms by the multi-similarity loss; the others learn beside
it from pairs at a distance in the tree (0 synonyms, 1 siblings, 2 cousins, 3 others), by the weighted form, by the conditional
logits, or by the weighted form on a tree whose leaves were shuffled, which tells nothing.

Of the spellings that were held out: the share whose nearest trained one is a synonym; AUC of the cosine, siblings against cousins
and cousins against others, and Spearman's correlation with minus the distance: of leaves whose place in the tree was trained on
("seen") and of pairs with one of the fifth of the leaves whose place was not ("unseen").
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.text.lab import asked, fit
from experiments.text.rows import table_of
from jaxemb.contrastive.base import ContrastiveLoss, Known
from jaxemb.contrastive.hiprbert import HiPrBERT
from jaxemb.contrastive.multi_similarity import MultiSimilarity
from jaxemb.metrics.correlation import spearman
from jaxemb.metrics.pairs import auc
from jaxemb.nn import MLP
from jaxemb.objectives.pairs import NEGATIVES, POSITIVE, QUERY, Pairs
from jaxemb.types import Batch, Loss, Now

OUT = Path(__file__).parents[2] / "results" / "text_hierarchy.csv"
BRANCHES, DEPTH, SPELLINGS = 4, 4, 4
LEAVES = BRANCHES**DEPTH
GROUPS, WIDTHS, BATCH, STEPS, LR, SAMPLES, ROWS = 512, (256, 64), 64, 600, 2e-3, 4, 6
TREE = HiPrBERT()


class Arm(NamedTuple):
    tree: ContrastiveLoss | None
    shuffled: bool = False


ARMS = {
    "synonyms": Arm(None),
    "tree, weighted": Arm(TREE),
    "tree, clogit": Arm(HiPrBERT(form="clogit")),
    "shuffled tree, weighted": Arm(TREE, shuffled=True),
}


class Terms(Pairs):
    """loss = contrast(terms, synonyms) + tree(terms, terms at a distance), these `negatives` with `scores` (b k) of their own."""

    tree: ContrastiveLoss | None = None

    def compare(self, z: Mapping[str, jax.Array], batch: Batch, targets: Any, now: Now) -> Loss:
        labels = batch["labels"]
        near = self.contrast(z[QUERY], z[POSITIVE], known=Known(labels=labels, candidate_labels=labels))
        if self.tree is None:
            return near
        b, k, d = z[NEGATIVES].shape
        others = z[NEGATIVES].reshape(b * k, d)
        far = self.tree(jnp.repeat(z[QUERY], k, axis=0), others, known=Known(scores=batch["scores"].reshape(-1)))
        return near._replace(value=near.value + far.value, logs={"synonyms": near.value, "tree": far.value})


def terms(rng: np.random.Generator) -> list[list[str]]:
    """The spellings of each leaf."""

    def word() -> str:
        return "".join(rng.choice([*"bdfgklmnprstvz"]) + rng.choice([*"aeiou"]) for _ in range(rng.integers(2, 4)))

    parents, found = [word() for _ in range(LEAVES // BRANCHES)], []
    for leaf in range(LEAVES):
        first, head = word(), parents[leaf // BRANCHES] if rng.random() < 0.5 else word()
        at = rng.integers(0, len(first) - 1)
        typo = first[:at] + first[at + 1] + first[at] + first[at + 2 :]
        spelled = [f"{first} {head}", f"{head}, {first}", f"{typo} {head}", f"{first} {head[:3]}."]
        found.append([spelled[i] for i in rng.permutation(SPELLINGS)])
    return found


def groups(text: str) -> np.ndarray:
    """How often each group of three letters occurs, hashed, as a unit vector."""
    found = np.zeros(GROUPS, np.float32)
    for word in text.split():
        for i in range(len(word)):
            found[zlib.crc32(f"^{word}$"[i : i + 3].encode()) % GROUPS] += 1
    return found / np.linalg.norm(found)


def distances(places: np.ndarray) -> np.ndarray:
    """Between leaves at these places: 0 itself, 1 siblings, 2 cousins, 3 others."""
    levels = np.stack([places, places // BRANCHES, places // BRANCHES**2])
    return (levels[:, :, None] != levels[:, None, :]).sum(0)


def training(texts: np.ndarray, far: np.ndarray, placed: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """ROWS of each leaf: a spelling, another one, and one term at each distance, of leaves whose place is known (`placed`). Of
    another leaf all are synonyms."""
    leaf = np.tile(np.arange(LEAVES), ROWS)
    spelling = np.stack([rng.permutation(SPELLINGS - 1)[:2] for _ in leaf])
    other = np.tile(leaf[:, None], (1, SAMPLES))
    for i in np.flatnonzero(placed[leaf]):
        for distance in range(1, SAMPLES):
            free = np.flatnonzero((far[leaf[i]] == distance) & placed)
            other[i, distance] = rng.choice(free) if len(free) else leaf[i]
    at = np.array(TREE.levels, np.float32)[np.take_along_axis(far[leaf], other, axis=1)]
    rows = {QUERY: leaf * SPELLINGS + spelling[:, 0], POSITIVE: leaf * SPELLINGS + spelling[:, 1]}
    rows[NEGATIVES] = other * SPELLINGS + rng.integers(0, SPELLINGS - 1, other.shape)
    return {role: {"images": texts[i]} for role, i in rows.items()} | {"labels": leaf.astype(np.int32), "scores": at}


def judged(z: np.ndarray, far: np.ndarray, placed: np.ndarray) -> dict[str, float]:
    """Figures of vectors (leaves, spellings, d), the last spelling being the one that was held out."""
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    held, known = z[:, -1], z[:, :-1].reshape(-1, z.shape[-1])
    nearest = (held @ known.T).argmax(1) // (SPELLINGS - 1)
    found = {"synonym accuracy": float((nearest == np.arange(LEAVES)).mean())}
    cosine, upper = held @ held.T, np.triu(np.ones(far.shape, bool), 1)
    both = placed[:, None] & placed[None]
    for name, those in (("seen", upper & both), ("unseen", upper & ~both)):
        c, d = cosine[those], far[those]
        for near in (1, 2):
            part = (d == near) | (d == near + 1)
            found[f"{name}/auc {near} {near + 1}"] = auc(c[part], (d[part] == near).astype(int))
        found[f"{name}/spearman"] = spearman(c, -d.astype(np.float64))
    return found


def study(arm: Arm, seed: int, steps: int = STEPS) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    spelled = [text for leaf in terms(rng) for text in leaf]
    texts = np.stack([groups(text) for text in spelled])
    placed, far = rng.permutation(LEAVES) >= LEAVES // 5, distances(np.arange(LEAVES))
    told = distances(rng.permutation(LEAVES)) if arm.shuffled else far
    rows = training(texts, told, placed, rng)
    if arm.tree is None:
        rows = {name: x for name, x in rows.items() if name not in (NEGATIVES, "scores")}
    model = Terms(encoder=MLP(WIDTHS, activation="tanh"), contrast=MultiSimilarity(), tree=arm.tree)
    variables = fit(model, rows, steps=steps, batch=BATCH, seed=seed, lr=LR)
    z = asked(model, variables, {"images": texts}, "encode")
    return judged(z.reshape(LEAVES, SPELLINGS, -1), far, placed)


def main(argv: Sequence[str] | None = None) -> None:
    table_of("hierarchy", __doc__, "planted", ARMS, study, ("steps", STEPS, "of training"), OUT, argv)


if __name__ == "__main__":
    main()
