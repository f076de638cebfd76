"""One fault planted in a model of texts each: the first red line names it. A healthy one, a table of words, has none."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from pretrained import bert, chain
from tokenizers import Tokenizer, models, pre_tokenizers

from jaxemb.cli import main
from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.doctor.sentences import SENTENCES
from jaxemb.doctor.text_checks import examine_texts
from jaxemb.doctor.text_patient import TextPatient, refuse
from jaxemb.io.embedder import Embedder
from jaxemb.io.report import Report
from jaxemb.io.windows import Windowed
from jaxemb.metrics.neighbours import found_again
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.preprocess.hf_images import PretrainedImages
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.preprocess.windows import ParallelWindows
from jaxemb.train.sharding import make_mesh
from jaxemb.types import Features

WIDTH = 96
WORDS = sorted({word for text in SENTENCES for word in text.split()})
KNOWN = {"[PAD]": 0, "[UNK]": 1, "query:": 2} | {word: i for i, word in enumerate(WORDS, 3)}


def tokenizer(vocabulary):
    found = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return found.to_str()


def table():
    """A word means the sentences that it stands in."""
    rng = np.random.default_rng(0)
    found = 0.1 * rng.normal(size=(len(KNOWN), WIDTH))
    for text in SENTENCES:
        subject = rng.normal(size=WIDTH)
        for word in set(text.split()):
            found[KNOWN[word]] += subject / sum(word in other.split() for other in SENTENCES)
    return found


TABLE = table()
PREPROCESS = PretrainedText(length=64, vocabulary=len(KNOWN), learned=tokenizer(KNOWN))


def same(z, tokens, mask):
    return z


class Vector(nn.Module):
    """What a model gives, as far as its shape."""

    axes: int = 2

    def encode(self, batch, role="document"):
        return jnp.zeros((len(batch["tokens"]), *[WIDTH] * (self.axes - 1)))


class Model(Embedder):
    """Mean of the words, or what a fault makes of it."""

    windows, model, variables, mesh = None, Vector(), {}, make_mesh({"data": -1})

    def __init__(self, preprocess=PREPROCESS, *, prompts=None, usual=None, change=None, states=None, table=TABLE):
        """`change`: of vectors, `states`: of those of tokens; each a function of them, the ids and the mask."""
        self.preprocess, self.prompts, self.default_prompt_name = preprocess, prompts or {}, usual
        self.change, self.states, self.table = change or same, states or same, table

    def encode(self, inputs, *, prompt=None, report=False, show_progress_bar=None):
        usual = self.prompts.get(self.default_prompt_name, "")
        arrays = self.preprocess(inputs, prompt=usual if prompt is None else prompt)
        f = self.features(arrays)
        mask = f.mask & arrays.get("pooled", True)
        mean = (f.tokens * mask[..., None]).sum(1) / np.maximum(mask.sum(1), 1)[:, None]
        z = self.change(mean, arrays["tokens"], f.mask)
        cut = self.preprocess.cut(inputs)
        said = Report(
            len(z), int((cut.lost > 0).sum()), int(cut.lengths.sum()), int(cut.lost.sum()), 0.0, 64, "", 0, "", "", 1, "", 1
        )
        return (z, said) if report else z

    def features(self, arrays, role="document"):
        tokens, mask = arrays["tokens"], arrays["mask"]
        return Features(self.states(self.table[tokens], tokens, mask), mask)


def first_red(model, texts=None):
    findings = examine_texts(TextPatient(model, texts), lambda text: None)
    return next((f"{f.group}: {f.name}" for f in findings if f.level == "red"), None)


def first_token(z, tokens, mask):
    return TABLE[tokens[:, 0]]


def one_direction(z, tokens, mask):
    return z + 100 * np.ones(WIDTH)


def of_length(x, tokens, mask):
    return x + 3 * (mask.sum(1) - 18)[:, None, None] * np.eye(WIDTH)[0]


def half_dead(z, tokens, mask):
    return np.where(np.arange(WIDTH) % 2, z, 1.0)


def needs_its_prompt(x, tokens, mask):
    """Without "query:" half of the texts are noise."""
    noise = np.random.default_rng(0).normal(size=x.shape)
    without = ~(tokens == KNOWN["query:"]).any(1) & (np.arange(len(x)) % 2 == 0)
    return np.where(without[:, None, None], noise, x)


def spoilt_by_its_prompt(x, tokens, mask):
    """With "query:" half of the texts are noise."""
    noise = np.random.default_rng(tokens[0].sum()).normal(size=x.shape)
    without = (tokens == KNOWN["query:"]).any(1) & (tokens.sum(1) % 2 == 0)
    return np.where(without[:, None, None], noise, x)


SHUFFLED = dict(zip(WORDS, np.random.default_rng(0).permutation(len(WORDS)).tolist(), strict=True))
OTHER = {"[PAD]": 0, "[UNK]": 1, "query:": 2} | {word: i + 3 for word, i in SHUFFLED.items()}
FAULTS = {
    "another tokenizer with more ids": (
        Model(dataclasses.replace(PREPROCESS, vocabulary=len(KNOWN) - 400)),
        None,
        "tokenizer: ids beyond the table",
    ),
    "a tokenizer that knows few of the words": (
        Model(dataclasses.replace(PREPROCESS, learned=tokenizer({"[PAD]": 0, "[UNK]": 1, "the": 2, "a": 3}))),
        None,
        "tokenizer: unknown tokens",
    ),
    "texts longer than the model": (
        Model(dataclasses.replace(PREPROCESS, length=8)),
        list(SENTENCES),
        "texts: texts cut",
    ),
    "copies": (Model(), [*SENTENCES[:40], *SENTENCES[:40]], "texts: duplicates"),
    "the pooling of another model": (Model(change=first_token), None, "pooling: halves found by another pooling, over its own"),
    "a prompt that is missing": (
        Model(states=needs_its_prompt, prompts={"query": "query: "}),
        None,
        "prompt: halves found with another prompt, over the usual",
    ),
    "a prompt that nobody wrote down": (
        Model(states=needs_its_prompt),
        None,
        "prompt: halves found with another prompt, over the usual",
    ),
    "a usual prompt that it was not trained with": (
        Model(states=spoilt_by_its_prompt, prompts={"query": "query: "}, usual="query"),
        None,
        "prompt: halves found with another prompt, over the usual",
    ),
    "a prompt twice": (
        Model(prompts={"query": "query: "}),
        [f"query: {text}" for text in SENTENCES],
        "prompt: texts that have one already",
    ),
    "vectors that all point one way": (Model(change=one_direction), None, "geometry: mean cosine of two texts"),
    "a head that is half zero": (Model(change=half_dead), None, "geometry: dimensions that do not vary"),
    "length in place of meaning": (Model(states=of_length), None, "length: correlation with the mean cosine"),
    "NaN": (Model(change=lambda z, tokens, mask: z * np.nan), None, "vectors: that are not finite"),
    "weights that were never loaded": (
        Model(table=np.random.default_rng(0).normal(size=TABLE.shape)),
        None,
        "worth: halves found",
    ),
    "a tokenizer with its ids in another order": (
        Model(dataclasses.replace(PREPROCESS, learned=tokenizer(OTHER))),
        None,
        "worth: halves found",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_red_line_names_the_fault(fault):
    model, texts, name = FAULTS[fault]
    assert first_red(model, texts) == name


def test_a_healthy_model_has_no_red_line():
    assert first_red(Model()) is None and first_red(Model(), list(SENTENCES)) is None


def test_length_is_measured_where_it_decides_who_is_near():
    def near_the_mean(z, tokens, mask):
        return z + 0.1 * np.maximum(mask.sum(1) - 14, 0)[:, None] * np.ones(WIDTH)

    levels = {f.name: f for f in examine_texts(TextPatient(Model(change=near_the_mean)), lambda text: None)}
    assert levels["correlation with the mean cosine"].value > 0.6 and levels["correlation with the norm"].level == "yellow"
    healthy = {f.name: f for f in examine_texts(TextPatient(Model()), lambda text: None)}
    assert abs(healthy["correlation with the mean cosine"].value) < 0.6


def test_few_texts_and_texts_without_halves():
    with pytest.raises(DataError, match="5 texts are too few to examine a model: give at least 20"):
        TextPatient(Model(), ["the"] * 5)
    said = []
    examine_texts(TextPatient(Model(), WORDS[:30]), said.append)
    assert said == ["pooling is left out: no text has 8 words, so none has halves to compare"]


@pytest.mark.parametrize("included", [True, False])
@pytest.mark.parametrize("usual", [None, "document"])
def test_other_poolings_get_the_tokens_that_its_own_gets(included, usual):
    """Those behind the usual prompt, whatever that of a document is; of the prompt's own those that count. It moves who is near."""
    prompt, table = f"{' '.join(WORDS[:30])} ", TABLE + 2 * np.random.default_rng(0).normal(size=TABLE.shape)
    preprocess = dataclasses.replace(PREPROCESS, prompts={"document": prompt}, include_prompt=included)
    p = TextPatient(Model(preprocess, prompts={"document": prompt}, usual=usual, table=table))
    assert p.pooled["mean"] == p.own and p.pooled["first token"] != p.own
    other = TextPatient(Model(preprocess, prompts={"document": prompt}, usual=None if usual else "document", table=table))
    assert included == (other.own != p.own)


