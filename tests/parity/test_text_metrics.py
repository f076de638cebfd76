"""Rankings, correlations, clusters, pairs: trec_eval, SciPy, scikit-learn, sentence-transformers (text_metrics.npz)."""

import numpy as np
import pytest

from jaxemb.data.beir import Collection
from jaxemb.evals import retrieval
from jaxemb.metrics import clusters, correlation, pairs, ranking

TREC = {"rtol": 0, "atol": 1e-6}
OWN = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture
def arrays(load):
    return load("text_metrics.npz")


@pytest.fixture
def ranked(arrays):
    order = ranking.trec_order(arrays["ir_scores"], arrays["ir_retrieved"])
    return ranking.ranking(order, arrays["ir_rel"])


def test_the_order(arrays):
    np.testing.assert_array_equal(ranking.trec_order(arrays["ir_scores"], arrays["ir_retrieved"]), arrays["ir_order"])


WHOLE = {
    "map": ranking.average_precision,
    "recip_rank": ranking.reciprocal_rank,
    "ndcg": ranking.ndcg,
    "rprec": ranking.r_precision,
    "bpref": ranking.bpref,
    "num_rel": lambda r: r.relevant,
    "num_ret": lambda r: (r.grades != ranking.ABSENT).sum(1),
    "num_rel_ret": lambda r: (r.grades > 0).sum(1),
}


@pytest.mark.parametrize("name", WHOLE)
def test_of_whole_rankings(arrays, ranked, name):
    np.testing.assert_allclose(WHOLE[name](ranked), arrays[f"ir_{name}"], **TREC)
    if f"ir_mean_{name}" in arrays:
        np.testing.assert_allclose(WHOLE[name](ranked).mean(), arrays[f"ir_mean_{name}"], **TREC)


CUT = {
    "ndcg_at": ranking.ndcg,
    "p_at": ranking.precision,
    "recall_at": ranking.recall,
    "map_at": ranking.average_precision,
    "success_at": ranking.success,
    "ndcg_exp_at": lambda r, k: ranking.ndcg(r, k, gain="exponential"),
    "mrr_at": ranking.reciprocal_rank,
}


@pytest.mark.parametrize("name", CUT)
def test_of_the_first_k(arrays, ranked, name):
    found = np.stack([CUT[name](ranked, int(k)) for k in arrays["ir_ks"]], 1)
    np.testing.assert_allclose(found, arrays[f"ir_{name}"], **TREC)
    if f"ir_mean_{name}" in arrays:
        np.testing.assert_allclose(found.mean(0), arrays[f"ir_mean_{name}"], **TREC)


def test_correlations(arrays):
    gold, given = arrays["sts_gold"], arrays["sts_pred"]
    for name in ("spearman", "pearson", "kendall"):
        np.testing.assert_allclose(getattr(correlation, name)(gold, given), arrays[f"sts_{name}"], **OWN)
    np.testing.assert_array_equal(correlation.average_ranks(given), arrays["sts_pred_ranks"])
    curved = np.exp(gold)
    got = [correlation.spearman(gold, curved), correlation.pearson(gold, curved)]
    np.testing.assert_allclose(got, arrays["sts_exp"], **OWN)
    two = [f(np.array([1.0, 2.0]), np.array([3.0, 1.0])) for f in (correlation.spearman, correlation.pearson)]
    np.testing.assert_allclose(np.abs(two), np.abs(arrays["sts_two"]), **OWN)  # which two the file does not say


def test_clusters(arrays):
    true, found = arrays["clu_true"], arrays["clu_pred"]
    got = clusters.agreement(true, found)
    for name in ("homogeneity", "completeness", "ari", "nmi", "ami"):
        np.testing.assert_allclose(getattr(got, name), arrays[f"clu_{name}"], **OWN)
    np.testing.assert_allclose(got.v_measure, arrays["clu_v"], **OWN)
    beta = float(arrays["clu_beta"])
    np.testing.assert_allclose(clusters.agreement(true, found, beta=beta).v_measure, arrays["clu_v_beta"], **OWN)


@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")  # of singletons, which are the case
def test_clusters_at_the_edge(arrays):
    true = arrays["clu_true"]
    one, each = np.zeros_like(true), np.arange(len(true))
    cases = ((true, one), (one, true), (one, one), (true, each), (each, each))
    got = [clusters.agreement(a, b)[:3] for a, b in cases]
    np.testing.assert_allclose(got, arrays["clu_edge"], **OWN)


@pytest.mark.parametrize("tied", ["", "_tied"])
def test_pairs(arrays, tied):
    scores, labels = arrays[f"pc_scores{tied}"], arrays["pc_labels"]
    np.testing.assert_allclose(pairs.average_precision(scores, labels), arrays[f"pc_ap{tied}"], **OWN)
    np.testing.assert_allclose(pairs.auc(scores, labels), arrays[f"pc_auc{tied}"], **OWN)


def test_pairs_that_all_belong_together(arrays):
    scores = arrays["pc_scores"]
    np.testing.assert_allclose(pairs.average_precision(scores, np.ones(len(scores), np.int64)), arrays["pc_ap_allpos"], **OWN)


def test_the_best_cuts(arrays):
    accuracy, f1 = (f(arrays["pc_scores"], arrays["pc_labels"]) for f in (pairs.best_accuracy, pairs.best_f1))
    np.testing.assert_allclose(accuracy[:2], [arrays["pc_best_acc"], arrays["pc_acc_threshold"]], **OWN)
    np.testing.assert_allclose(f1, [arrays[f"pc_{n}"] for n in ("best_f1", "f1_threshold", "f1_precision", "f1_recall")], **OWN)


def test_trec_eval_itself_on_a_collection_with_ties():
    """From vectors to figures, with ids that are no numbers and more documents than are looked at."""
    trec = pytest.importorskip("pytrec_eval", reason="pytrec-eval-terrier is not installed")
    rng = np.random.default_rng(0)
    ids = [f"d{i}é"[: 2 + i % 3] + str(i) for i in range(60)]
    z, q = rng.integers(-1, 2, (60, 3)).astype(np.float32), rng.integers(-1, 2, (9, 3)).astype(np.float32)
    judgements = {f"q{i}": {ids[j]: int(rng.integers(0, 4)) for j in rng.choice(60, 12, replace=False)} for i in range(9)}
    c = Collection(ids, [f"text {i}" for i in range(60)], [*judgements], ["query"] * 9, judgements, 0)
    run = {f"q{i}": {name: float(s) for name, s in zip(ids, q[i] @ z.T, strict=True)} for i in range(9)}
    theirs = trec.RelevanceEvaluator(judgements, {"ndcg_cut.5", "map_cut.5", "recall.5", "P.5"}).evaluate(run)
    r = retrieval.ranked(c, q, z, 5)
    for name, ours in (("ndcg_cut_5", ranking.ndcg), ("map_cut_5", ranking.average_precision), ("recall_5", ranking.recall)):
        np.testing.assert_allclose(ours(r, 5), [theirs[i][name] for i in judgements], **TREC)
    np.testing.assert_allclose(ranking.precision(r, 5), [theirs[i]["P_5"] for i in judgements], **TREC)
