"""The contrastive losses and their gradients against text_losses.npz and text_losses2.npz, in 64 bits.

Options stand in the names of the cases ("tau0p05", "margin0p3") or in scalars of the file.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.contrastive import InfoNCE, NTXent
from jaxemb.contrastive.base import NOTHING, Known

EACH = {"directions": ("q2d", "d2q"), "partition": "each"}
ALL4 = ("q2d", "q2q", "d2q", "d2d")
HARD = {"in_batch_negatives": "in_batch", "hard_negatives": "hard", "all_negatives": "all", "in_batch_pairs": "in_batch"}


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def one(load):
    return load("text_losses.npz")


@pytest.fixture
def two(load):
    return load("text_losses2.npz")


def number(case, tag):
    """0.05 of "..._tau0p05"; None where the tag is not there."""
    found = re.search(rf"{tag}(\d+(?:p\d+)?)(?:_|$)", case)
    return float(found[1].replace("p", ".")) if found else None


def names(file, prefix):
    found = sorted({k.partition("__")[0] for k in file if k.startswith(prefix) and "__loss" in k})
    assert found, f"no case {prefix}* in the file"
    return found


def own_places(n):
    """Where `flat` has the hard negatives (b k d) of each query among all candidates."""
    b, k = n.shape[:2]
    return jnp.arange(b * k).reshape(b, k) + b


def flat(p, n):
    """The candidates: all positives, then all hard negatives."""
    return jnp.concatenate([p, n.reshape(-1, p.shape[-1])])


def of_rows(loss, known=NOTHING):
    """A loss as a function of the file's arrays: `n`, if there is one, holds hard negatives (b k d)."""

    def value(q, p, n=None):
        if n is None:
            return loss(q, p, known=known).value
        n = n[:, None] if n.ndim == 2 else n
        return loss(q, flat(p, n), known=known._replace(own=own_places(n))).value

    return value


def check(file, case, value, **renamed):
    """The value, and the gradient of each array that the file has one of, in the order of the function's arguments.

    `renamed`: the arrays that are called otherwise than their gradients.
    """
    wrt = [k.partition("__grad_")[2] for k in file if k.startswith(f"{case}__grad_")]
    assert wrt, f"{case}: no gradients"
    arrays = [jnp.asarray(file[renamed.get(name, name)]) for name in wrt]
    got, grads = jax.value_and_grad(value, tuple(range(len(arrays))))(*arrays)
    np.testing.assert_allclose(got, file[f"{case}__loss"], rtol=1e-7, atol=1e-9, err_msg=case)
    for name, grad in zip(wrt, grads, strict=True):
        np.testing.assert_allclose(grad, file[f"{case}__grad_{name}"], rtol=1e-7, atol=1e-9, err_msg=f"{case} {name}")


def test_info_nce(one):
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
        check(one, case, of_rows(InfoNCE(tau, **options)))


def test_the_joint_form_of_gte(one):
    for case in names(one, "gte_joint_"):
        check(one, case, of_rows(InfoNCE(number(case, "tau"), directions=ALL4)))


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
    for case in names(two, family):
        options = MNRL[case.removeprefix(family).removeprefix("_")]
        scale = float(two["mnrl_scale"]) / (8 if options.get("similarity") == "dot" else 1)
        strength = float(two["mnrl_strength"]) if "hardness" in options else 0.0
        check(two, case, of_rows(InfoNCE(1 / scale, **options, strength=strength)))


def test_clip_with_its_learned_scale(two):
    loss = InfoNCE(**EACH, learn_scale=True)
    check(two, "clip", lambda q, p, scale: loss(q, p, known=Known(learned={"log_scale": scale})).value)


def test_nt_xent(two):
    check(two, "nt_xent", of_rows(NTXent(float(two["simcse_tau"]))))
