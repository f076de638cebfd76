"""Hard negatives: the rules by brute force and by the reference's arrays, and never what is known to be a positive."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.hard_negatives import GUIDE, HIGHEST, KNOWN, MARGIN, PERCENTAGE, HardNegatives, Vectors, mine
from jaxemb.preprocess.base import DataError


def vectors(seed=0, queries=5, documents=30, width=4):
    rng = np.random.default_rng(seed)
    return Vectors(rng.normal(size=(queries, width)), rng.normal(size=(documents, width)))


def cosines(v):
    q, d = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in v)
    return q @ d.T


PAIRS = [(0, 3), (1, 7), (2, 9), (0, 4), (3, 3), (4, 29)]


def test_the_percentage_of_the_positive_is_that_of_the_reference(golden):
    given = np.load(golden / "text_losses.npz")
    found = HardNegatives(percentage=0.95).below(given["mine_neg"], given["mine_pos"])[PERCENTAGE]
    assert (found == given["mine_keep_095"]).all() and found.any() and not found.all()


def test_relative_margin_of_negative_scores_sentence_transformers_3821():
    """.95 times a negative score lies above it, and would keep negatives that are nearer than the positive."""
    scores = np.array([[-0.45, -0.5, -0.52, -0.53, -0.6]])
    assert HardNegatives(percentage=0.95).below(scores, np.array([-0.5]))[PERCENTAGE].tolist() == [[False] * 3 + [True] * 2]
    assert HardNegatives(percentage=0.95).below(np.array([[0.75, 0.77]]), np.array([0.8]))[PERCENTAGE].tolist() == [[True, False]]


@pytest.mark.parametrize("rule", [{}, {"margin": 0.1}, {"percentage": 0.8}, {"highest": 0.3}, {"ranks": (3, 8)}])
def test_all_rules_by_brute_force(rule):
    v = vectors()
    s, known = cosines(v), {q: {d for a, d in PAIRS if a == q} for q, _ in PAIRS}
    found = mine(HardNegatives(**{"number": 4} | rule), PAIRS, v)
    for i, (q, d) in enumerate(PAIRS):
        order = [j for j in np.argsort(-s[q], kind="stable") if j not in known[q]]
        first, last = rule.get("ranks", (1, 100))
        limit = {"margin": s[q, d] - 0.1, "percentage": s[q, d] - 0.2 * abs(s[q, d]), "highest": 0.3}
        kept = [j for j in order[first - 1 : last] if all(s[q, j] < limit[name] for name in rule if name != "ranks")]
        assert found.negatives[i].tolist() == kept[:4]
        np.testing.assert_allclose(found.scores[i], s[q, [d, *kept[:4]]])
    reasons = {"margin": MARGIN, "percentage": PERCENTAGE, "highest": HIGHEST}
    assert set(found.dropped) == {KNOWN, *(reasons[name] for name in rule if name in reasons)}


def test_positive_as_its_own_negative_ms_swift_10068():
    """Neither the pair's own positive, nor one that the query has in another row, however they are drawn."""
    v = vectors(documents=6)
    for seed in range(5):
        found = mine(HardNegatives(number=6, choose="random", seed=seed), PAIRS_OF_FEW, v, not_for=[(1, 0)])
        for (query, _), own in zip(PAIRS_OF_FEW, found.negatives, strict=True):
            positives = {d for q, d in PAIRS_OF_FEW if q == query} | ({0} if query == 1 else set())
            assert set(own.tolist()) == set(range(6)) - positives  # all others, once
    assert found.short == len(PAIRS_OF_FEW)


PAIRS_OF_FEW = [(0, 3), (0, 4), (1, 5), (2, 1)]


def test_masked_items_are_never_negatives_sentence_transformers_3640():
    """Of a window that is longer than what is left, nothing that was hidden comes back with a score of -inf."""
    found = mine(HardNegatives(number=9, ranks=(1, 9)), [(0, 0), (0, 1), (0, 2)], vectors(documents=3))
    assert all(len(own) == 0 for own in found.negatives) and found.short == 3
    assert all(np.isfinite(scores).all() for scores in found.scores)
    assert all(len(own) == 0 for own in mine(HardNegatives(ranks=(50, 100)), PAIRS, vectors()).negatives)


def test_a_guide_takes_out_what_it_finds_as_near_as_the_positive():
    v, g = vectors(), vectors(1, width=6)
    s, t = cosines(v), cosines(g)
    found = mine(HardNegatives(number=99), PAIRS, v, guide=g)
    for i, (q, d) in enumerate(PAIRS):
        known = {b for a, b in PAIRS if a == q}
        assert set(found.negatives[i].tolist()) == {j for j in range(30) if j not in known and t[q, j] < t[q, d]}
    assert found.dropped[GUIDE] > 0 and len(s)
    stricter = mine(HardNegatives(number=99, margin=0.3), PAIRS, v, guide=g)
    q, d = PAIRS[0]
    assert all(t[q, j] < t[q, d] - 0.3 and s[q, j] < s[q, d] - 0.3 for j in stricter.negatives[0])


def test_pairs_whose_positive_is_far_are_dropped():
    v = vectors()
    s = cosines(v)
    found = mine(HardNegatives(positive_within=10), PAIRS, v)
    near = [i for i, (q, d) in enumerate(PAIRS) if (s[q] > s[q, d]).sum() < 10]
    assert found.pairs.tolist() == near and found.far == len(PAIRS) - len(near) and 0 < found.far < len(PAIRS)


def test_as_many_as_the_limit_are_nearer_and_the_positive_is_far():
    """`positive_within=2`: the third nearest is dropped, the second is kept."""
    v = Vectors(np.array([[1.0, 0.0]]), np.array([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [0.0, 1.0]]))
    assert mine(HardNegatives(positive_within=2), [(0, 1), (0, 2)], v).pairs.tolist() == [0]
    assert mine(HardNegatives(positive_within=3), [(0, 1), (0, 2)], v).far == 0


def test_drawn_negatives_depend_on_the_seed_alone():
    v, draw = vectors(), [HardNegatives(number=3, ranks=(1, 20), choose="random", seed=s) for s in (0, 0, 1)]
    one, again, other = ([x.tolist() for x in mine(rule, PAIRS, v).negatives] for rule in draw)
    assert one == again != other


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"number": 0}, "must be at least 1, not 0"),
        ({"ranks": (0, 5)}, "counted from 1"),
        ({"ranks": (6, 5)}, r"ranks=\(6, 5\)"),
        ({"percentage": 95.0}, r"must lie in \(0, 1\], not 95"),
        ({"margin": -0.1}, "must not be negative"),
        ({"choose": "all"}, "nearest, random"),
    ],
)
def test_rules_that_make_no_sense(fields, said):
    with pytest.raises(ConfigError, match=said):
        HardNegatives(**fields)


def test_what_cannot_be_mined():
    with pytest.raises(DataError, match="there are no pairs"):
        mine(HardNegatives(), [], vectors())
    with pytest.raises(DataError, match="the guide has 5 queries and 29 documents, the model 5 and 30"):
        mine(HardNegatives(), PAIRS, vectors(), guide=vectors(documents=29))