def test_few_tokens_are_in_memory_at_a_time(monkeypatch):
    model, seen = Model(dataclasses.replace(PREPROCESS, length=2048)), []
    monkeypatch.setattr(model, "features", lambda arrays: seen.append(arrays["tokens"].size) or Model.features(model, arrays))
    long = [" ".join(WORDS[i % 7 :: 7] * 20) for i in range(20)]
    assert TextPatient(model, long).pooled and len(seen) > 1 and max(seen) <= 2048 * 8  # a row for each of eight devices


def test_models_without_one_vector_a_text_are_refused(tmp_path, monkeypatch, capsys):
    late = Embedder.from_pretrained(bert(tmp_path / "tiny"), pooling=LateInteraction())
    with pytest.raises(ConfigError, match=r"this model gives several vectors a text \(pooling=LateInteraction\)"):
        TextPatient(late)
    model = Model()
    model.windows = Windowed(ParallelWindows("max"))
    with pytest.raises(ConfigError, match=r"this model gives several vectors a text \(extend=ParallelWindows\(reduce='max'\)\)"):
        TextPatient(model)
    model.windows, model.model = Windowed(ParallelWindows()), Vector(axes=3)
    with pytest.raises(ConfigError, match="runs/late gives several vectors a text .*; the doctor examines models of one vector"):
        refuse(model, "runs/late")
    model.model = Vector()
    refuse(model)
    model.preprocess = PretrainedImages(size=8)
    with pytest.raises(ConfigError, match="runs/pictures takes images; beside runs, the doctor examines models of texts alone"):
        refuse(model, "runs/pictures")
    monkeypatch.setattr(Embedder, "from_pretrained", staticmethod(lambda folder, **options: model))
    assert main(["doctor", str(tmp_path / "tiny")]) == 2
    assert f"{tmp_path}/tiny takes images; beside runs, the doctor" in " ".join(capsys.readouterr().err.split())


