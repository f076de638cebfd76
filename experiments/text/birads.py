"""Do pre-training on the reports and the place of a sentence tell its section? (BI-RADS BERT, Kuling et al. 2022)

    python -m experiments.text.birads --data ori_pqal.json [--seeds 3]      about five minutes on one core

Reports are the labelled abstracts of PubMedQA whose sections are among six; sentences by a simple splitter. A small encoder is
trained on masked tokens of the training sentences and then on their sections, or on their sections alone; with the three numbers of
the paper or without. Accuracy and G.F1 in the mean over reports, from left to right with the prediction before (`greedy`) and with
the true section before (`forced`). The second part is the extraction of a field: synthetic reports say the same words of an old
examination and of this one, and one classifier reads the whole report, another the findings alone.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.text.lab import CLS, MASK, PAD, SEP, UNK, asked, fit, ids, learn, padded, write
from experiments.text.rows import command_of, refuse_trial
from experiments.text.sections import Sections, auxiliary, decode
from jaxemb.data.base import DataError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.metrics.sections import section_scores
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.masked_tokens import MaskedTokens
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.learned import Learned

OUT = Path(__file__).parents[2] / "results" / "text_birads.csv"
SECTIONS = {
    "AIM": r"AIMS?|OBJECTIVES?|PURPOSES?|STUDY OBJECTIVE|HYPOTHESIS",
    "BACKGROUND": r"BACKGROUND|INTRODUCTION|CONTEXT|SUMMARY OF BACKGROUND DATA",
    "METHODS": r"(MATERIALS? AND |PATIENTS AND )?METHODS?|METHODS AND MATERIALS|METHODOLOGY|(STUDY )?DESIGN|MAIN OUTCOME MEASURES?"
    r"|MEASUREMENTS|INTERVENTIONS?",
    "PATIENTS": r"PATIENTS|PARTICIPANTS|SUBJECTS|POPULATION",
    "RESULTS": r"RESULTS?|(PRINCIPAL )?FINDINGS|MAIN RESULTS",
    "SETTING": r"SETTINGS?",
}
VOCABULARY, LENGTH, WIDTH = 2048, 32, 64
PRETRAINING, STEPS, BATCH = 600, 300, 32
VALUES = ("benign", "malignant", "cystic", "normal")


def reports(path: str) -> list[list[tuple[str, int]]]:
    """(sentence, section) of each abstract whose sections are all among the six."""
    file = Path(path).expanduser()
    if not path or not file.is_file():
        raise DataError(
            f"there is no file {path!r}: give --data the labelled PubMedQA abstracts, ori_pqal.json (github.com/pubmedqa)"
        )
    found = []
    for abstract in json.loads(file.read_text()).values():
        sections = [
            next((i for i, name in enumerate(SECTIONS.values()) if re.fullmatch(name, label)), -1) for label in abstract["LABELS"]
        ]
        if sections and -1 not in sections:
            texts = zip(abstract["CONTEXTS"], sections, strict=True)
            found.append([(s, i) for text, i in texts for s in re.split(r"(?<=[.!?])\s+(?=[A-Z(])", text) if s])
    return found


def words(text: str) -> list[list[str]]:
    """The words of a text and its marks, each a piece; digits are one sign, as values say nothing of a section."""
    return [[piece] for piece in re.findall(r"[a-z]+|\d|[^\w\s]", re.sub(r"\d+", "0", text.lower()))]


def rows(tokenizer: Any, texts: list[str], length: int = LENGTH) -> dict[str, np.ndarray]:
    return padded([[CLS, *ids(tokenizer, words(text))[0][: length - 2], SEP] for text in texts], length)


def encoder(vocabulary: int, length: int = LENGTH) -> Transformer:
    block = Block(Attention(4, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
    return Transformer(stem=Tokens(vocabulary), pos=Learned(shape=(length,)), width=WIDTH, depth=2, blocks=(block,))


def pretrained(tokenizer: Any, arrays: dict[str, np.ndarray], seed: int, steps: int) -> Any:
    """The encoder after masked language modelling."""
    length = arrays["tokens"].shape[1]
    model = MaskedTokens(encoder=encoder(tokenizer.get_vocab_size(), length), mask=MASK, special=(PAD, UNK, CLS, SEP))
    return fit(model, arrays, steps=steps, batch=BATCH, seed=seed)["params"]["encoder"]


def listed(data: list[list[tuple[str, int]]], part: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(sentences, their sections, the report of each) of some reports."""
    every = [(text, section, r) for r in part for text, section in data[r]]
    return [x[0] for x in every], np.array([x[1] for x in every], np.int32), np.array([x[2] for x in every])


