"""What every evaluation keeps to: a function of `encode` and data, and of nothing else."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import Fake, write_collection

from jaxemb.config import from_json, to_json
from jaxemb.data.digits import Digits
from jaxemb.data.key_value import KeyValue
from jaxemb.data.text import Text
from jaxemb.data.text_pairs import TextPairs
from jaxemb.data.textures import Textures
from jaxemb.discover import members
from jaxemb.evals.base import Encodes, Scores
from jaxemb.evals.dense import patch_labels
from jaxemb.evals.extrapolate import Extrapolate
from jaxemb.evals.raw import RawInputs
from jaxemb.evals.throughput import Throughput
from jaxemb.types import Features
from jaxemb.views.crops import CropViews

SMALL = {"train": 60, "test": 30, "k": 3, "shots": 2, "draws": 3, "epochs": 2, "samples": 40, "examples": 8, "rounds": 2}
OWN = {"LiDAR": {"samples": 70, "views": CropViews(count=2)}}
"""For members that these numbers are too small for: LiDAR needs more images than features."""
TEXTS = ("Retrieval", "STS", "PairClassification", "Clustering", "TextClassification", "LongEmbed", "Haystack", "HeldOutPairs")
"""They bring texts of their own, and need of the data how a model reads them."""
DATA = {
    "Perplexity": KeyValue(length=16, count_test=30),
    "PseudoPerplexity": KeyValue(length=16, count_test=30),
    "DensePatches": Textures(size=16, count_train=80, count_test=40),
    **dict.fromkeys(TEXTS, Text(length=16)),
    "HeldOutPairs": TextPairs(str(Path(__file__).parents[2] / "experiments" / "text" / "pairs.jsonl"), length=16),
}
"""What a member is measured on, where that is not `Digits()`."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """name -> the fields of an evaluation of texts."""
    folder = tmp_path_factory.mktemp("texts")
    labelled, pairs = folder / "labelled.csv", folder / "pairs.csv"
    labelled.write_text("".join(f"{word} {i},{word}\n" for i in range(4) for word in ("wing", "cell")))
    pairs.write_text("a wing,the wing,1\na wing,a cell,0\nthe cell,a cell,1\n")
    write_collection(folder, {"1": "a wing", "2": "a cell"}, {"q": "wing"}, "q\t1\t1\n")
    given = dict.fromkeys(TEXTS[1:4], {"path": str(pairs)})
    labels = {"path": str(labelled)}
    (folder / "qmsum").mkdir()
    for name, row in (("corpus", {"doc_id": "d", "text": "a"}), ("queries", {"qid": "q", "text": "a"})):
        (folder / "qmsum" / f"{name}.jsonl").write_text(json.dumps(row))
    (folder / "qmsum" / "qrels.jsonl").write_text(json.dumps({"qid": "q", "doc_id": "d"}))
    long = {"LongEmbed": {"path": str(folder), "tasks": ("qmsum",)}, "Haystack": {"lengths": (64,), "queries": 2, "documents": 3}}
    return given | {TEXTS[0]: {"path": str(folder)}, TEXTS[3]: labels, TEXTS[4]: labels | {"train_path": str(labelled)}} | long


@pytest.fixture(params=members("evals"), ids=lambda m: m.name)
def evaluation(request, texts):
    """A member with small numbers in the fields it has."""
    small = SMALL | OWN.get(request.param.name, {})
    fits = {name: value for name, value in small.items() if name in request.param.defaults}
    return request.param.cls(**fits, **texts.get(request.param.name, {}))


class Encode(Fake):
    """Flattens the array that models read; its head answers at random, but always the same."""

    def __init__(self):
        heads = {"nll": lambda a: np.log1p(self.flat(a)[:, 1:]), "recovered": self.recovered}
        super().__init__(self.flat, logits=self.logits, features=self.features, **heads)

    def flat(self, arrays):
        x = arrays[next(name for name in ("images", "tokens", "cells") if name in arrays)]
        assert {len(other) for other in arrays.values()} == {len(x)}
        x.flags.writeable = False  # who writes into the data from here on is found out
        return x.reshape(len(x), -1)

    def logits(self, arrays):
        x = self.flat(arrays)
        return x @ np.random.default_rng(0).normal(size=(x.shape[1], 12))

    def recovered(self, arrays):
        x = self.flat(arrays)
        return {"nll": np.log1p(x), "right": x > 3, "counted": np.ones_like(x)}

    def features(self, arrays):
        return tokens(self.flat(arrays).reshape(len(arrays["images"]), 16, -1))


def tokens(x):
    return Features(x.astype(np.float32), np.ones(x.shape[:2], bool))


class Oracle(Fake):
    """The label itself, one-hot, as embedding and as answer."""

    def __init__(self):
        super().__init__(
            self.one_hot, logits=self.one_hot, features=lambda a: tokens(self.patches(patch_labels(a["regions"], 4)[0]))
        )

    def one_hot(self, arrays):
        return np.eye(10, dtype=np.float32)[arrays["labels"]]

    def patches(self, labels):
        return np.eye(8)[labels]


class Ignorant(Oracle):
    """No information at all."""

    def one_hot(self, arrays):
        return np.zeros((len(arrays["labels"]), 10), np.float32)

    def patches(self, labels):
        return np.zeros((*labels.shape, 8))


def data_of(evaluation):
    return DATA.get(type(evaluation).__name__) or Digits()


def measure(evaluation, encode, seed=0):
    figures = evaluation.run(encode, data_of(evaluation), seed=seed)
    return {k: v for k, v in figures.items() if not k.endswith("per_second")}


def test_figures_are_finite_numbers_by_name(evaluation):
    figures = evaluation.run(Encode(), data_of(evaluation), seed=0)
    assert figures
    for name, value in figures.items():
        assert name and "/" not in name and type(value) is float and np.isfinite(value)
        assert not name.endswith("top1") or 0 <= value <= 1


def test_the_seed_decides(evaluation):
    assert measure(evaluation, Encode()) == measure(evaluation, Encode())


def test_a_better_encoder_scores_no_worse(evaluation):
    if not hasattr(evaluation, "label"):
        pytest.skip("does not look at labels")
    assert evaluation.run(Oracle(), data_of(evaluation))["top1"] == 1.0
    assert evaluation.run(Ignorant(), data_of(evaluation))["top1"] < 0.3


def test_json_round_trip(evaluation):
    assert from_json(json.loads(json.dumps(to_json(evaluation)))) == evaluation


def test_every_counts_steps_and_data_may_be_others(evaluation):
    assert evaluation.every == -1 and evaluation.data is None


def test_it_says_what_it_needs_and_asks_for_no_more(evaluation):
    """A model that can do nothing else is enough."""
    if evaluation.needs is Encodes:
        Encode.score, kept = None, Encode.score
        try:
            evaluation.run(Encode(), data_of(evaluation))
        finally:
            Encode.score = kept
    else:
        assert evaluation.needs is Scores
        evaluation.run(type("Head", (), {"score": Encode().score})(), data_of(evaluation))


def test_it_looks_at_the_split_that_is_asked_for(evaluation):
    asked = []

    class Told(type(data_of(evaluation))):
        def split(self, name):
            asked.append(name)
            return super().split(name)

    data = data_of(evaluation)
    told = Told(**{f.name: getattr(data, f.name) for f in dataclasses.fields(data)})
    if isinstance(evaluation, (Throughput, Extrapolate, RawInputs)) or type(evaluation).__name__ in TEXTS:
        pytest.skip("has no rows of its own")
    dataclasses.replace(evaluation, split="valid").run(Encode(), told)
    assert "valid" in asked and "test" not in asked
