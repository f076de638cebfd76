"""The contrastive losses and their gradients against text_losses.npz and text_losses2.npz, in 64 bits.

Options stand in the names of the cases ("tau0p05", "margin0p3") or in scalars of the file.
"""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from reference import check, names, number, of_rows

from jaxemb.contrastive.adaptive_layer import AdaptiveLayer
from jaxemb.contrastive.base import NOTHING, Known
from jaxemb.contrastive.class_nce import ClassNCE
from jaxemb.contrastive.cosent import CoSENT
from jaxemb.contrastive.gist import GIST
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.contrastive.kalm import KaLM
from jaxemb.contrastive.matryoshka import Matryoshka
from jaxemb.contrastive.matryoshka_2d import Matryoshka2D
from jaxemb.contrastive.nt_xent import NTXent
from jaxemb.contrastive.sigmoid import Sigmoid
from jaxemb.contrastive.sim_cse import SimCSE
from jaxemb.contrastive.starbucks import Starbucks

EACH = {"directions": ("q2d", "d2q"), "partition": "each"}
ALL4 = ("q2d", "q2q", "d2q", "d2d")
HARD = {"in_batch_negatives": "in_batch", "hard_negatives": "hard", "all_negatives": "all", "in_batch_pairs": "in_batch"}

pytestmark = pytest.mark.usefixtures("wide")


@pytest.fixture
def one(load):
    return load("text_losses.npz")


@pytest.fixture
def two(load):
    return load("text_losses2.npz")


def test_info_nce(one):
    values = {}
    for case in names(one, "infonce_"):
        tau = number(case, "tau")
        form = re.sub(r"_?tau.*", "", case.removeprefix("infonce_"))
        options = {
            "": {},
            "symmetric": EACH,
            "hard_all": {},
            "hard_own_plus_inbatch": {"negatives": "own_and_batch"},
            "hard_own_only": {"negatives": "own"},
        }[form]
        values[case] = of_rows(InfoNCE(tau, **options))
    check(one, values)


def test_the_joint_form_of_gte(one):
    check(one, {case: of_rows(InfoNCE(number(case, "tau"), directions=ALL4)) for case in names(one, "gte_joint_")})


MNRL = {
    "dot": {"similarity": "dot"},
    "q2d_q2q": {"directions": ("q2d", "q2q")},
    "q2d_d2q_joint": {"directions": ("q2d", "d2q")},
    "q2d_d2q_per": EACH,
    "q2d_d2d": {"directions": ("q2d", "d2d")},
    "all4": {"directions": ALL4},
    "all4_pairs": {"directions": ALL4},
    "symmetric": EACH,
    "symmetric_neg": EACH,
    "one": {},
    "dup": {},
    "all4_hard_all_negatives": {"directions": ALL4, "hardness": "all"},
    "": {},
    "all4_hard": {"directions": ALL4, "hardness": "all"},
} | {f"hard_{tag}": {"hardness": mode} for tag, mode in HARD.items()}


@pytest.mark.parametrize("family", ["mnrl_", "cached_mnrl"])
def test_sentence_transformers_directions_partitions_and_hardness(two, family):
    """The cached ones hold no other value: in pieces or not, a loss is the same function of the embeddings."""
    values = {}
    for case in names(two, family):
        options = MNRL[case.removeprefix(family).removeprefix("_")]
        scale = float(two["mnrl_scale"]) / (8 if options.get("similarity") == "dot" else 1)
        strength = float(two["mnrl_strength"]) if "hardness" in options else 0.0
        values[case] = of_rows(InfoNCE(1 / scale, **options, strength=strength))
    check(two, values)


def test_clip_with_its_learned_scale(two):
    loss = InfoNCE(**EACH, learn_scale=True)
    check(two, {"clip": lambda q, p, scale: loss(q, p, known=Known(learned={"log_scale": scale})).value})


def test_nt_xent(two):
    check(two, {"nt_xent": of_rows(NTXent(float(two["simcse_tau"])))})


def test_sim_cse(two):
    tau, alpha = float(two["simcse_tau"]), float(two["simcse_alpha"])
    check(two, {"simcse_unsup": of_rows(SimCSE(tau)), "simcse_sup": of_rows(SimCSE(tau, alpha))})


def test_sigmoid_with_its_learned_scale_and_bias(two):
    values = {}
    for case in names(two, "siglip"):
        also = jnp.asarray(two["siglip_pos"]) if case.endswith("multi") else None

        def value(q, p, t, b, also=also):
            return Sigmoid()(q, p, known=Known(also=also, learned={"log_scale": t, "bias": b})).value

        values[case] = value
    check(two, values)


