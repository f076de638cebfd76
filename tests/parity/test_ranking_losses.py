"""Losses of scores, labels, margins and teachers against text_losses.npz, text_losses2.npz and medical_ranking.npz, in 64 bits."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import check, names, number, of_rows

from jaxemb.contrastive.alignment_uniformity import AlignmentUniformity, uniformity
from jaxemb.contrastive.angle import AnglE, angle
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.cosent import CoSENT
from jaxemb.contrastive.cosine_mse import CosineMSE
from jaxemb.contrastive.distill_kl import DistillKL
from jaxemb.contrastive.global_orthogonal import GlobalOrthogonal
from jaxemb.contrastive.hadsell import Hadsell, OnlineContrastive
from jaxemb.contrastive.hinge import Hinge
from jaxemb.contrastive.hiprbert import HiPrBERT
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.contrastive.labelled_triplets import LabelledTriplets
from jaxemb.contrastive.margin_mse import MarginMSE
from jaxemb.contrastive.matryoshka import Matryoshka
from jaxemb.contrastive.mega_batch import MegaBatchMargin
from jaxemb.contrastive.multi_positive import MultiPositive
from jaxemb.contrastive.multi_similarity import MultiSimilarity
from jaxemb.contrastive.triplet import Triplet
from jaxemb.contrastive.weighted_sum import WeightedSum
from jaxemb.metrics.ranking import median_rank, strict_ranks, within

CLOSE = {"rtol": 1e-7, "atol": 1e-9}

pytestmark = pytest.mark.usefixtures("wide")


@pytest.fixture
def one(load):
    return load("text_losses.npz")


@pytest.fixture
def two(load):
    return load("text_losses2.npz")


@pytest.fixture
def medical(load):
    return load("medical_ranking.npz")


def scored(file, name="pair_labels"):
    return Known(scores=jnp.asarray(file[name]))


# ---- scored pairs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("member", "prefix"), [(CoSENT, "cosent_"), (AnglE, "angle_")])
def test_ranks_of_scored_pairs_by_labels_and_scale(one, member, prefix):
    cases = {}
    for case in [c for c in names(one, prefix) if "scale" in c]:
        kind = re.sub(r"_scale.*", "", case.removeprefix(prefix))
        b = len(one["pair_labels"])
        scores = {"graded": one["pair_labels"], "binary": one["pair_labels_binary"], "all_equal": np.ones(b)}[kind]
        cases[case] = of_rows(member(1 / number(case, "scale")), Known(scores=jnp.asarray(scores)))
    check(one, cases)


def test_the_similarity_of_angle(one):
    np.testing.assert_allclose(angle(jnp.asarray(one["q"]), jnp.asarray(one["p"])), one["angle_similarity"], **CLOSE)


def test_cosent_and_angle_with_their_options(two):
    cases = {}
    t, known = 1 / float(two["cosent_scale"]), scored(two)
    cases["cosent"] = of_rows(CoSENT(t), known)
    cases["cosent_dot"] = of_rows(CoSENT(t, "dot"), known)
    cases["cosent_euclidean"] = of_rows(CoSENT(1 / 2, "euclidean"), known)
    cases["angle"] = of_rows(AnglE(t), known)
    cases["angle_odd"] = of_rows(AnglE(t), known)
    cases["angle_triplets"] = of_rows(AnglE(t, negatives=True))
    nested = {"dims": tuple(map(int, two["mrl_dims"])), "weights": tuple(map(float, two["mrl_weights"]))}
    cases["mrl_cosent"] = of_rows(Matryoshka(CoSENT(t), **nested), known)
    cases["mrl_triplet_euc"] = of_rows(Matryoshka(Triplet(float(two["triplet_margin"]), "euclidean"), **nested))
    check(two, cases)


def test_regression_of_scores(two):
    cases = {}
    cases["cosine_mse"] = of_rows(CosineMSE(), scored(two))
    cases["cosine_mse_sigmoid"] = of_rows(CosineMSE("sigmoid"), scored(two))
    check(two, cases)


KINDS = {"cos": ("cosine", 1), "euc": ("euclidean", 8), "man": ("manhattan", 20)}
TRIPLETS = {"cos": ("cosine", 1), "euc": ("euclidean", 5), "man": ("manhattan", 20)}


def test_contrastive_of_all_and_of_hard_pairs(two):
    cases = {}
    margin, known = float(two["contrastive_margin"]), scored(two, "pair_labels_binary")
    for tag, (kind, times) in KINDS.items():
        cases[f"contrastive_{tag}"] = of_rows(Hadsell(times * margin, kind), known)
        cases[f"online_contrastive_{tag}"] = of_rows(OnlineContrastive(times * margin, kind), known)
    cases["contrastive_sum"] = of_rows(Hadsell(margin, reduce="sum"), known)
    cases["contrastive_graded"] = of_rows(Hadsell(margin), scored(two))
    for tag, y in (("allpos", 1.0), ("allneg", 0.0)):
        all_of_one = Known(scores=jnp.full(len(two["q"]), y))
        cases[f"online_contrastive_{tag}"] = of_rows(OnlineContrastive(margin), all_of_one)
    check(two, cases)


# ---- triplets --------------------------------------------------------------------------------------------------------------------


def test_triplets(two):
    cases = {}
    for tag, (kind, times) in TRIPLETS.items():
        cases[f"triplet_{tag}"] = of_rows(Triplet(times * float(two["triplet_margin"]), kind))
    check(two, cases)


def of_one_side(loss, labels):
    """A loss of labelled rows that are their own candidates."""
    known = Known(labels=jnp.asarray(labels), candidate_labels=jnp.asarray(labels))
    return lambda x: loss(x, x, known=known).value


def test_triplets_mined_by_labels(two):
    cases = {}
    for case in names(two, "batch_"):
        mining, kind = re.fullmatch(r"batch_(all|hard_soft|hard|semi_hard)_(euc|cos|dup|oneclass)", case).groups()
        distance, margin = ("cosine", "cos") if kind == "cos" else ("euclidean", "euc")
        margin = None if mining == "hard_soft" else float(two[f"bt_margin_{margin}"])
        loss = LabelledTriplets(mining.removesuffix("_soft"), margin, distance, themselves=True)
        labels = two["bt_labels"] * (kind != "oneclass")
        if kind == "dup":  # ties have no one gradient
            value, grad = jax.value_and_grad(of_one_side(loss, labels))(jnp.asarray(two["bt_x_dup"]))
            np.testing.assert_allclose(value, two[f"{case}__loss"], **CLOSE)
            assert np.isfinite(grad).all()
        else:
            cases[case] = of_one_side(loss, labels)
    check(two, cases)


def test_multi_similarity(one):
    cases = {}
    for case in names(one, "ms_"):
        loss = MultiSimilarity(number(case, "alpha"), number(case, "beta"), themselves=True)
        cases[case] = of_one_side(loss, one["ms_labels"])
    check(one, cases, x="q")


def test_mega_batch_margin(two):
    cases = {}
    cases["mega_batch"] = of_rows(MegaBatchMargin(float(two["mega_positive_margin"]), float(two["mega_negative_margin"])))
    check(two, cases)


# ---- regularisers ----------------------------------------------------------------------------------------------------------------


def test_global_orthogonal_regularisation(two):
    cases = {}
    weights = float(two["gor_mean_weight"]), float(two["gor_second_weight"])
    for reduce in ("mean", "sum"):
        cases[f"gor_{reduce}"] = of_rows(GlobalOrthogonal(*weights, reduce))
    check(two, cases)


def test_alignment_and_uniformity(two):
    cases = {}
    alpha, t = float(two["align_alpha"]), float(two["uniform_t"])
    cases["alignment"] = of_rows(AlignmentUniformity(alpha, t, 1.0, 0.0))

    def of_queries(q):
        return AlignmentUniformity(alpha, t, 0.0, 1.0)(q, q).value

    cases["uniformity"] = of_queries
    dup = jnp.asarray(two["p_dup"])
    dup = dup / jnp.linalg.norm(dup, axis=1, keepdims=True)
    np.testing.assert_allclose(uniformity(dup, jnp.ones(len(dup)), t), two["uniformity_dup__loss"], **CLOSE)
    check(two, cases)


# ---- hierarchies, several positives --------------------------------------------------------------------------------------------


def test_distances_in_a_tree(one):
    cases = {}
    known = Known(scores=jnp.asarray(one["tree_w"]))
    for case in names(one, "tree_ms_"):
        loss = HiPrBERT(alpha=number(case, "alpha"), beta=number(case, "beta"))
        cases[case] = of_rows(loss, known)
    for case in names(one, "clogit_code_"):
        cases[case] = of_rows(HiPrBERT("clogit", number(case, "alpha")), known)
    check(one, cases, a="q", s="p")


def test_free_embeddings_in_both_forms(one):
    cases = {}
    relevant = jnp.asarray(one["limit_rel"], bool)
    known, first = Known(also=relevant), relevant.argmax(1)
    for form, case in (("each", "limit_code"), ("any", "limit_paper")):
        loss = MultiPositive(0.1, form)
        cases[case] = lambda q, d, loss=loss: loss(q, d, first, known=known).value
    check(one, cases, q="limit_q", d="limit_d")


# ---- teachers --------------------------------------------------------------------------------------------------------------------


def test_margins_of_a_teacher(two):
    cases = {}
    margins, scores = jnp.asarray(two["mm_teacher"]), jnp.asarray(two["kl_teacher"])
    of_margins = jnp.concatenate([jnp.zeros((len(margins), 1)), -margins], axis=1)
    cases["margin_mse_one"] = of_rows(MarginMSE(), Known(teacher=of_margins[:, :2]))
    cases["margin_mse"] = of_rows(MarginMSE(), Known(teacher=of_margins))
    cases["margin_mse_scores"] = of_rows(MarginMSE(), Known(teacher=scores))
    cases["margin_mse_cos"] = of_rows(MarginMSE("cosine"), Known(teacher=of_margins))
    check(two, cases)


def test_the_distribution_of_a_teacher(two):
    cases = {}
    teacher = jnp.asarray(two["kl_teacher"])
    temperatures = float(two["kl_student_temperature"]), float(two["kl_teacher_temperature"])
    cases["distill_kl"] = of_rows(DistillKL(), Known(teacher=teacher))
    cases["distill_kl_temp"] = of_rows(DistillKL("dot", *temperatures), Known(teacher=teacher))
    cases["distill_kl_cos"] = of_rows(DistillKL("cosine", 0.1, 0.1), Known(teacher=teacher / 10))
    check(two, cases)


def test_distillation_beside_info_nce(one):
    cases = {}
    for case in names(one, "e5_kd_"):
        tau, share = number(case, "tau"), number(case, "alpha")
        loss = WeightedSum((DistillKL("cosine", tau), InfoNCE(tau)), (1 / tau**2, share))
        cases[case] = of_rows(loss, Known(teacher=jnp.asarray(one["e5_teacher_scores"])))
    check(one, cases)


# ---- images and texts ------------------------------------------------------------------------------------------------------------


def test_hinge_ranking_and_ranks(medical):
    x, y, margin = jnp.asarray(medical["x"]), jnp.asarray(medical["y"]), float(medical["margin"])
    n = len(x)
    for kind, similarity in (("dot", "dot"), ("cos", "cosine")):

        def total(x, y, similarity=similarity, **fields):
            return n * Hinge(margin, similarity, **fields)(x, y).value

        value, grads = jax.value_and_grad(total, (0, 1))(x, y)
        np.testing.assert_allclose(value, medical[f"loss_sum_{kind}"], **CLOSE)
        for name, grad in zip("xy", grads, strict=True):
            np.testing.assert_allclose(grad, medical[f"grad_{name}_{kind}"], **CLOSE)
        for side, direction in (("sentence", "q2d"), ("image", "d2q")):
            np.testing.assert_allclose(total(x, y, directions=(direction,)), medical[f"cost_{side}_neg_{kind}"], **CLOSE)
        np.testing.assert_allclose(total(x, y, negatives="mean") / n, medical[f"loss_mean_{kind}"], **CLOSE)
        np.testing.assert_allclose(total(x, y, negatives="hardest"), medical[f"loss_hardest_{kind}"], **CLOSE)
        for way, s in (("i2t", medical[f"S_{kind}"]), ("t2i", medical[f"S_{kind}"].T)):
            ranks = strict_ranks(s, np.eye(n, dtype=bool))
            np.testing.assert_array_equal(ranks, medical[f"rank_{way}_{kind}"])
            if way == "i2t":
                assert median_rank(ranks) == medical[f"medr_{way}_{kind}"]
                assert within(ranks, 1) == medical[f"r1_{way}_{kind}"] and within(ranks, 5) == medical[f"r5_{way}_{kind}"]


def test_the_triplets_of_imaginator(medical):
    image, text = jnp.asarray(medical["imag_image_unit"]), jnp.asarray(medical["imag_text"])
    loss = Hinge(0.1, "mean_squared", "hardest", ("q2d",))
    np.testing.assert_allclose(len(image) * loss(image, text).value, medical["imag_triplet_sum"], **CLOSE)
    far = text[medical["imag_hardneg"]]
    terms = [((image - t) ** 2).mean(1) for t in (text, far)]
    np.testing.assert_allclose(terms[0] - terms[1] + 0.1, medical["imag_triplet_terms"], **CLOSE)
