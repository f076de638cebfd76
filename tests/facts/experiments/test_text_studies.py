"""The studies of aspects, hierarchies, image-text ranking and distillation, at the smallest size."""

import csv

import numpy as np
import pytest

from experiments.text import aspects, distillation, hierarchy, image_text
from experiments.text.rows import gather, means


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
