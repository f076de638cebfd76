import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE, Sigmoid
from jaxemb.contrastive.base import Known
from jaxemb.ops.maxsim import maxsim
from jaxemb.train.sharding import batch_sharding, make_mesh, on_mesh

SYMMETRIC = {"directions": ("q2d", "d2q"), "partition": "each"}
Q, C = (np.asarray(normal(i, n, 4)) for i, n in ((0, 3), (1, 5)))
PLACES = np.array([4, 0, 2])


def by_hand(s, places, keep):
    e = np.exp(s) * (keep | (np.arange(s.shape[1])[None] == places[:, None]))
    return -np.log(e[np.arange(len(s)), places] / e.sum(1))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_loss_by_hand(similarity):
    q, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C)) if similarity == "cosine" else (Q, C)
    keep = np.ones((3, 5), bool)
    keep[0, 3] = keep[1, 0] = False  # a positive counts all the same
    expected = by_hand(q @ c.T / 0.5, PLACES, keep)
    weights = np.array([1.0, 0.0, 2.0], np.float32)
    out = call(InfoNCE(0.5, similarity=similarity), *map(jnp.asarray, (Q, C, PLACES, weights, keep)))
    assert float(out.value) == pytest.approx((expected * weights).sum() / 3, rel=1e-5) and float(out.weight) == 3


def test_both_directions():
    q, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C[PLACES]))
    every = np.ones((3, 3), bool)
    back = by_hand(c @ q.T / 0.5, np.arange(3), every).mean()
    one, both = (float(call(InfoNCE(0.5, **s), jnp.asarray(Q), jnp.asarray(C), jnp.asarray(PLACES)).value) for s in ({}, SYMMETRIC))
    assert both == pytest.approx((one + back) / 2, rel=1e-5)
    keep = jnp.asarray(np.array([[True, False, True], [False, True, True], [True, True, True]]))
    a, b = jnp.asarray(Q), jnp.asarray(C[:3])
    there, turned = (float(call(InfoNCE(**SYMMETRIC), *pair, keep=keep).value) for pair in ((a, b), (b, a)))
    assert there == pytest.approx(turned, rel=1e-5), "with a symmetric `keep` the sides can be exchanged"


def test_equal_rows_give_the_logarithm_of_the_candidates_and_far_ones_nothing():
    assert float(call(InfoNCE(), jnp.ones((3, 2)), jnp.ones((7, 2))).value) == pytest.approx(np.log(7), rel=1e-6)
    out = call(InfoNCE(0.05), jnp.eye(4), jnp.eye(4))
    assert float(out.value) == pytest.approx(0, abs=1e-6) and float(out.logs["accuracy"]) == 1


