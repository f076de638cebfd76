"""The smaller studies of texts, at the smallest size."""

import csv
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.text import aspects, distillation, false_negatives, hierarchy, image_text, instructions, pooling
from experiments.text.rows import command_of, gather, means
from jaxemb.pooling.first import First
from jaxemb.types import Features


def table(file):
    with file.open() as stream:
        return {(row["system"], row["figure"]): row for row in csv.DictReader(stream)}


def test_rows_of_several_seeds_are_kept_as_they_come(tmp_path):
    seen = []

    def figures(arm, seed):
        seen.append(len((tmp_path / "t.csv").read_text().splitlines()) if (tmp_path / "t.csv").exists() else 0)
        return {"x": arm + seed}

    rows = gather([("p", "a", 1), ("p", "b", 3)], 2, figures, tmp_path / "t.csv", "a command")
    assert seen == [0, 2, 3, 3] and means(rows) == {("p", "a", "x"): 1.5, ("p", "b", "x"): 3.5}
    assert table(tmp_path / "t.csv")["b", "x"]["values"] == "3 4" and table(tmp_path / "t.csv")["b", "x"]["seeds"] == "0 1"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("aflite", "--sets noise"),
        ("limit", "--dims 2"),
        ("merging", "--search 3"),
        ("aspects", "--steps 2"),
        ("nested", "--seeds 1"),
        ("cubert", "--limit 9"),
        ("birads", "--scale .01"),
        ("distillation", "--scale .01"),
    ],
)
def test_a_trial_is_not_written_over_the_published_table(name, options, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [name, *options.split()])
    with pytest.raises(SystemExit):
        importlib.import_module(f"experiments.text.{name}").main()
    assert f"text_{name}.csv; name its file, --out FILE.csv" in capsys.readouterr().err


def test_a_table_names_the_options_of_its_command():
    given = ["--scale", "0.5", "--data", "/somewhere/of mine/ori_pqal.json"]
    assert command_of("birads", given) == "python -m experiments.text.birads --scale 0.5 --data ori_pqal.json"


# ---- aspects ---------------------------------------------------------------------------------------------------------------------


def test_a_document_says_words_of_its_values_and_pairs_share_one():
    tokens, values = aspects.documents(80, 3)
    assert tokens.shape == (80, aspects.NOISE + sum(aspects.SAID.values()))
    for i, (name, said) in enumerate(aspects.SAID.items()):
        words = aspects.COMMON + (i * aspects.VALUES + values[name][:, None]) * aspects.WORDS + np.arange(aspects.WORDS)
        assert ((tokens[:, :, None] == words[:, None]).any(-1).sum(1) == said).all()
    pairs = aspects.pairs(tokens, values, ["method", "data"])
    assert len(pairs["positive_id"]) == 80 and pairs["positive_id"].max() >= aspects.VALUES  # two documents a value, two aspects


def test_an_embedding_of_one_aspect_finds_it_alone():
    _, values = aspects.documents(200, 0)
    found = aspects.neighbours(np.eye(aspects.VALUES)[values["method"]] + 1e-3, values)
    assert found["method/mrr@10"] == 1 and found["method/recall@10"] == 1 and found["method/precision@10"] == 0.4
    assert found["topic/precision@10"] < 0.1


@pytest.mark.slow
def test_aspects_run(monkeypatch, tmp_path):
    monkeypatch.setattr(aspects, "TRAIN", 120)
    monkeypatch.setattr(aspects, "TEST", 80)
    aspects.main(["--seeds", "1", "--steps", "2", "--arms", "words,topic", "--out", str(tmp_path / "a.csv")])
    found = table(tmp_path / "a.csv")
    assert float(found["words", "topic/precision@10"]["mean"]) > 0.05 > float(found["topic", "data/precision@10"]["mean"])
    assert (tmp_path / "a.png").stat().st_size > 1000


# ---- hierarchy -------------------------------------------------------------------------------------------------------------------


