"""Filters: the study at its smallest size, and what it counts."""

import csv

import numpy as np
import pytest
from libraries import standing_in

from experiments.retrieval import filters
from jaxemb.index import Exact, Filtered

R = np.random.default_rng(0)
X = R.normal(size=(200, 8)).astype(np.float32)
X /= np.linalg.norm(X, axis=1, keepdims=True)


def test_a_table_and_a_picture(tmp_path):
    with standing_in("hnswlib", "faiss", "usearch"):
        filters.main(f"--planted 300 --queries 8 --shares .02 --lists 8 --probes 2 --seeds 1 --out {tmp_path / 'own.csv'}".split())
    with (tmp_path / "own.csv").open() as file:
        rows = {(r["part"], r["system"], r["figure"]): float(r["mean"]) for r in csv.DictReader(file)}
    assert {system for _, system, _ in rows} == {"filter", *filters.LINES}
    for kind in filters.KINDS:
        for share in (0.02,):
            part = f"{kind} {share}"
            assert rows[part, "pre", "recall@10"] == 1
            assert rows[part, "pre", "compared"] == pytest.approx(300 * rows[part, "filter", "selectivity"], rel=1e-3)
            assert rows[part, "in", "compared"] <= 308 and rows[part, "plan", "regret"] >= 1
    assert rows["independent 0.02", "post, 100", "recall@10"] < 0.8 and rows["independent 0.02", "hnswlib", "short"] > 0
    assert rows["anti-correlated 0.02", "filter", "of the 100 nearest, as a multiple"] < 1
    assert (tmp_path / "own.png").stat().st_size > 10_000


def test_a_trial_is_not_written_over_the_published_table(capsys):
    with pytest.raises(SystemExit):
        filters.main(["--queries", "9"])
    assert "with --queries" in capsys.readouterr().err


def test_what_lists_and_filters_compare_is_counted():
    built = filters.Counted(lists=8, probes=2).build(X)
    lists = np.bincount(np.asarray(built.kept.rows["list"]), minlength=8)
    filters.METER.reset()
    built.search(X[:1], 1)
    assert filters.METER.compared in {8 + lists[a] + lists[b] for a in range(8) for b in range(a)} and filters.METER.within == 0
    mask = np.arange(200) < 3  # fewer pass than are asked for: lists are looked into until all of these are found
    filters.METER.reset()
    built.search(X[:2], 10, mask)
    seen = [8 + lists[np.asarray(built.kept.rows["list"])[np.isin(np.asarray(built.kept.rows["place"]), range(3))]].max()] * 2
    assert sum(seen) <= filters.METER.compared <= 2 * (200 + 8) and filters.METER.within == 2
    filters.METER.reset()
    found = Filtered(index=built.index, strategy="pre").build(X).search(X[:2], 10, mask)
    assert filters.METER.compared == 2 * 3 and filters.METER.before == 2 and (found.ids >= 0).sum(1).tolist() == [3, 3]


def test_an_anti_correlated_filter_is_the_end_that_the_query_is_far_from():
    tags, axis, middle = filters.attributes(X, 0)
    q = X[:6]
    wanted = filters.filters("anti-correlated", 0.1, q @ axis > middle, 0)
    a = filters.asked(Exact().build(X, tags), X, q, wanted)
    assert a.mask.sum(1).tolist() == pytest.approx([20] * 6, abs=1)
    for vector, passes in zip(q, a.mask, strict=True):
        assert ((X[passes] @ axis > middle) != (vector @ axis > middle)).all()
    lone = filters.asked(Exact().build(X, tags), X, q, filters.filters("independent", 0.01, q @ axis > middle, 0))
    assert ((lone.truth >= 0).sum(1) == np.minimum(lone.mask.sum(1), 10)).all()


def test_the_regret_of_a_plan_is_against_ways_that_find_as_much():
    found = {
        name: {"recall@10": r, "compared": c}
        for name, r, c in (("pre", 1, 900), ("post", 0.5, 10), ("in", 0.98, 300), ("plan", 0.98, 450))
    }
    assert filters.regret(found) == 1.5
