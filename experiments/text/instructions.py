"""Does an instruction beside an image say what its embedding holds, also in a combination never trained? (VLM2Vec 2025)

    python -m experiments.text.instructions [--seeds 3]      nine minutes on one core; writes results/text_instructions.csv

Scenes of `Shapes` as in `image_text.py`, of which colour, position or size count, or two of them: the query is an image and an
instruction that names the one or two, the target the one or two words that say them. The three alone and two of their combinations
are trained, colour and size together never. A small CNN makes nine tokens of an image, the instruction's two words stand behind
them, and two blocks of attention read all; the mean over the tokens is the embedding, or with causal attention the last token, as
published. A small transformer reads the targets. Equal targets are no negatives of each other.

Every task is asked of 300 test scenes, against the 117 targets of all tasks: precision@1 of each task, in the mean over the trained
ones, and how often what is found is at least a target of the task.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from experiments.text.image_text import STARTS, Captioned, scenes, text
from experiments.text.lab import asked, fit
from experiments.text.rows import table_of
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.data.shapes import FACTORS
from jaxemb.layers.cross import CrossBlock
from jaxemb.layers.dense import Dense
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn import CNN, Attention, Block, Encoder, Pooled, Tokens, Transformer
from jaxemb.ops.allow import Allow
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.token import Token
from jaxemb.posemb.none import NoPos
from jaxemb.types import Features

OUT = Path(__file__).parents[2] / "results" / "text_instructions.csv"
NAMES = list(FACTORS)
TRAINED = (("colour",), ("position",), ("size",), ("colour", "position"), ("position", "size"))
HELD_OUT = ("colour", "size")
TASKS = (*TRAINED, HELD_OUT)
NOTHING = len(NAMES)
"""The word of an instruction that names one factor or none."""
PAD = int(STARTS[-1])
WIDTH, STEPS, TRAIN, TEST, LR = 64, 800, 2000, 300, 2e-3


class Arm(NamedTuple):
    instructed: bool = True
    last: bool = False
    batch: int = 64


ARMS = {
    "no instruction": Arm(instructed=False),
    "instruction": Arm(),
    "instruction, last token": Arm(last=True),
    "instruction, batch of 16": Arm(batch=16),
}


class Instructed(Encoder):
    """The map of a CNN as tokens, behind them the words of an instruction (`types`), then blocks of attention."""

    width: int = WIDTH
    depth: int = 2
    causal: bool = False

    @nn.compact
    def __call__(self, images: Array, *, types: Array, train: bool = False) -> Features:
        seen = CNN((16, 32, self.width), (5, 3, 3), name="stem")(images, train=train).tokens
        seen = Dense(self.width, name="proj")(seen.reshape(len(seen), -1, self.width))
        place = self.param("place", nn.initializers.normal(0.02), (seen.shape[1], self.width))
        words = nn.Embed(NOTHING + 1, self.width, embedding_init=nn.initializers.normal(0.5), name="words")(types)
        x = jnp.concatenate([seen + place[None], words], axis=1)
        allow = Allow(causal=self.causal)
        for i in range(self.depth):
            x = CrossBlock(2, mlp=FeedForward(activation="gelu_tanh", kernel_init="xavier"), name=f"block_{i}")(x, x, allow)
        return Features(x, jnp.ones(x.shape[:2], bool))


def instruction(task: Sequence[str], count: int) -> np.ndarray:
    """Its two words, (n 2)."""
    words = [*(NAMES.index(name) for name in task), NOTHING, NOTHING]
    return np.tile(np.array(words[:2], np.int32), (count, 1))


def targets(task: Sequence[str], factors: np.ndarray, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(tokens n 2, a number n that equal targets share) of scenes with these factors; without `rng` the first word of each."""
    tokens, number = np.full((len(factors), 2), PAD), np.zeros(len(factors), np.int32)
    for at, name in enumerate(task):
        i = NAMES.index(name)
        tokens[:, at] = STARTS[i] + 2 * factors[:, i] + (0 if rng is None else rng.integers(0, 2, len(factors)))
        number = 1000 * number + STARTS[i] // 2 + factors[:, i] + 1
    return (tokens if rng is None else rng.permuted(tokens, axis=1)).astype(np.int32), number.astype(np.int32)


def candidates(task: Sequence[str]) -> np.ndarray:
    """Factors of all targets of a task; those that it does not name are 0."""
    sizes = [range(len(values) if name in task else 1) for name, values in FACTORS.items()]
    return np.array(list(itertools.product(*sizes)))


def objective(arm: Arm) -> Captioned:
    block = Block(Attention(2, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
    reader = Transformer(stem=Tokens(PAD + 1, std=0.5), pos=NoPos(), width=WIDTH, depth=1, blocks=(block,))
    return Captioned(
        encoder=Instructed(causal=arm.last),
        pooling=Token(last=True) if arm.last else Mean(),
        contrast=InfoNCE(0.05),
        document=Pooled(encoder=reader),
    )


def said(tokens: np.ndarray) -> dict[str, np.ndarray]:
    return text(tokens) | {"mask": tokens != PAD}


def rows_of(images: np.ndarray, factors: np.ndarray, arm: Arm, rng: np.random.Generator) -> dict[str, Any]:
    """Every trained task of every image."""
    found = [(instruction(task if arm.instructed else (), len(images)), *targets(task, factors, rng)) for task in TRAINED]
    words, tokens, number = (np.concatenate(x) for x in zip(*found, strict=True))
    query = {"images": np.concatenate([images] * len(TRAINED)), "types": words}
    return {"query": query, "positive": said(tokens), "positive_id": number}


def study(arm: Arm, seed: int, steps: int = STEPS) -> dict[str, float]:
    rng, model = np.random.default_rng(seed), objective(arm)
    (images, factors), (held, wanted) = scenes("train", TRAIN, seed), scenes("test", TEST, seed)
    variables = fit(model, rows_of(images, factors, arm, rng), steps=steps, batch=arm.batch, seed=seed, lr=LR)
    every = [targets(task, candidates(task)) for task in TASKS]
    c = unit(asked(model, variables, said(np.concatenate([tokens for tokens, _ in every])), "encode"))
    numbers, of = np.concatenate([number for _, number in every]), np.repeat(np.arange(len(TASKS)), [len(x) for x, _ in every])
    found, form = {}, []
    for i, task in enumerate(TASKS):
        query = {"images": held, "types": instruction(task if arm.instructed else (), len(held))}
        first = (unit(asked(model, variables, query, "captions")) @ c.T).argmax(1)
        found["+".join(task)] = float((numbers[first] == targets(task, wanted)[1]).mean())
        form.append(float((of[first] == i).mean()))
    trained = [found["+".join(task)] for task in TRAINED]
    named = {f"{name}/P@1": value for name, value in found.items()}
    return named | {"trained/P@1": np.mean(trained), "trained/of the task": np.mean(form[:-1]), "held out/of the task": form[-1]}


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def main(argv: Sequence[str] | None = None) -> None:
    table_of("instructions", __doc__, "shapes", ARMS, study, ("steps", STEPS, "of training"), OUT, argv)


if __name__ == "__main__":
    main()