def test_distances_are_those_of_the_tree_and_leaves_without_a_place_have_no_pairs():
    far = hierarchy.distances(np.arange(hierarchy.LEAVES))
    assert far[0, [0, 1, 4, 15, 16, 255]].tolist() == [0, 1, 2, 2, 3, 3]
    placed = np.arange(hierarchy.LEAVES) % 5 > 0
    texts = np.arange(4 * hierarchy.LEAVES, dtype=np.float32)[:, None]
    rows = hierarchy.training(texts, far, placed, np.random.default_rng(0))
    leaf = {role: (rows[role]["images"][..., 0] // 4).astype(int) for role in ("query", "positive", "negatives")}
    assert (leaf["query"] == leaf["positive"]).all() and (rows["query"]["images"] != rows["positive"]["images"]).all()
    assert (rows["negatives"]["images"] % 4 < 3).all() and (rows["query"]["images"] % 4 < 3).all()  # one spelling is held out
    at = far[leaf["query"][:, None], leaf["negatives"]]
    assert (at[placed[leaf["query"]]].max(0) == [0, 1, 2, 3]).all() and not at[~placed[leaf["query"]]].any()
    assert placed[leaf["negatives"][placed[leaf["query"]]]].all()
    assert (rows["scores"] == np.array(hierarchy.TREE.levels, np.float32)[at]).all()


def test_vectors_of_the_tree_itself_are_judged_perfect():
    levels = [np.repeat(np.eye(hierarchy.LEAVES // n), n, axis=0) for n in (1, 4, 16)]
    z = np.tile(np.concatenate(levels, axis=1)[:, None], (1, hierarchy.SPELLINGS, 1))
    found = hierarchy.judged(z, hierarchy.distances(np.arange(hierarchy.LEAVES)), np.arange(hierarchy.LEAVES) % 5 > 0)
    assert all(value == 1 for value in found.values()), found


def test_hierarchy_runs(tmp_path):
    hierarchy.main(["--seeds", "1", "--steps", "2", "--arms", "tree, weighted", "--out", str(tmp_path / "h.csv")])
    found = table(tmp_path / "h.csv")
    assert 0 < float(found["tree, weighted", "synonym accuracy"]["mean"]) <= 1 and len(found) == 7


# ---- images and captions ---------------------------------------------------------------------------------------------------------


def test_a_caption_names_four_factors_and_describes_its_image():
    factors = np.stack([np.arange(3) % len(values) for values in image_text.FACTORS.values()], axis=1)
    tokens, said = image_text.captions(factors, np.random.default_rng(0))
    assert tokens.shape == (3, 5) and ((said >= 0).sum(1) == 4).all()
    assert image_text.describes(said, factors).tolist() == np.eye(3, dtype=bool).tolist()
    found = image_text.figures(np.array([[0.0, 1, 2], [0, 3, 1], [1, 1, 1]]), np.eye(3, dtype=bool))
    assert found["search/R@1"] == 2 / 3 and found["search/median rank"] == 1 and found["annotation/R@1"] == 1 / 3


@pytest.mark.slow
def test_image_text_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(image_text, "TRAIN", 70)
    monkeypatch.setattr(image_text, "TEST", 20)
    image_text.main(["--seeds", "1", "--steps", "2", "--arms", "Sigmoid", "--out", str(tmp_path / "i.csv")])
    assert len(table(tmp_path / "i.csv")) == 6


# ---- distillation ----------------------------------------------------------------------------------------------------------------


def test_pairs_are_balanced_and_half_of_the_rows_have_labels(monkeypatch):
    a, b, labels = distillation.draw(60, np.random.default_rng(0))
    assert labels.sum() == 30 and (distillation.common(a, b)[labels == 1] >= 4).all()
    assert (distillation.common(a, b)[labels == 0] <= 2).all()
    assert distillation.common(np.array([[1, 1, 2]]), np.array([[1, 1, 1]])).tolist() == [2]
    monkeypatch.setattr(distillation, "LABELLED", 10)
    monkeypatch.setattr(distillation, "UNLABELLED", 50)
    rows = distillation.rows_of((a, b, labels), np.arange(60.0), False)
    assert (rows["labels"] >= 0).sum() == 50 and (rows["labels"] < 0).sum() == 50
    at = rows["teacher"][:, 0].astype(int)
    assert (np.bincount(at) > 0).all() and (at[rows["labels"] >= 0] < 10).all() and (rows["query"]["tokens"] == a[at]).all()
    assert (distillation.rows_of((a, b, labels), np.arange(60.0), True)["labels"] == labels[at]).all()


@pytest.mark.slow
def test_distillation_runs(monkeypatch, tmp_path):
    for name, count in {"TAUGHT": 80, "LABELLED": 16, "UNLABELLED": 64, "TEST": 40}.items():
        monkeypatch.setattr(distillation, name, count)
    distillation.main(["--seeds", "1", "--scale", ".004", "--arms", "teacher;alpha .5", "--out", str(tmp_path / "d.csv")])
    found = table(tmp_path / "d.csv")
    assert [name for name, _ in found] == ["teacher", "alpha .5", "alpha .5"]


# ---- false negatives -------------------------------------------------------------------------------------------------------------


def test_pairs_of_a_topic_stand_together_at_the_planted_rate_and_share_a_detail(monkeypatch):
    monkeypatch.setattr(false_negatives, "TOPICS", 40)
    arm = false_negatives.GUIDED["InfoNCE, oracle"]
    rows, of = false_negatives.planted(0.3, arm, np.random.default_rng(0))
    assert (of[:, 0] == of[:, 1]).mean() == 0.3 and (np.bincount(of.reshape(-1)) == 2).all() and (rows["positive_id"] == of).all()
    q, p = (rows[role]["tokens"] for role in ("query", "positive"))
    said, start = false_negatives.SAID, false_negatives.STARTS[1]
    assert (q[..., :said] % 4 < 2).all() and (p[..., :said] % 4 > 1).all() and max(q[..., :said].max(), p[..., :said].max()) < start
    assert (q[..., said] == p[..., said]).all() and len({*q[..., said].reshape(-1)}) > 10
    common = lambda a, b: (a[..., :said, None] // 4 == b[..., None, :said] // 4).sum((-1, -2))  # noqa: E731
    assert common(q, p).min() >= 2 and common(q[:12, 0], p[:12, 1]).min() >= 2 > common(q[12:, 0], p[12:, 1]).mean()


def test_the_good_guide_hears_synonyms_alike_and_nothing_else():
    tokens = np.array([[4, 7, 0, false_negatives.STARTS[1]]], np.int32)
    good, poor = (false_negatives.heard(tokens, guide) for guide in ("good", "poor"))
    assert good["tokens"][0, :3].tolist() == [4, 4, 0] and good["mask"].tolist() == [[True, True, True, False]]
    assert (poor["tokens"] == tokens).all() and poor["mask"].all()


def test_hard_pairs_have_words_of_their_own_and_negatives_that_lack_a_concept():
    rows, hard = false_negatives.mixture(40, 0.25, np.random.default_rng(0))
    q, p, n = (rows[role]["tokens"][..., : false_negatives.TOPIC] for role in ("query", "positive", "negatives"))
    assert hard.sum() == 10 and (q[~hard] == p[~hard]).all() and (q[hard] // 4 == p[hard] // 4).all() and (p[hard] % 4 > 1).all()
    same = (n // 4 == q[:, None] // 4).sum(-1)
    assert (same[hard] == false_negatives.TOPIC - 1).all() and same[~hard].mean() < 1 and (n[~hard] % 4 < 2).all()


def test_false_negatives_run(monkeypatch, tmp_path):
    for name, count in {"TOPICS": 64, "TEST": 12, "PAIRS": 64}.items():
        monkeypatch.setattr(false_negatives, name, count)
    arms = ["--arms", "GIST, good guide, relative;focal .5, mixed", "--parts", "0.5;easy and hard"]
    false_negatives.main(["--seeds", "1", "--steps", "2", *arms, "--out", str(tmp_path / "f.csv")])
    found = {names: float(row["mean"]) for names, row in table(tmp_path / "f.csv").items()}
    assert len(found) == 5 + 4
    guided = {figure: value for (system, figure), value in found.items() if system.startswith("GIST")}
    assert guided["recall"] > 0.8 and guided["precision"] > guided["removed"] > 0
    assert found["focal .5, mixed", "easy/accuracy"] == 1 > found["focal .5, mixed", "hard/accuracy"]


# ---- instructions ----------------------------------------------------------------------------------------------------------------


def test_a_target_says_what_the_instruction_names_and_equal_ones_share_a_number():
    factors = np.stack([np.arange(7) % len(values) for values in instructions.FACTORS.values()], axis=1)
    assert instructions.instruction(("colour",), 2).tolist() == [[2, instructions.NOTHING]] * 2
    assert instructions.instruction((), 1).tolist() == [[instructions.NOTHING] * 2]
    colour, number = instructions.targets(("colour",), factors, np.random.default_rng(0))
    assert (np.sort(colour)[:, 1] == instructions.PAD).all()
    assert ((colour.min(1) - instructions.STARTS[2]) // 2 == factors[:, 2]).all()
    assert number[0] == number[6] and len({*number}) == 6
    every = [instructions.targets(task, instructions.candidates(task)) for task in instructions.TASKS]
    assert [len(tokens) for tokens, _ in every] == [6, 9, 3, 54, 27, 18]
    numbers = np.concatenate([number for _, number in every])
    assert len({*numbers}) == 117 and number[0] in numbers and instructions.HELD_OUT not in instructions.TRAINED


@pytest.mark.slow
def test_instructions_run(monkeypatch, tmp_path):
    monkeypatch.setattr(instructions, "TRAIN", 20)
    monkeypatch.setattr(instructions, "TEST", 10)
    instructions.main(["--seeds", "1", "--steps", "2", "--arms", "instruction, last token", "--out", str(tmp_path / "i.csv")])
    found = table(tmp_path / "i.csv")
    assert len(found) == 9 and ("instruction, last token", "colour+size/P@1") in found


# ---- pooling and attention -------------------------------------------------------------------------------------------------------


def test_a_token_of_a_causal_encoder_sees_none_behind_it(monkeypatch):
    monkeypatch.setattr(pooling, "LAYERS", 1)
    x = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    x[1, 0] = x[0, 0]
    f = Features(jnp.asarray(x), jnp.ones((2, 3), bool))
    for causal in (True, False):
        z, _ = jax.jit(pooling.Encoded(First(), causal).init_with_output)(jax.random.key(0), f)
        assert bool(np.allclose(z[0], z[1], atol=1e-6)) == causal
    reads = {name: getattr(design.of, "reads", None) for name, design in pooling.DESIGNS.items()}
    assert [design.causal == name.endswith("causal") for name, design in pooling.DESIGNS.items()] == [True] * len(reads)
    assert [*reads.values()] == [None, "last", "last", "tokens", "mean", None, None]
    for part, every in (("frozen", pooling.POOLINGS), ("attention", pooling.DESIGNS)):
        assert {name for pair in pooling.COMPARED[part] for name in pair} == {*every}


def test_poolings_are_tested_against_each_other_query_by_query(tmp_path):
    found = {"a": np.array([[1, 0.5, 1, 1, 1, 1.0]]), "b": np.array([[0, 0, 0.1, 0.2, 0.3, 1], [0, 0, 0.1, 0.2, 0.3, 1]])}
    pooling.write(found, [("a", "b"), ("b", "b")], 9, tmp_path / "p.csv", "a command")
    with (tmp_path / "p.csv").open() as stream:
        first, second = csv.DictReader(stream)
    # Five differences, all of one sign, and one that is dropped: 2 / 2^5.
    assert float(first["p"]) == 0.0625 and first["against"] == "b" and second["p"] == "1" and second["seeds"] == "0 1"
