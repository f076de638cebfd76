"""Two tasks that pull an encoder of text apart: which merging of the two fine-tuned copies serves both?

    python -m experiments.text.merging [--seeds 3]      about a minute of one core a seed; writes results/text_merging.csv

Self Positioning at the size of a lab. A layer on hashed counts of words learns from halves of the standard library's docstrings and
codes; then one copy is trained on each task. `code`: a docstring finds its code (MRR@10 among those of modules that were held out).
`module`: docstrings of one module are alike (accuracy of the nearest neighbour among the same docstrings). Beside them: one model
trained on both, ten batches to one or half and half, with the steps of both copies together. `grid` is the best mean of eleven
points between the copies chosen on the test itself, an oracle; Self Positioning and Fisher see 200 probes a task, which are not
trained on. All losses are InfoNCE at .05.
"""

from __future__ import annotations

import argparse
import functools
import re
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.text.rows import command_of, refuse_trial, write
from jaxemb.contrastive import InfoNCE
from jaxemb.data.docstrings import Function, functions, standard_library
from jaxemb.nn import MLP, Pooled
from jaxemb.ops.similarity import unit
from jaxemb.pooling import Mean
from jaxemb.transforms import Average, Dare, Fisher, SelfPositioning, Slerp, TaskArithmetic, Ties
from jaxemb.transforms.self_positioning import information, same_basin

OUT = Path(__file__).parents[2] / "results" / "text_merging.csv"
VOCABULARY, WIDTH, BATCH, PROBES = 4096, 256, 48, 200
STEPS = {"start": 100, "task": 400}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d")
MODEL = Pooled(MLP((WIDTH,), activation="tanh"), pooling=Mean())
LOSS = InfoNCE(temperature=0.05)
Pair = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
TASKS = ("code", "module")


def arrays(texts: list[list[str]]) -> dict[str, np.ndarray]:
    """Square roots of the counts of words, as unit vectors."""
    counts = np.zeros((len(texts), VOCABULARY), np.float32)
    for row, words in zip(counts, texts, strict=True):
        for word in words or ["?"]:
            row[zlib.crc32(word.lower().encode()) % VOCABULARY] += 1
    return {"images": np.sqrt(counts / counts.sum(1, keepdims=True))}


def words(text: str) -> list[str]:
    return WORD.findall(text)


def start_pairs(found: list[Function], rng: np.random.Generator) -> Iterator[Pair]:
    """Either half of the words of a text, drawn."""
    while True:
        halves: tuple[list, list] = ([], [])
        for i in rng.integers(0, len(found), BATCH):
            every = words(found[i].text if rng.random() < 0.5 else found[i].code)
            chosen = rng.random(len(every)) < 0.5
            for half, keep in zip(halves, (chosen, ~chosen), strict=True):
                half.append([w for w, k in zip(every, keep, strict=True) if k])
        yield arrays(halves[0]), arrays(halves[1])


def code_pairs(found: list[Function], rng: np.random.Generator) -> Iterator[Pair]:
    while True:
        rows = rng.choice(len(found), BATCH, replace=False)
        yield arrays([words(found[i].text) for i in rows]), arrays([words(found[i].code) for i in rows])


def module_pairs(found: list[Function], rng: np.random.Generator) -> Iterator[Pair]:
    """Two docstrings of each of BATCH modules."""
    by_module: dict[str, list[Function]] = defaultdict(list)
    for f in found:
        by_module[f.module].append(f)
    able = [fs for fs in by_module.values() if len(fs) > 1]
    while True:
        chosen = [able[i] for i in rng.choice(len(able), BATCH, replace=len(able) < BATCH)]
        two = [rng.choice(len(fs), 2, replace=False) for fs in chosen]
        yield tuple(arrays([words(fs[t[side]].text) for fs, t in zip(chosen, two, strict=True)]) for side in (0, 1))  # pyright: ignore


PAIRS: dict[str, Callable[..., Iterator[Pair]]] = {"start": start_pairs, "code": code_pairs, "module": module_pairs}


def encode(params: Any, batch: Any) -> Any:
    return MODEL.apply({"params": params}, batch)


def loss(params: Any, pair: Any) -> jax.Array:
    q, d = (encode(params, x) for x in pair)
    return LOSS(q, d).value


@functools.partial(jax.jit, donate_argnums=(0, 1))
def step(params: Any, state: Any, pair: Any, rate: Any) -> Any:
    change, state = optax.scale_by_adam().update(jax.grad(loss)(params, pair), state)
    return jax.tree.map(lambda x, c: x - rate * c, params, change), state


def train(params: Any, batches: Iterator[Pair], steps: int, rate: float) -> Any:
    """Adam with a rate that falls to 0."""
    params = jax.tree.map(jnp.array, params)  # the step gives its memory away
    state = optax.scale_by_adam().init(params)
    for i in range(steps):
        params, state = step(params, state, next(batches), jnp.float32(rate * (1 - i / steps)))
    return params