def test_halves_that_are_all_alike_are_found_by_chance():
    assert found_again(np.ones((4, 2)), np.ones((4, 2))) == 1 / 4
    assert found_again(np.eye(3), np.eye(3)) == 1 and found_again(np.eye(3), np.roll(np.eye(3), 1, 0)) == 0


def test_the_verb(monkeypatch, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "mine.txt").write_text("\n".join(SENTENCES))
    monkeypatch.setattr(Embedder, "from_pretrained", staticmethod(lambda folder, **options: Model(change=first_token)))
    arguments = ["doctor", str(tmp_path / "model"), "--texts", str(tmp_path / "mine.txt"), "--out", str(tmp_path / "found.json")]
    assert main(arguments) == 0
    assert "first cause: halves found by another pooling, over its own: the model was trained with" in " ".join(
        capsys.readouterr().out.split()
    )
    record = json.loads((tmp_path / "found.json").read_text())
    assert {f["level"] for f in record["findings"]} >= {"red", "green"} and record["versions"]["numpy"] == np.__version__
    assert [f.name for f in (tmp_path / "model").iterdir()] == ["config.json"]


def test_what_is_set_is_for_pretrained_models(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"@": "jaxemb.experiment:Experiment"}')
    assert main(["doctor", str(tmp_path), "--set", "pooling=cls"]) == 2
    assert "a run is examined as it was trained; --set is for pretrained models" in " ".join(capsys.readouterr().err.split())


def test_a_pretrained_folder_is_examined_whole(tmp_path):
    """A tiny one of random weights, which knows a few words: every check has something to say."""
    chain(bert(tmp_path / "tiny", rows=16), ("Pooling", {"pooling_mode": "mean"}), ("Normalize", None))
    found = examine_texts(TextPatient(Embedder.from_pretrained(tmp_path / "tiny"), list(SENTENCES), samples=24), lambda text: None)
    levels = {f"{f.group}: {f.name}": f.level for f in found}
    assert next(name for name, level in levels.items() if level == "red") == "tokenizer: unknown tokens"
    assert levels["texts: texts cut"] == "red" and {f.group for f in found} >= {"vectors", "pooling", "prompt", "geometry", "worth"}
