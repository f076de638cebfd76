"""Does pre-training on library code help to find its bugs? (CuBERT, Kanade et al. 2020, at lab scale)

    python -m experiments.text.cubert [--seeds 3]      about eight minutes on one core; nothing is downloaded

The standard library, split by file, as CuBERT's pieces. A small encoder is trained on masked tokens of logical lines of the
training files, then on a task made of their functions, or on the task alone. Tasks: a use of a variable is another one (localise
and repair), operands of a binary operator are swapped, a docstring is another function's. Beside them logistic regression on bags
of pieces, which on swapped operands can be no better than chance: both sides have the same bag.
"""

from __future__ import annotations

import argparse
import ast
import functools
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.text.lab import CLS, MASK, PAD, SEP, UNK, asked, fit, ids, learn, padded, write
from experiments.text.rows import command_of, refuse_trial
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.masked_tokens import MaskedTokens
from jaxemb.objectives.variable_misuse import VariableMisuse
from jaxemb.pooling.first import First
from jaxemb.posemb.learned import Learned
from jaxemb.preprocess.python_tokens import python_words
from jaxemb.preprocess.variable_misuse import Example, Function, function, functions, lines_of, misuse

OUT = Path(__file__).parents[2] / "results" / "text_cubert.csv"
VOCABULARY, LENGTH, WIDTH = 4096, 96, 64
PRETRAINING, STEPS, BATCH = 800, 400, 32
FIXED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In)
"""Operators whose operands cannot change places without changing what is computed."""
Words = Sequence[Sequence[str]]


def sources(limit: int | None = None) -> list[tuple[str, list[str]]]:
    """(source, its functions) of each file of the standard library, without tests."""
    found = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))[:limit]:
        if {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "encodings", "pydoc_data"} & set(file.parts):
            continue
        try:
            source = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found.append((source, [f for f in functions(source) if len(f) < 1500]))
    return found