def test_gist(one):
    values = {}
    gq, gp, gn = (jnp.asarray(one[f"gist_g{x}"]) for x in "qpn")
    for case in names(one, "gist_"):
        margins = {kind: number(case, f"{tag}_margin") for kind, tag in (("absolute", "abs"), ("relative", "rel"))}
        kind = "relative" if margins["relative"] else "absolute"
        switches = {"queries": "noaa" not in case, "positives": "nopp" not in case}
        loss = GIST(number(case, "tau") or 0.05, margins[kind] or 0.0, kind, **switches)
        known = Known(guide=(gq, gp if "pairs" in case else jnp.concatenate([gp, gn])))
        values[case] = of_rows(loss, known)
        candidates, queries, positives = loss.closer(None, known)
        blocks = [candidates[:, : len(gq)], *([queries] if loss.queries else []), *([positives] if loss.positives else [])]
        np.testing.assert_array_equal(jnp.concatenate([*blocks, candidates[:, len(gq) :]], 1), one[f"{case}__mask"], case)
    check(one, values, n="n0")


def test_focal_weights(one):
    values = {}
    for case in names(one, "focal_"):
        loss = KaLM(0.05, number(case, "gamma"), case.endswith("_stop"), mix_pair=False, mix_list=False)
        values[case] = of_rows(loss)
    check(one, values)
    nll = -jnp.log1p(-jnp.square(jnp.asarray(one["focal_weights_gamma0p5"])))  # of w = (1 - P)^.5
    plain = of_rows(KaLM(0.05, 0.0, mix_pair=False, mix_list=False))(*(jnp.asarray(one[x]) for x in "qpn"))
    np.testing.assert_allclose(nll.mean(), plain, rtol=1e-7)


def test_qzhou_by_task(one):
    labels, hard = (jnp.asarray(one[f"qzhou_cls_{x}"]) for x in ("y", "yneg"))
    known = Known(labels=labels, candidate_labels=jnp.concatenate([labels, hard.ravel()]))
    retrieval = InfoNCE(0.05, ("q2d", "q2q"), negatives="own")
    check(one, {"qzhou_ret": of_rows(retrieval), "qzhou_cls": of_rows(ClassNCE(0.05), known)})


def mrl(file):
    return {"dims": tuple(map(int, file["mrl_dims"])), "weights": tuple(map(float, file["mrl_weights"]))}


def test_matryoshka(one, two):
    base, hard = InfoNCE(0.05), InfoNCE(1 / float(two["mnrl_scale"]))
    values = {"uniform": Matryoshka(base, mrl(one)["dims"]), "weighted": Matryoshka(base, **mrl(one))}
    check(one, {f"matryoshka_infonce_{name}": of_rows(loss) for name, loss in values.items()})
    check(two, {"mrl_mnrl_hard": of_rows(Matryoshka(hard, **mrl(two)))})


def of_layers(loss, known=NOTHING):
    """A loss as a function of the rows of all layers, of which it is given those that it asks for."""

    def value(q, p, positives=None):
        chosen = jnp.asarray([len(q) - 1 if i == -1 else i for i in loss.layers()])
        return loss(q[chosen], p[chosen], positives, known=known).value

    return value


def test_adaptive_layers_and_their_matryoshka(one):
    every, some = (tuple(map(int, one[f"adaptive_layers_{x}"])) for x in ("all", "one"))
    base, nested = InfoNCE(0.05), Matryoshka(InfoNCE(0.05), mrl(one)["dims"])
    values = {
        "adaptive_layer_all": AdaptiveLayer(base, every),
        "adaptive_layer_one": AdaptiveLayer(base, some),
        "matryoshka2d_all": AdaptiveLayer(nested, every),
        "matryoshka2d_one_layer": AdaptiveLayer(nested, some),
    }
    weights = {"last_weight": 1.5, "prior_weight": 0.5, "kl_weight": 2.0, "kl_temperature": 0.7}
    values["matryoshka2d_weights"] = AdaptiveLayer(Matryoshka(base, **mrl(one)), some, **weights)
    check(one, {case: of_layers(loss) for case, loss in values.items()})


def test_the_first_code_of_2d_matryoshka(one):
    loss = Matryoshka2D(InfoNCE(0.05), (int(one["tdmse_layer"]),), (int(one["tdmse_dim"]),))
    check(one, {"tdmse_original_infonce": of_layers(loss)})


def test_starbucks(one):
    values = {}
    sizes = tuple(zip(map(int, one["sb_layers"]), map(int, one["sb_dims"]), strict=True))
    assert sizes[-1] == (len(one["sb_Rd"]) - 1, one["sb_Rd"].shape[-1]), "the last is the full size"
    for case in names(one, "starbucks_srl_"):
        tau = number(case, "tau")
        loss = Starbucks(InfoNCE(tau, similarity="dot"), sizes[:-1], kl_weight=number(case, "kl"), kl_temperature=tau)
        of = of_layers(loss)
        values[case] = lambda q, d, of=of: of(q, d, jnp.arange(q.shape[1]) * (d.shape[1] // q.shape[1]))
    scored = Known(scores=jnp.asarray(one["pair_labels"]))
    for name, base in (("infonce", InfoNCE(0.05)), ("cosent", CoSENT(0.05))):
        values[f"starbucks_sts_{name}"] = of_layers(Starbucks(base, sizes[:-1], align="coordinates", kl_weight=0.3), scored)
    check(one, values, Rd="sb_Rd")