def segmentation(data: list[list[tuple[str, int]]], seed: int, scale: float = 1.0) -> dict[str, dict[str, float]]:
    """Figures of each arm on a fifth of the reports, which none has seen; `scale` of all steps."""
    order = np.random.default_rng(seed).permutation(len(data))
    fifth = len(data) // 5
    (texts, own, report), (held, wanted, group) = listed(data, order[fifth:]), listed(data, order[:fifth])
    tokenizer = learn(([w[0] for w in words(text)] for text in texts), VOCABULARY)
    size, train, test = tokenizer.get_vocab_size(), rows(tokenizer, texts), rows(tokenizer, held)
    start = {"encoder": pretrained(tokenizer, train, seed, int(PRETRAINING * scale))}
    train |= {"labels": own, "auxiliary": auxiliary(own, report).astype(np.float32)}
    found = {}
    for numbers in ("none", "all"):
        for name, begin in (("from scratch", None), ("pre-trained", start)):
            model = Sections(encoder=encoder(size), pooling=Mean(), classes=len(SECTIONS), numbers=numbers)
            variables = fit(model, train, steps=int(STEPS * scale), batch=BATCH, seed=seed, start=begin)
            h = asked(model, variables, test, "encode")
            told = asked(model, variables, {"h": h, "auxiliary": auxiliary(wanted, group).astype(np.float32)}, "section")
            figures = {"greedy": decode(model, variables, h, group), "forced": told}
            found[f"sections, {name}, {numbers}"] = {
                f"{way}_{k}": v for way, x in figures.items() for k, v in section_scores(wanted, x, group).items()
            }
    return found


def synthetic(count: int, seed: int) -> tuple[list[str], list[str], np.ndarray]:
    """(whole reports, their findings alone, which value the findings have). The history has the same words with another value."""
    rng = np.random.default_rng(seed)
    whole, findings, values = [], [], []
    for _ in range(count):
        now, before = rng.choice(len(VALUES), 2, replace=False)
        first, second = (
            f"the {side} breast shows a {VALUES[v]} lesion of {rng.integers(3, 40)} mm"
            for side, v in zip(rng.permutation(["left", "right"]), (before, now), strict=True)
        )
        parts = [f"history : {first} .", f"findings : {second} ."]
        if rng.random() < 0.5:  # reports do not keep to one order
            parts.reverse()
        whole.append(" ".join(parts))
        findings.append(second)
        values.append(now)
    return whole, findings, np.array(values, np.int32)


def extraction(seed: int, scale: float = 1.0) -> dict[str, dict[str, float]]:
    """Accuracy of the field on reports that are held out."""
    whole, findings, values = synthetic(1200, seed)
    found = {}
    for name, texts in (("whole report", whole), ("findings alone", findings)):
        tokenizer = learn(([w[0] for w in words(text)] for text in texts[:900]), 256)
        arrays = rows(tokenizer, texts, 2 * LENGTH) | {"labels": values}
        train, test = ({k: x[part] for k, x in arrays.items()} for part in (slice(900), slice(900, None)))
        net = encoder(tokenizer.get_vocab_size(), 2 * LENGTH)
        model = Classify(encoder=net, inputs="tokens", pooling=Mean(), classes=len(VALUES))
        start = {"encoder": pretrained(tokenizer, train, seed, int(PRETRAINING * scale / 4))}
        variables = fit(model, train, steps=int(STEPS * scale / 3), batch=BATCH, seed=seed, start=start)
        right = asked(model, variables, test, "logits").argmax(-1) == test["labels"]
        found[f"field, {name}"] = {"accuracy": float(right.mean())}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="", help="ori_pqal.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of steps")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    refuse_trial(parser, args, "scale")
    data = reports(args.data)
    print(f"{len(data)} reports, {sum(map(len, data))} sentences", flush=True)
    found: list[dict[str, dict[str, float]]] = []
    for seed in range(args.seeds):
        began = time.perf_counter()
        found.append(segmentation(data, seed, args.scale) | extraction(seed, args.scale))
        for name, figures in found[-1].items():
            print(f"seed {seed}  {name:40}", "  ".join(f"{k} {v:.3f}" for k, v in figures.items()), flush=True)
        print(f"{time.perf_counter() - began:.0f} s", flush=True)
    write(args.out, found, command_of("birads"))


if __name__ == "__main__":
    main()