def mixed(parts: dict[str, Iterator[Pair]], share: float, rng: np.random.Generator) -> Iterator[Pair]:
    """A batch of the first task with probability `share`, else of the second."""
    while True:
        yield next(parts[TASKS[int(rng.random() >= share)]])


@jax.jit
def embed(params: Any, batch: Any) -> jax.Array:
    return unit(encode(params, batch))


def judge(params: Any, test: list[Function]) -> dict[str, float]:
    texts, codes = (
        np.asarray(embed(params, arrays([words(t) for t in side]))) for side in zip(*((f.text, f.code) for f in test), strict=True)
    )
    scores = texts @ codes.T
    rank = 1 + (scores > np.diag(scores)[:, None]).sum(1)
    modules = np.array([f.module for f in test])
    among = texts @ texts.T
    np.fill_diagonal(among, -2)
    mrr, nearest = np.where(rank <= 10, 1 / rank, 0).mean(), (modules[among.argmax(1)] == modules).mean()
    return {"code": float(mrr), "module": float(nearest), "mean": float(mrr + nearest) / 2}


def parts(seed: int) -> dict[str, list[Function]]:
    """What is trained on, a fifth that is left for probes, and what is tested: other modules, of several functions each."""
    found = functions([standard_library()], share=0.4, seed=seed)
    order = np.random.default_rng(seed).permutation(len(found.train))
    train, probe = ([found.train[i] for i in order[part]] for part in (slice(len(order) // 5, None), slice(len(order) // 5)))
    several = Counter(f.module for f in found.modules)
    return {"code": train, "module": train, "probe": probe, "test": [f for f in found.modules if several[f.module] > 1][:600]}


def run(seed: int, steps: dict[str, int], search: int) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    own, rng = parts(seed), np.random.default_rng(seed)
    draw = {"start": start_pairs(own["code"], rng), **{task: PAIRS[task](own[task], rng) for task in TASKS}}
    first = next(draw["code"])[0]
    start = train(jax.jit(MODEL.init)(jax.random.key(seed), first)["params"], draw["start"], steps["start"], 5e-4)
    models = [train(start, draw[task], steps["task"], 1e-3) for task in TASKS]
    both = 2 * steps["task"]
    probes = [[next(b) for _ in range(PROBES // BATCH)] for b in (PAIRS[task](own["probe"], rng) for task in TASKS)]
    squares = [information(loss, m, p) for m, p in zip(models, probes, strict=True)]
    found = SelfPositioning(steps=search, rate=0.02).search(models, start, loss=loss, probes=probes)
    made = {
        "start": start,
        "code alone": models[0],
        "module alone": models[1],
        "joint, 10 : 1": train(start, mixed(draw, 10 / 11, rng), both, 1e-3),
        "joint, 1 : 1": train(start, mixed(draw, 0.5, rng), both, 1e-3),
        "average": Average()(models),
        "slerp": Slerp(0.5)(models),
        "task arithmetic, 1": TaskArithmetic(1.0)(models, start),
        "task arithmetic, 0.7": TaskArithmetic(0.7)(models, start),
        "ties, 0.2": Ties(density=0.2)(models, start),
        "ties, 0.6": Ties(density=0.6)(models, start),
        "dare, 0.5": Dare(drop=0.5, scale=0.5)(models, start),
        "fisher": Fisher()(models, information=squares),
        "self positioning": found.params,
    }
    figures = {name: judge(params, own["test"]) for name, params in made.items()}
    line = [judge(Average((1 - t, t))(models), own["test"]) for t in np.linspace(0, 1, 11).tolist()]
    figures["grid"] = max(line, key=lambda f: f["mean"])
    place = found.place
    along = same_basin(models[0], models[1], loss, probes[0][0], points=5)
    once = len(probes[0])  # a round of the batches of probes
    aside = {"alpha_code": float(place.alpha[0]), "scale": place.scale, "tests": len(own["test"])}
    aside |= {"probe_loss_first": float(np.mean(found.losses[:once])), "probe_loss_last": float(np.mean(found.losses[-once:]))}
    return figures, aside | {f"code_loss_at_{t:g}": float(v) for t, v in zip((0, 0.25, 0.5, 0.75, 1), along, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs=2, default=list(STEPS.values()), help="of the start, and of each task")
    parser.add_argument("--search", type=int, default=100, help="steps of Self Positioning")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    refuse_trial(parser, args, "steps", "search")
    began, rows = time.perf_counter(), []
    for seed in range(args.seeds):
        figures, aside = run(seed, dict(zip(STEPS, args.steps, strict=True)), args.search)
        rows += [("stdlib", name, seed, figure, value) for name, some in figures.items() for figure, value in some.items()]
        rows += [("stdlib", "self positioning", seed, figure, value) for figure, value in aside.items()]
        print(f"seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    write(rows, args.out, command_of("merging"))
    print(f"{time.perf_counter() - began:.0f} s; {args.out}")


if __name__ == "__main__":
    main()
