"""Training codes from vector to vector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.contrastive import CosineMSE, InfoNCE, SimilarityMatching
from jaxemb.index.bebr import BEBR, write_binariser
from jaxemb.layers.recurrent_binary import RecurrentBinary
from jaxemb.objectives.binary import BinaryPairs
from jaxemb.types import Now

B, D, M = 7, 5, 12
NOW = Now(0, 1, jax.random.key(0))
BATCH = {role: {"vectors": 3 * normal(i, B, D)} for i, role in enumerate(("query", "positive"))}
MODEL = BinaryPairs(binariser=RecurrentBinary(M, 1, (), norm=False), contrast=InfoNCE(0.05, hardest=2))
VARIABLES = init(MODEL, jax.random.key(0), BATCH)


def codes(role):
    return np.asarray(apply(MODEL, VARIABLES, BATCH, role, method="encode"), np.float64)


def nce(a, b, same=None, count=2, tau=0.05):
    """By hand, of rows of length 1; `same`: no negatives."""
    s, total = a @ b.T / tau, 0.0
    same = np.eye(len(a), dtype=bool) if same is None else same
    for i, row in enumerate(s):
        total += np.log(np.exp([row[i], *np.sort(row[~same[i]])[::-1][:count]]).sum()) - row[i]
    return total / len(a)


def loss(batch, model=MODEL):
    return apply(model, VARIABLES, batch, None, NOW, method="loss")


def test_both_directions_with_the_hardest_of_the_batch():
    q, p = codes("query"), codes("document")
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1, rtol=1e-6)
    assert {*np.round(np.abs(q) / np.abs(q).min(1, keepdims=True), 3).flat} <= {1.0, 3.0}  # two bits a number
    assert float(loss(BATCH).value) == pytest.approx(nce(q, p) + nce(p, q), rel=1e-4)


def test_items_that_are_equal_are_no_negatives_in_either_direction():
    q, p = codes("query"), codes("document")
    ids = {"query_id": jnp.asarray([10, 11, 12, 13, 10, 15, 16]), "positive_id": jnp.asarray([20, 21, 21, 23, 24, 12, 26])}
    same = np.eye(B, dtype=bool)
    same[0, 4] = same[4, 0] = same[1, 2] = same[2, 1] = True  # equal queries share positives, and equal positives queries
    same[2, 5] = True  # the positive of 5 is query 2 itself
    every = BinaryPairs(binariser=MODEL.binariser, contrast=InfoNCE(1.0))
    expected = nce(q, p, same, B, 1.0) + nce(p, q, same.T, B, 1.0)
    assert float(loss(BATCH | ids, every).value) == pytest.approx(expected, rel=1e-5)
    assert abs(nce(q, p, same, B, 1.0) + nce(p, q, same, B, 1.0) - expected) > 1e-3 * expected, "the direction would not show here"


@pytest.mark.parametrize("width", [M, 8])
def test_old_codes_are_keys_that_nothing_moves_and_a_wider_code_is_cut_after_it_has_length_1(width):
    old = np.random.default_rng(3).choice([-1.5, -0.5, 0.5, 1.5], (2, B, width)).astype(np.float32)
    q, p = codes("query"), codes("document")
    oq, op = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in old.astype(np.float64))
    documents = BATCH | {"positive": {**BATCH["positive"], "old": jnp.asarray(old[1])}}
    new = nce(q, p) + nce(p, q)
    found = loss(documents)
    assert float(found.value) == pytest.approx(new + nce(q[:, :width], op), rel=1e-4)
    assert float(found.logs["new"]) == pytest.approx(new, rel=1e-4)
    both = documents | {"query": {**BATCH["query"], "old": jnp.asarray(old[0] * 2)}}  # integers are as good
    assert float(loss(both).value) == pytest.approx(new + nce(q[:, :width], op) + nce(p[:, :width], oq), rel=1e-4)


def test_similarity_matching_needs_no_pairs():
    model = BinaryPairs(binariser=MODEL.binariser, contrast=SimilarityMatching(0.05, 10.0))
    x = np.asarray(BATCH["query"]["vectors"], np.float64)
    x, z = x / np.linalg.norm(x, axis=1, keepdims=True), codes("query")
    g, s = x @ x.T, z @ z.T
    log_g, log_s = (y / 0.05 - np.log(np.exp(y / 0.05).sum(1, keepdims=True)) for y in (g, s))
    expected = (np.exp(log_g) * (log_g - log_s)).sum(1).mean() + 10 * ((s - g) ** 2).mean()
    assert float(loss(BATCH["query"], model).value) == pytest.approx(2 * expected, rel=1e-3)


def test_codes_are_what_an_index_searches(tmp_path):
    write_binariser(tmp_path / "codes", VARIABLES)
    found = BEBR(path=str(tmp_path / "codes")).build(BATCH["positive"]["vectors"]).search(BATCH["query"]["vectors"], 3)
    s = codes("query") @ codes("document").T
    np.testing.assert_allclose(found.scores, -np.sort(-s, axis=1)[:, :3], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_compared():
    wide = BATCH | {"positive": {**BATCH["positive"], "old": jnp.ones((B, M + 1))}}
    with pytest.raises(ConfigError, match="old codes of 13 numbers, and the new ones have 12"):
        loss(wide)
    with pytest.raises(ConfigError, match="compares 'query' and 'positive', or 'vectors'; the batch holds query"):
        loss({"query": BATCH["query"]})
    with pytest.raises(ConfigError, match="BinaryPairs.contrast=CosineMSE"):
        BinaryPairs(contrast=CosineMSE())
    with pytest.raises(ConfigError, match="BinaryPairs.contrast=InfoNCE"):
        BinaryPairs(contrast=InfoNCE(learn_scale=True))
    with pytest.raises(ConfigError, match="one pair and no negative"):
        loss(jax.tree.map(lambda x: x[:1], BATCH))
