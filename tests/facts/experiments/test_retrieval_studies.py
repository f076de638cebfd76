"""The studies of search at the smallest size."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.retrieval import bytes as codes_study
from experiments.retrieval import muvera
from experiments.retrieval.lab import planted
from jaxemb.index import Exact
from jaxemb.ops.maxsim import maxsim


def rows(file):
    with file.open() as stream:
        return {(r["part"], r["system"], r["figure"]): float(r["mean"]) for r in csv.DictReader(stream)}


# ---- bytes -----------------------------------------------------------------------------------------------------------------------


def test_bytes_of_codes_are_as_named():
    s, known = planted(300, 32, 8, 0), codes_study.codes(32)
    names = {"float32": 128, "float16": 64, "int4": 16, "bits": 4, "cut 8": 32, "PCA 8, int8": 8, "PQ 8, 4 bits": 4, "RaBitQ": 16}
    names |= {"BEBR 32 x 2, untrained": 12}
    found = {name: codes_study.study(s, known[name], 0) for name in names}
    assert {name: f["bytes"] for name, f in found.items()} == names
    assert found["float32"]["recall@10"] == 1 > found["int4"]["recall@10"] > found["cut 8"]["recall@10"] > 0
    assert found["PCA 8, int8"]["shared"] == 4 * (32 * 8 + 32) + 2 * 4 * 8 and found["float32"]["shared"] == 0


def test_all_directions_are_all_there_is():
    s = planted(60, 8, 5, 0, decay=1.0)
    x, q, _ = codes_study.before(("PCA", 8), s.documents, s.queries)
    np.testing.assert_array_equal(Exact("dot").build(x).search(q, 10).ids, codes_study.exact(s))
    cut, _, shared = codes_study.before(("cut", 3), s.documents, s.queries)
    np.testing.assert_allclose(cut[:, 0] / cut[:, 2], s.documents[:, 0] / s.documents[:, 2], rtol=1e-5)
    assert shared == 0


def test_a_binariser_is_trained_on_the_rows(monkeypatch):
    seen = []

    def train(objective, draw, seed, steps):
        seen.append(draw(np.random.default_rng(seed)))
        return jax.jit(objective.init)(jax.random.key(seed), jax.tree.map(jnp.asarray, seen[0]))

    monkeypatch.setattr(codes_study.bebr, "train", train)
    monkeypatch.setattr(codes_study.bebr, "HIDDEN", ())
    s = planted(300, 24, 8, 0)
    found = codes_study.study(s, codes_study.codes(24)["BEBR 16 x 2"], 0)
    assert found["bytes"] == 2 * 4 + 4 and 0 < found["recall@10"] < 1
    query, near = (seen[0][role]["vectors"] for role in ("query", "positive"))
    assert (seen[0]["query_id"] != seen[0]["positive_id"]).all() and (query * near).sum(1).mean() > 0.5


def test_bytes_run(tmp_path):
    out, chosen = tmp_path / "b.csv", "float32;cut 24;PCA 24;PQ 12"
    codes_study.main(["--planted", "200", "--seeds", "1", "--codes", chosen, "--out", str(out)])
    found = rows(out)
    assert {system for _, system, _ in found} == {"float32", "cut 24", "PCA 24"}  # 200 rows have no 256 centroids
    part = "200 planted, directions as MiniLM's"
    assert found[part, "float32", "recall@10"] == 1 > found[part, "PCA 24", "recall@10"] > found[part, "cut 24", "recall@10"]
    lines = codes_study.table(codes_study.read(out)).splitlines()
    assert lines[2].startswith("| float32 | 1536 | 100.0 | 100.0 |") and len(lines) == 5
    codes_study.main(["--planted", "200", "--seeds", "1", "--add", "--codes", "cut 24;cut 48", "--out", str(out)])
    after = rows(out)
    assert after.items() >= found.items() and {system for _, system, _ in after.keys() - found.keys()} == {"cut 48"}
    codes_study.draw([out, tmp_path / "none.csv"], tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 1000


@pytest.mark.parametrize(("study", "option"), [(codes_study, "--codes PQ"), (codes_study, "--planted 9"), (muvera, "--proxies a")])
def test_a_trial_is_not_written_over_the_published_table(study, option, capsys):
    with pytest.raises(SystemExit):
        study.main(option.split(" ", 1))
    assert "name its file, --out FILE.csv" in capsys.readouterr().err


# ---- MUVERA ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few():
    t = muvera.topics(0, documents=40, queries=6)
    return t, muvera.truth(t)


def test_the_truth_is_maxsim(few):
    t, of = few
    np.testing.assert_allclose(of.chamfer, maxsim(list(t.queries), list(t.documents), "dot"), rtol=1e-5)


def test_heuristics_count_candidates(few):
    t, of = few
    products = t.queries[0] @ t.documents.reshape(-1, 64).T
    each = products.reshape(len(products), len(t.documents), -1).max(2)
    assert of.places["heuristic, by scores"][0].argmin() == each.max(0).argmax()
    leaders = set(each.argmax(1))
    assert set(np.flatnonzero(of.places["heuristic, by ranks"][0] < len(leaders))) == leaders
    hits = of.places["heuristic, no dedup"]
    best_first = np.sort(products.max(1))[::-1]
    place = int(hits[0][hits[0] > 0].min())  # until then all hits are of one document
    assert hits[0, products.reshape(-1).argmax() % products.shape[1] // 40] == 0 and 1 <= place < len(best_first) * muvera.HITS


def test_hits_are_counted_in_turns_and_the_higher_score_comes_first():
    products = np.array([[0.9, 0.1, 0.5, 0.6], [0.2, 0.8, 0.7, -0.1]])
    places = muvera.first_hits(products, np.array([0, 1, 2, 0]), 4)
    assert places.tolist() == [0, 1, 2, np.inf]  # the fourth hit is of a document that is there


def test_candidates_that_are_needed():
    places = np.array([[0.0, 3, 9], [1, 2, np.inf]])
    assert muvera.needed(places, 0.5) == 3 and muvera.needed(places, 2 / 3) == 4 and muvera.needed(places, 1.0) == np.inf


def test_figures_of_the_truth_itself(few):
    t, of = few
    found = muvera.figures(muvera.order_of(-of.chamfer).astype(float), of, None)
    assert found["best in 1"] == found["top 10 in 10"] == 1 and found["candidates for 90 %"] == 9
    assert found["fewer for 90 %"] > 1


def test_muvera_runs(tmp_path):
    out = tmp_path / "m.csv"
    proxies = "pooled;FDE (20, 3, 8);no cells, 1280;(20, 4, 8), query carved at .7"
    muvera.main(["--parts", "topics", "--documents", "60", "--seeds", "1", "--proxies", proxies, "--out", str(out)])
    found = rows(out)
    assert found["topics", "FDE (20, 3, 8)", "top 10 in 10"] > 10 / 60
    lines = muvera.table(out).splitlines()
    assert lines[0].startswith("| topics |") and "| top 10 in 10 |" in lines[0]
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in proxies.split(";")]