def test_of_tokens_by_hand():
    """MaxSim of rows with a vector a token: zeros are padding, and each side may have as many as it likes."""
    rng = np.random.default_rng(0)
    q, c = rng.normal(size=(3, 2, 4)).astype(np.float32), rng.normal(size=(5, 3, 4)).astype(np.float32)
    q[1, 1], c[0, 2], c[4, 1:] = 0, 0, 0
    found = call(InfoNCE(2.0), *map(jnp.asarray, (q, c, PLACES))).value
    assert float(found) == pytest.approx(by_hand(maxsim(q, c) / 2, PLACES, np.ones((3, 5), bool)).mean(), rel=1e-5)
    both = InfoNCE(2.0, ("q2d", "d2q"), "each")
    s, diagonal = maxsim(q, c[:3]) / 2, np.arange(3)
    wanted = (by_hand(s, diagonal, np.ones((3, 3), bool)).mean() + by_hand(s.T, diagonal, np.ones((3, 3), bool)).mean()) / 2
    assert float(call(both, jnp.asarray(q), jnp.asarray(c[:3])).value) == pytest.approx(wanted, rel=1e-5)
    assert float(call(both, jnp.asarray(q[:1]), jnp.asarray(c[:1])).value) == pytest.approx(0, abs=1e-6)  # one pair alone
    joint = np.exp(s).sum(1) + np.where(np.eye(3, dtype=bool), 0, np.exp(maxsim(q, q) / 2)).sum(1)
    found = call(InfoNCE(2.0, ("q2d", "q2q")), jnp.asarray(q), jnp.asarray(c[:3])).value
    assert float(found) == pytest.approx((np.log(joint) - np.diag(s)).mean(), rel=1e-5)
    with pytest.raises(ConfigError, match="MaxSim is of a query and a document"):
        InfoNCE(directions=("q2d", "d2d"))(jnp.asarray(q), jnp.asarray(c))
    with pytest.raises(ConfigError, match=r"matrices with a vector a token \(b t d\), and was given \(3, 2, 4\) and \(5, 4\)"):
        InfoNCE()(jnp.asarray(q), jnp.asarray(c[:, 0]))
    with pytest.raises(ConfigError, match=r"Sigmoid compares rows of the last layer \(b d\), and was given \(3, 2, 4\)"):
        Sigmoid()(jnp.asarray(q), jnp.asarray(c))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "InfoNCE: temperature must be above 0, is 0.0"),
        ({"temperature": float("nan")}, "temperature must be above 0, is nan"),
        ({"similarity": "euclid"}, "similarity='euclid'.*cosine, dot"),
        ({"directions": ()}, r"InfoNCE.directions=\(\): some of q2d, q2q, d2q, d2d, each once"),
        ({"directions": ("q2d", "q2d")}, "each once"),
        ({"directions": ("p2d",)}, "some of q2d, q2q, d2q, d2d"),
        ({"directions": ("q2d", "q2q"), "partition": "each"}, "takes q2d and d2q, which hold the pair, not q2q; use 'joint'"),
        ({"directions": ("q2d", "d2q"), "negatives": "own"}, "negatives='own' compares queries with their own candidates"),
        ({"negatives": "hard"}, "negatives='hard'.*all, own, own_and_batch"),
        ({"hardness": "hard"}, "strength must be above 0 with a hardness and 0 without, is 0.0 with 'hard'"),
        ({"strength": 1.0}, "strength must be above 0 with a hardness and 0 without"),
        ({"most_scale": 0.0}, "most_scale must be above 0, is 0.0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        InfoNCE(**fields)


def test_too_few_candidates_are_named():
    with pytest.raises(ConfigError, match="InfoNCE: 5 queries have 3 candidates"):
        InfoNCE()(jnp.asarray(C), jnp.asarray(Q))


OWN = np.array([[1, -1], [3, 3], [0, 1]])  # of queries whose positives are 4, 0 and 2
NEGATIVES = {
    "all": [[0, 1, 2, 3], [1, 2, 3, 4], [0, 1, 3, 4]],
    "own_and_batch": [[0, 1, 2], [2, 3, 4], [0, 1, 4]],  # 0 is a hard negative of the last query, and the positive of the second
    "own": [[1], [3], [0, 1]],
}


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_whose_hard_negatives_count(negatives):
    allowed = np.zeros((3, 5), bool)
    for i, places in enumerate(NEGATIVES[negatives]):
        allowed[i, places] = True
    expected = by_hand(Q @ C.T / 0.5, PLACES, allowed).mean()
    loss = InfoNCE(0.5, similarity="dot", negatives=negatives)
    known = Known(own=jnp.asarray(OWN))
    assert float(call(loss, jnp.asarray(Q), jnp.asarray(C), jnp.asarray(PLACES), known=known).value) == pytest.approx(
        expected, rel=1e-5
    )
    if negatives != "all":
        with pytest.raises(ConfigError, match="InfoNCE needs known.own, .* data with hard negatives"):
            loss(jnp.asarray(Q), jnp.asarray(C), jnp.asarray(PLACES))


def test_hard_negatives_that_are_missing_in_some_rows_cost_nothing():
    """What stands in the place of an absent one is some other candidate, and no negative of this query."""
    loss, known = InfoNCE(negatives="own"), Known(own=jnp.asarray(np.array([[3], [-1], [-1]])))
    value = jax.value_and_grad(lambda q: loss(q, jnp.asarray(C), known=known).value)
    assert (value(jnp.asarray(Q))[1][1:] == 0).all() and (value(jnp.asarray(Q))[1][0] != 0).any()


@pytest.mark.parametrize("loss", [InfoNCE(), InfoNCE(**SYMMETRIC), InfoNCE(directions=("q2d", "q2q", "d2q", "d2d"))], ids=str)
def test_a_masked_item_is_a_negative_nowhere(loss):
    """sentence-transformers #3640: rows that had been masked were drawn as negatives. Here a pair is masked in every direction."""
    q, c = jnp.asarray(C), jnp.asarray(np.asarray(normal(2, 5, 4)))
    real = np.arange(5) < 3
    keep = jnp.asarray(np.broadcast_to(real[None], (5, 5)))
    value = call(loss, q, c, weights=jnp.asarray(real, jnp.float32), keep=keep).value
    assert float(value) == pytest.approx(float(call(loss, q[:3], c[:3]).value), rel=1e-5)


def test_two_queries_of_one_candidate_are_no_negatives_of_each_other():
    """Duplicates by id: both have the same place as their positive, and `keep` need not say so."""
    q, c, same = jnp.asarray(Q), jnp.asarray(C), jnp.asarray(np.array([2, 2, 0]))
    loss = InfoNCE(directions=("q2d", "q2q", "d2q", "d2d"))
    without = jnp.ones((3, 5), bool)
    first = jnp.array([1.0, 1e-30, 1e-30])  # the others count, and what they cost is not seen
    gradient = jax.jit(jax.grad(lambda q: loss(q, c, same, first, without).value))(q)
    assert np.abs(gradient[1]).max() < 1e-20 < np.abs(gradient[2]).max()


def test_a_query_that_is_padding_is_no_negative_whatever_its_positive():
    """Padding may have any place as its positive, one that all others keep as well."""
    loss = InfoNCE(directions=("q2d", "q2q", "d2q", "d2d"))
    places, weights = jnp.asarray(np.array([0, 1, 2])), jnp.array([1.0, 1.0, 0.0])
    gradient = jax.jit(jax.grad(lambda q: loss(q, jnp.asarray(C), places, weights).value))(jnp.asarray(Q))
    assert (gradient[2] == 0).all() and (gradient[0] != 0).any()


def test_scores_that_half_precision_would_tie_are_told_apart():
    """sentence-transformers #3892: computed below float32, close candidates have one score."""
    q = jnp.asarray([[1.0, 1.0]], jnp.bfloat16)
    c = jnp.asarray([[1.0, 1.0], [1.0, 1 - 2**-8]], jnp.bfloat16)
    tied = (q @ c.T)[0]
    assert tied[0] == tied[1]
    out = call(InfoNCE(0.01, similarity="dot"), q, c)
    assert float(out.logs["accuracy"]) == 1 and float(out.value) < np.log(2) - 0.1


def test_a_tie_is_no_hit():
    assert float(call(InfoNCE(), jnp.ones((3, 2)), jnp.ones((3, 2))).logs["accuracy"]) == 0


def test_a_learned_scale_has_an_end_from_which_it_can_come_back():
    loss = InfoNCE(0.5, learn_scale=True, most_scale=4.0)
    assert loss.learned() == {"log_scale": pytest.approx(np.log(2))} and InfoNCE().learned() == {}

    def value(scale, q, turned):
        return call(loss, q, q[::-1] if turned else q, known=Known(learned={"log_scale": scale})).value

    for turned, lifts in ((False, True), (True, False)):
        inside, above = (jax.jit(jax.grad(value), static_argnums=2)(jnp.float32(x), jnp.asarray(Q), turned) for x in (1.0, 2.0))
        assert (float(inside) < 0) == lifts
        assert float(above) == 0 if lifts else float(above) > 0, "what would lift it further is cut off, what lowers it is not"
    assert float(value(jnp.float32(9), jnp.asarray(Q), False)) == float(value(jnp.float32(np.log(4)), jnp.asarray(Q), False))


def test_no_device_holds_the_matrix_of_a_batch_whose_rows_are_spread():
    """Of a batch of 64 on 8 devices each has 8 rows of the 64 columns, in value and gradient, also with all directions."""
    mesh = make_mesh({"data": 8})
    cut = batch_sharding(mesh)
    loss = InfoNCE(directions=("q2d", "q2q", "d2q", "d2d"))
    rows = jax.device_put((normal(0, 64, 4), normal(1, 64, 4)), (cut, cut))
    step = jax.jit(on_mesh(jax.value_and_grad(lambda q, c: loss(q, c).value, (0, 1)), mesh), out_shardings=(None, (cut, cut)))
    compiled = step.lower(*rows).compile().as_text()
    assert "f32[8,64]" in compiled and "[64,64]" not in compiled


def test_the_hardest_alone():
    """Each query's highest negatives, of those that are kept, whatever the others do."""
    q, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C))
    keep = np.ones((3, 5), bool)
    keep[0, np.argmax(np.where(np.arange(5) == PLACES[0], -2, q[0] @ c.T))] = False  # the hardest of all is none
    s = np.where(keep, q @ c.T / 0.5, -np.inf)
    expected = []
    for row, place, own in zip(s, PLACES, (q @ c.T / 0.5)[np.arange(3), PLACES], strict=True):
        most = np.sort(np.delete(row, place))[::-1][:2]
        expected.append(np.log(np.exp([own, *most]).sum()) - own)
    given = {"positives": jnp.asarray(PLACES), "keep": jnp.asarray(keep)}
    assert float(call(InfoNCE(0.5, hardest=2), jnp.asarray(Q), jnp.asarray(C), **given).value) == pytest.approx(
        np.mean(expected), rel=1e-5
    )
    some, every = (float(call(InfoNCE(0.5, hardest=n), jnp.asarray(Q), jnp.asarray(C), **given).value) for n in (99, None))
    assert some == pytest.approx(every, rel=1e-6)
    for wrong in ({"hardest": 0}, {"hardest": 2, **SYMMETRIC}):
        with pytest.raises(ConfigError, match="hardest=.*valid: 1 or more, of q2d alone"):
            InfoNCE(**wrong)
