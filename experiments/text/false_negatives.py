"""What do false negatives cost, and who finds them? What do focal weights and mixed negatives give? (GISTEmbed 2024, KaLM 2025)

    python -m experiments.text.false_negatives [--seeds 3]      two minutes on one core; writes results/text_false_negatives.csv

A topic is four of 60 concepts. A text says three of them, each by one of two words, which are other words in queries than in
documents; a detail, which a query shares with its own document; and two words that say nothing. The encoder is a table of words
and the mean over them.

"0", "0.3", "0.5": every topic has two pairs, and for that share of them both stand in one batch, as false negatives of each
other. The pairs are the same at every rate, only who meets whom differs (at 0 by chance, one in sixty). A guide's words are random
vectors, and a text their mean; the good guide hears the concepts alone, the poor one all words, and knows no synonyms. "oracle":
the topics as ids; "joint": GIST's sums without a guide. Of queries and documents of topics that no training has seen, four
documents a topic: MRR@10 and R-precision; of the candidates of training batches that a guide takes out, the share that is of the
topic (precision), and the share of those that it finds (recall).

"easy and hard": texts say all of a topic. Nine in ten documents repeat their query, beside four negatives of other topics; the rest
have words of their own, and negatives that lack one concept. How often the positive is nearer than its negatives, and MRR@10 among
all documents, by kind, of other topics.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from experiments.text.lab import asked, fit
from experiments.text.rows import gather
from jaxemb.contrastive import GIST, InfoNCE, KaLM
from jaxemb.contrastive.base import ContrastiveLoss, Known
from jaxemb.metrics.ranking import Ranking, r_precision, ranking, reciprocal_rank
from jaxemb.nn import Encoder, Pooled, Tokens
from jaxemb.objectives.pairs import GUIDE, NEGATIVES, POSITIVE, QUERY, Pairs
from jaxemb.ops.allow import Allow
from jaxemb.ops.draws import Draws
from jaxemb.types import Batch, Features, Now

OUT = Path(__file__).parents[2] / "results" / "text_false_negatives.csv"
CONCEPTS, TOPIC, SAID, DETAILS, FILLERS = 60, 4, 3, 20, 100
STARTS = np.cumsum([0, 4 * CONCEPTS, DETAILS, FILLERS])
"""Of the words of concepts (two in queries, two in documents), of details, and of those that say nothing."""
STD, WIDTH, BATCH, STEPS, LR, TEMPERATURE = 0.1, 64, 64, 1000, 1e-2, 0.05
TOPICS, TEST, DOCUMENTS = 2000, 150, 4
PAIRS, HARD, OWN = 4000, 0.1, 4
RATES = (0.0, 0.3, 0.5)
MIXTURE = "easy and hard"


class Words(Encoder):
    """The vectors of the words as they are drawn: with the mean over them, a random projection of their counts."""

    width: int = 256
    std: float = 1.0

    @nn.compact
    def __call__(self, inputs: Array, *, allow: Allow, **how: Any) -> Features:
        vectors = Tokens(int(STARTS[-1]), std=self.std, name="stem")(inputs, width=self.width)
        return Features(vectors, jnp.ones(inputs.shape, bool) if allow.valid is None else allow.valid)


class Beside(Pairs):
    """`Pairs` of rows that hold two pairs each, which so meet in a batch."""

    def prepare(self, batch: dict[str, Any], draws: Draws | None) -> dict[str, Any]:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

    def removed(self, batch: Batch) -> Array:
        """Which candidates the guide takes from each query, and the pairs themselves never."""
        guided: Any = self.targets(batch, Now(jnp.zeros((), jnp.int32), 1, jax.random.key(0)))
        loss: Any = self.contrast
        return loss.closer(None, Known(guide=(guided[QUERY], guided[POSITIVE])))[0]


class Arm(NamedTuple):
    loss: ContrastiveLoss
    guide: str | None = None
    """good, poor"""
    oracle: bool = False


JOINT = InfoNCE(TEMPERATURE, directions=("q2d", "q2q", "d2d"))
"""What GIST is without a guide."""
GUIDED: dict[str, Arm] = {
    "InfoNCE": Arm(InfoNCE(TEMPERATURE)),
    "InfoNCE, oracle": Arm(InfoNCE(TEMPERATURE), oracle=True),
    "joint": Arm(JOINT),
    "joint, oracle": Arm(JOINT, oracle=True),
    "GIST, good guide": Arm(GIST(TEMPERATURE), "good"),
    "GIST, good guide, absolute": Arm(GIST(TEMPERATURE, margin=0.3), "good"),
    "GIST, good guide, relative": Arm(GIST(TEMPERATURE, margin=0.5, margin_kind="relative"), "good"),
    "GIST, poor guide": Arm(GIST(TEMPERATURE), "poor"),
}
FOCAL: dict[str, Arm] = {
    "InfoNCE": Arm(InfoNCE(TEMPERATURE)),
    "InfoNCE, .025": Arm(InfoNCE(TEMPERATURE / 2)),
    "focal .5": Arm(KaLM(TEMPERATURE, mix_pair=False, mix_list=False)),
    "focal 2": Arm(KaLM(TEMPERATURE, gamma=2.0, mix_pair=False, mix_list=False)),
    "focal .5, constant weights": Arm(KaLM(TEMPERATURE, stop_gradient=True, mix_pair=False, mix_list=False)),
    "mixed": Arm(KaLM(TEMPERATURE, gamma=0.0)),
    "focal .5, mixed": Arm(KaLM(TEMPERATURE)),
}


# ---- texts -----------------------------------------------------------------------------------------------------------------------


def topics(count: int, rng: np.random.Generator) -> np.ndarray:
    """(topics, concepts)."""
    return rng.random((count, CONCEPTS)).argsort(1)[:, :TOPIC]


def some(concepts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The concepts of each topic that a text says."""
    return rng.permuted(concepts, axis=1)[:, :SAID]