def encoder(vocabulary: int) -> Transformer:
    block = Block(Attention(4, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
    return Transformer(stem=Tokens(vocabulary, types=2), pos=Learned(shape=(LENGTH,)), width=WIDTH, depth=2, blocks=(block,))


# ---- examples --------------------------------------------------------------------------------------------------------------------


def swapped(source: str, rng: np.random.Generator) -> tuple[Words, Words] | None:
    """(with the operands of one operator swapped, as it was): the same pieces in another order."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    sides = [(n.left, n.right) for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, FIXED)]
    sides += [
        (n.left, n.comparators[0])
        for n in ast.walk(tree)
        if isinstance(n, ast.Compare) and len(n.ops) == 1 and isinstance(n.ops[0], FIXED)
    ]
    simple = (ast.Name, ast.Attribute, ast.Constant, ast.Subscript)
    sides = [(a, b) for a, b in sides if isinstance(a, simple) and isinstance(b, simple) and ast.dump(a) != ast.dump(b)]
    if not sides or not source.isascii():
        return None
    left, right = sides[int(rng.integers(len(sides)))]
    starts = np.cumsum([0, *map(len, lines_of(source))])
    (a, b), (c, d) = (
        (starts[x.lineno - 1] + x.col_offset, starts[(x.end_lineno or 1) - 1] + (x.end_col_offset or 0)) for x in (left, right)
    )
    return python_words(source[:a] + source[c:d] + source[b:c] + source[a:b] + source[d:]), python_words(source)


def documented(source: str) -> tuple[str, str] | None:
    """(first paragraph of the docstring, the function without it)."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a method with a text that begins at the left margin stays indented
        return None
    node = tree.body[0]
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    if len(node.body) < 2 or not (text := ast.get_docstring(node)):
        return None
    node.body = node.body[1:]
    return text.split("\n\n")[0], ast.unparse(tree)


def row(tokenizer: Any, first: Words, second: Words = (), share: int = LENGTH // 3) -> tuple[list[int], list[int], list[int]]:
    """(ids, their types, the number of the word of each, -1 of special ones): [CLS] first [SEP], or [CLS] first [SEP] second [SEP],
    the first cut to `share`."""
    own, numbers = ids(tokenizer, first)
    if not second:
        return [CLS, *own, SEP], [0] * (len(own) + 2), [-1, *numbers, -1]
    own, other = own[:share], ids(tokenizer, second)[0]
    other = other[: LENGTH - len(own) - 3]
    return [CLS, *own, SEP, *other, SEP], [0] * (len(own) + 2) + [1] * (len(other) + 1), []


def classified(rows: Sequence[tuple[list[int], list[int], list[int]]], labels: Sequence[int]) -> dict[str, np.ndarray]:
    types = padded([r[1] for r in rows], LENGTH)["tokens"]
    return padded([r[0] for r in rows], LENGTH) | {"types": types, "labels": np.array(labels, np.int32)}


def pointed(tokenizer: Any, examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """The arrays of `VariableMisuse`; examples whose places are beyond the length are left out."""
    found: dict[str, list] = {"rows": [], "candidates": [], "error": [], "repairs": []}
    for x in examples:
        tokens, _, numbers = row(tokenizer, x.words)
        first = {number: at for at, number in reversed(list(enumerate(numbers[:LENGTH])))}
        if len(tokens) > LENGTH:
            continue
        at = lambda places, first=first: np.isin(np.arange(LENGTH), [first[p] for p in places])  # noqa: E731
        found["rows"].append(tokens)
        found["candidates"].append(at(x.candidates) | (np.arange(LENGTH) == 0))
        found["error"].append(0 if x.error < 0 else first[x.error])
        found["repairs"].append(at(x.repairs))
    arrays = {name: np.stack(found[name]) for name in ("candidates", "repairs")}
    return padded(found["rows"], LENGTH) | arrays | {"error": np.array(found["error"], np.int32)}


def lines(tokenizer: Any, texts: Sequence[Words]) -> dict[str, np.ndarray]:
    """Rows of whole logical lines, as many as fit, for masked tokens."""
    rows: list[list[int]] = []
    for words in texts:
        ends = [0, *(i + 1 for i, word in enumerate(words) if word[0] == "___NEWLINE___"), len(words)]
        current: list[int] = []
        for a, b in zip(ends[:-1], ends[1:], strict=True):
            line = ids(tokenizer, words[a:b])[0] if b > a else []
            if current and len(current) + len(line) > LENGTH - 2:
                rows.append([CLS, *current, SEP])
                current = []
            current = (current + line)[: LENGTH - 2]
        if len(current) > 1:
            rows.append([CLS, *current, SEP])
    return padded(rows, LENGTH)


# ---- the study -------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(1)
def read(limit: int | None) -> tuple[Any, Sequence[Sequence[Words]], list[list[str]]]:
    """(vocabulary, words of the files, functions) of the training files and of a fifth that is held out; by file."""
    every = sources(limit)
    order = np.random.default_rng(0).permutation(len(every))
    parts = [[every[i] for i in order[len(every) // 5 :]], [every[i] for i in order[: len(every) // 5]]]
    texts = [[python_words(f) for _, own in part for f in own] for part in parts]
    tokenizer = learn(([piece for word in words for piece in word] for words in texts[0]), VOCABULARY)
    return tokenizer, texts, [[f for _, own in part for f in own] for part in parts]


def examples(sources: Sequence[str], task: str, tokenizer: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of a task, with a bug and without by turns."""
    if task == "misuse":
        known: list[Function] = [f for s in sources if (f := function(s)) is not None]
        return pointed(tokenizer, [x for f in known if (pair := misuse(f, rng)) is not None for x in pair])
    if task == "operands":
        pairs = [pair for s in sources if (pair := swapped(s, rng)) is not None]
        rows = [[row(tokenizer, words) for words in pair] for pair in pairs]
        rows = [pair for pair in rows if len(pair[0][0]) <= LENGTH]  # cut, the bags of both sides would differ
        return classified([x for pair in rows for x in pair], [1, 0] * len(rows))
    told = [pair for s in sources if (pair := documented(s)) is not None]
    texts, codes = [text_words(text) for text, _ in told], [python_words(code) for _, code in told]
    other = (np.arange(len(told)) + rng.integers(1, len(told), len(told))) % len(told)
    rows = [row(tokenizer, texts[j], codes[i]) for i in range(len(told)) for j in (i, other[i])]
    return classified(rows, [1, 0] * len(told))


def text_words(text: str) -> Words:
    """A docstring as one string."""
    return python_words(repr(" ".join(text.split())))[:1]


def bags(arrays: dict[str, np.ndarray], vocabulary: int) -> np.ndarray:
    """How often each id stands in a row; in the second text apart."""
    found = np.zeros((len(arrays["tokens"]), 2 * vocabulary), np.float32)
    rows = np.broadcast_to(np.arange(len(found))[:, None], arrays["tokens"].shape)[arrays["mask"]]
    np.add.at(found, (rows, (arrays["tokens"] + vocabulary * arrays["types"])[arrays["mask"]]), 1)
    return np.log1p(found)


def study(seed: int, scale: float = 1.0, limit: int | None = None) -> dict[str, dict[str, float]]:
    """Figures of each arm; `scale` of all steps, `limit` files."""
    tokenizer, texts, sources = read(limit)
    size = tokenizer.get_vocab_size()
    model = MaskedTokens(encoder=encoder(size), mask=MASK, special=(PAD, UNK, CLS, SEP))
    start = fit(model, lines(tokenizer, texts[0]), steps=int(PRETRAINING * scale), batch=BATCH, seed=seed)
    rng, found = np.random.default_rng(seed), {}
    for task in ("misuse", "operands", "docstring"):
        train, test = (examples(part, task, tokenizer, rng) for part in sources)
        for name, begin in (("from scratch", None), ("pre-trained", {"encoder": start["params"]["encoder"]})):
            net = encoder(size)
            pointer = VariableMisuse(encoder=net) if task == "misuse" else Classify(net, First(), classes=2, inputs="tokens")
            variables = fit(pointer, train, steps=int(STEPS * scale), batch=BATCH, seed=seed, start=begin)
            found[f"{task}, {name}"] = judged(pointer, variables, test)
        if task != "misuse":
            from sklearn.linear_model import LogisticRegression

            fitted = LogisticRegression(C=0.1, max_iter=200).fit(bags(train, size), train["labels"])
            found[f"{task}, bag of pieces"] = {"accuracy": float(fitted.score(bags(test, size), test["labels"]))}
    return found


def judged(model: Any, variables: Any, test: dict[str, np.ndarray]) -> dict[str, float]:
    """Accuracy on what is held out; of misuse, of calling clean functions clean, of finding the place, and of repairing it."""
    if not isinstance(model, VariableMisuse):
        return {"accuracy": float((asked(model, variables, test, "logits").argmax(-1) == test["labels"]).mean())}
    found, bug = asked(model, variables, test, "answers"), test["error"] > 0
    return {
        "clean": float(found["located"][~bug].mean()),
        "located": float(found["located"][bug].mean()),
        "repaired": float(found["repaired"][bug].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of steps")
    parser.add_argument("--limit", type=int, help="files at most")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    refuse_trial(parser, args, "scale", "limit")
    found = []
    for seed in range(args.seeds):
        began = time.perf_counter()
        found.append(study(seed, args.scale, args.limit))
        for name, figures in found[-1].items():
            print(f"seed {seed}  {name:28}", "  ".join(f"{k} {v:.3f}" for k, v in figures.items()), flush=True)
        print(f"{time.perf_counter() - began:.0f} s", flush=True)
    write(args.out, found, command_of("cubert"))


if __name__ == "__main__":
    main()
