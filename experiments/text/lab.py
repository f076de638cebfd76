"""What the studies of masked tokens share: training an objective on arrays in memory by the package's own step, and words of a
vocabulary that is learned from pieces."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxemb.ops.draws import Draws
from jaxemb.run.environment import environment
from jaxemb.train.optim import Optim
from jaxemb.train.state import create
from jaxemb.train.step import make_step

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
BETWEEN = "\x00"
"""Stands between pieces, which may hold white space."""


def fit(
    objective: Any,
    arrays: Mapping[str, Any],
    *,
    steps: int,
    batch: int,
    seed: int,
    lr: float = 1e-3,
    start: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The variables after training on rows of `arrays`, nested by role or not, in a new order every epoch. `start`: parameters to
    begin with, by the name of the part, such as {"encoder": ...}; the rest as it is drawn."""
    begin, step = compiled(objective, lr, steps)
    rng, count = np.random.default_rng(seed), len(jax.tree.leaves(arrays)[0])
    order = np.concatenate([rng.permutation(count) for _ in range(-(-steps * batch // count))])

    def at(i: int) -> dict[str, Any]:
        rows = jax.tree.map(lambda x: x[order[i * batch : (i + 1) * batch]], dict(arrays))
        return objective.prepare(rows, Draws((seed, i), batch))

    state = begin(at(0), seed)
    if start is not None:
        state = state.replace(params=state.params | jax.tree.map(jnp.array, dict(start)))
    for i in range(steps):
        state, _ = step(state, at(i))
    return {"params": state.params, **state.stats}


@functools.lru_cache(32)
def compiled(objective: Any, lr: float, steps: int) -> tuple[Any, Any]:
    """(state of a batch and a seed, step), compiled once for all seeds and starts."""
    optim = Optim("adamw", lr=lr, warmup=0.1, decay=0.01, clip=1.0)
    begin = jax.jit(lambda b, seed: create(objective, optim.make(steps), b, seed=seed, ema=False))
    return begin, jax.jit(make_step(objective, optim, steps=steps), donate_argnums=0)


@functools.lru_cache(32)
def method_of(objective: Any, method: str) -> Any:
    return jax.jit(lambda v, b: objective.apply(v, b, method=method))


def asked(objective: Any, variables: Any, arrays: Mapping[str, Any], method: str, batch: int = 128) -> Any:
    """What a method gives for each row."""
    run = method_of(objective, method)
    count, found = len(jax.tree.leaves(arrays)[0]), []
    for i in range(0, count, batch):
        rows = jax.tree.map(lambda x, i=i: np.resize(x[i : i + batch], (batch, *x.shape[1:])), dict(arrays))
        found.append(jax.device_get(run(variables, rows)))
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *found)


def write(file: Path, found: Sequence[Mapping[str, Mapping[str, float]]], command: str) -> None:
    """A row an arm and figure, of several seeds: mean, deviation, values."""
    where = environment()
    with file.open("w", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(["experiment", "figure", "mean", "std", "values", "seeds", "commit", "machine", "command"])
        for name, figures in found[0].items():
            for figure in figures:
                values = np.array([one[name][figure] for one in found])
                std = f"{values.std(ddof=1):.4f}" if len(values) > 1 else ""
                shown, seeds = " ".join(f"{x:.4f}" for x in values), " ".join(map(str, range(len(values))))
                commit = f"{str(where['commit'])[:9]}{'+' if where['dirty'] else ''}"
                lines.writerow([name, figure, f"{values.mean():.4f}", std, shown, seeds, commit, where["machine"], command])


# ---- a vocabulary of pieces -----------------------------------------------------------------------------------------------------


def learn(texts: Iterable[Sequence[str]], size: int) -> Any:
    """A vocabulary of `size` ids learned from texts that are pieces: pairs of characters merged by their frequency, none across
    pieces."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(BETWEEN, "removed")
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False, min_frequency=2)
    tokenizer.train_from_iterator((BETWEEN.join(text) for text in texts), trainer)
    return tokenizer


def ids(tokenizer: Any, words: Sequence[Sequence[str]]) -> tuple[list[int], list[int]]:
    """(the ids of words that are pieces each, the number of the word of each id)."""
    pieces = [(piece, number) for number, word in enumerate(words) for piece in word]
    found = tokenizer.encode(BETWEEN.join(piece for piece, _ in pieces))
    return found.ids, [pieces[i][1] for i in found.word_ids]


def padded(rows: Sequence[Sequence[int]], length: int) -> dict[str, np.ndarray]:
    """`tokens` and `mask` of rows of ids, cut and padded to a length."""
    tokens = np.full((len(rows), length), PAD, np.int32)
    for row, into in zip(rows, tokens, strict=True):
        into[: len(row)] = row[:length]
    return {"tokens": tokens, "mask": np.arange(length)[None] < np.array([len(row) for row in rows])[:, None]}