def say(concepts: np.ndarray, detail: np.ndarray, document: bool, rng: np.random.Generator) -> np.ndarray:
    """Texts (n t) that say concepts (n c), by the words of documents or of queries, and a detail (n)."""
    words = 4 * concepts + 2 * document + rng.integers(0, 2, concepts.shape)
    rest = [STARTS[1] + detail[:, None], STARTS[2] + rng.integers(0, FILLERS, (len(concepts), 2))]
    return np.concatenate([words, *rest], axis=1).astype(np.int32)


def text(tokens: np.ndarray) -> dict[str, np.ndarray]:
    return {"tokens": tokens, "mask": np.ones(tokens.shape, bool)}


def heard(tokens: np.ndarray, guide: str) -> dict[str, np.ndarray]:
    """What a guide reads: the good one the first word of each concept, the poor one the words as they are."""
    if guide == "poor":
        return text(tokens)
    concept = tokens < STARTS[1]
    return {"tokens": np.where(concept, tokens // 4 * 4, tokens), "mask": concept}


def beside(rate: float, rng: np.random.Generator) -> np.ndarray:
    """The topics (rows 2) of the pairs that stand in a row, each topic twice: in a share `rate` of the rows both of one topic."""
    order = rng.permutation(TOPICS)
    together, apart = np.split(order, [round(rate * TOPICS)])
    return np.concatenate([np.stack([together, together], axis=1), np.stack([apart, np.roll(apart, 1)], axis=1)])


def planted(rate: float, arm: Arm, rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """(rows of two pairs each, their topics)."""
    concepts, of = topics(TOPICS, rng), beside(rate, rng)
    both, detail = concepts[of.reshape(-1)], rng.integers(0, DETAILS, of.size)
    rows: dict[str, Any] = {}
    for role in (QUERY, POSITIVE):
        tokens = say(some(both, rng), detail, role == POSITIVE, rng)
        rows[role] = text(tokens) | ({} if arm.guide is None else {GUIDE: heard(tokens, arm.guide)})
    if arm.oracle:
        rows["positive_id"] = of.reshape(-1).astype(np.int32)
    return jax.tree.map(lambda x: x.reshape(len(of), 2, *x.shape[1:]), rows), of


def mixture(count: int, hard: float, rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """(pairs with their own negatives, which of them are hard)."""
    is_hard = np.arange(count) < hard * count
    concepts, detail = topics(count, rng), rng.integers(0, DETAILS, count)
    query = say(concepts, detail, False, rng)
    positive = np.where(is_hard[:, None], say(concepts, rng.integers(0, DETAILS, count), True, rng), query)
    each = np.repeat(concepts, OWN, axis=0)
    near = each.copy()
    near[:, 0] = (near[:, 0] + rng.integers(1, CONCEPTS, len(near))) % CONCEPTS
    others = rng.integers(0, DETAILS, len(each))
    own = np.where(
        np.repeat(is_hard, OWN)[:, None], say(near, others, True, rng), say(topics(len(each), rng), others, False, rng)
    ).reshape(count, OWN, -1)
    return {QUERY: text(query), POSITIVE: text(positive), NEGATIVES: text(own)}, is_hard


# ---- figures ---------------------------------------------------------------------------------------------------------------------


def model_of(arm: Arm) -> Beside:
    return Beside(encoder=Words(WIDTH, STD), contrast=arm.loss, guide=None if arm.guide is None else Pooled(encoder=Words()))


def vectors(model: Pairs, variables: Any, tokens: np.ndarray) -> np.ndarray:
    z = asked(model, variables, text(tokens), "encode").astype(np.float64)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def ranked(scores: np.ndarray, right: np.ndarray) -> Ranking:
    return ranking(np.argsort(-scores, axis=1, kind="stable"), right.astype(int))


def mask_figures(model: Beside, variables: Any, rows: dict[str, Any], of: np.ndarray) -> dict[str, float]:
    """Of the candidates that the guide takes out in ten batches of training."""
    few = np.random.default_rng(0).permutation(len(of))[: 10 * (BATCH // 2)]
    few = few[: len(few) // (BATCH // 2) * (BATCH // 2)]
    batch = model.prepare({role: jax.tree.map(lambda x: x[few], rows[role]) for role in (QUERY, POSITIVE)}, None)
    gone, topic = asked(model, variables, batch, "removed", BATCH), of[few].reshape(-1, BATCH)
    same = (topic[:, :, None] == topic[:, None]) & ~np.eye(BATCH, dtype=bool)
    hits = (gone & same.reshape(gone.shape)).sum()
    return {"removed": gone.mean(), "precision": hits / max(gone.sum(), 1), "recall": hits / max(same.sum(), 1)}


def guided(arm: Arm, rate: float, seed: int, steps: int) -> dict[str, float]:
    """The figures of an arm at a rate of false negatives."""
    rng, model = np.random.default_rng(seed), model_of(arm)
    concepts, at = topics(TEST, rng), np.repeat(np.arange(TEST), DOCUMENTS)
    q = say(some(concepts, rng), rng.integers(0, DETAILS, TEST), False, rng)
    c = say(some(concepts[at], rng), rng.integers(0, DETAILS, len(at)), True, rng)
    rows, of = planted(rate, arm, rng)
    variables = fit(model, rows, steps=steps, batch=BATCH // 2, seed=seed, lr=LR)
    r = ranked(vectors(model, variables, q) @ vectors(model, variables, c).T, np.arange(TEST)[:, None] == at[None])
    found = {"mrr@10": reciprocal_rank(r, 10).mean(), "r-precision": r_precision(r).mean()}
    return found if arm.guide is None else found | mask_figures(model, variables, rows, of)


def mixed(arm: Arm, seed: int, steps: int) -> dict[str, float]:
    """The figures of an arm on easy and hard pairs."""
    rng = np.random.default_rng(seed)
    model = Pairs(encoder=Words(WIDTH, STD), contrast=arm.loss)
    held, is_hard = mixture(2 * TEST, 0.5, rng)
    variables = fit(model, mixture(PAIRS, HARD, rng)[0], steps=steps, batch=BATCH, seed=seed, lr=LR)
    z = {role: vectors(model, variables, part["tokens"].reshape(-1, part["tokens"].shape[-1])) for role, part in held.items()}
    own = np.einsum("nd,nkd->nk", z[QUERY], z[NEGATIVES].reshape(len(is_hard), OWN, -1))
    nearest = (z[QUERY] * z[POSITIVE]).sum(1) > own.max(1)
    scores = z[QUERY] @ np.concatenate([z[POSITIVE], z[NEGATIVES]]).T
    rank = reciprocal_rank(ranked(scores, np.eye(*scores.shape, dtype=bool)), 10)
    kinds = {"easy": ~is_hard, "hard": is_hard}
    return {
        f"{kind}/{name}": x[those].mean() for kind, those in kinds.items() for name, x in (("accuracy", nearest), ("mrr@10", rank))
    }


def study(what: tuple[str, Arm], seed: int, steps: int = STEPS) -> dict[str, float]:
    part, arm = what
    return mixed(arm, seed, steps) if part == MIXTURE else guided(arm, float(part), seed, steps)


def main(argv: Sequence[str] | None = None) -> None:
    every = [(f"{rate:g}", name, (f"{rate:g}", arm)) for rate in RATES for name, arm in GUIDED.items()]
    every += [(MIXTURE, name, (MIXTURE, arm)) for name, arm in FOCAL.items()]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", default=";".join(dict.fromkeys(part for part, *_ in every)), help="some, between semicolons")
    parser.add_argument("--arms", default=";".join(dict.fromkeys(name for _, name, _ in every)), help="some, between semicolons")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    parts, arms = args.parts.split(";"), args.arms.split(";")
    chosen = [one for one in every if one[0] in parts and one[1] in arms]
    command = shlex.join(["python", "-m", "experiments.text.false_negatives", *(sys.argv[1:] if argv is None else argv)])
    gather(chosen, args.seeds, lambda what, seed: study(what, seed, args.steps), args.out, command)


if __name__ == "__main__":
    main()
