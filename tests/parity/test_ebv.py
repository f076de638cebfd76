"""Equiangular basis vectors against the formulas of the released code (vision_ebv.npz).

Not compared: the mean and the least |cosine| of the basis, which nothing here computes, and `opt_stop_step`, 283 steps on: after
about 20, rounding decides when a hinge opens.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.equiangular import coherence, generate, hinge, welch_bound
from jaxemb.ops.similarity import unit


@pytest.fixture
def ebv(load):
    return load("vision_ebv.npz")


def test_coherence_and_hinge(ebv, precision):
    basis, threshold = precision.array(ebv["B"]), float(ebv["threshold"])
    precision.check(coherence(basis), ebv["coherence_max"], "coherence")
    assert welch_bound(*ebv["B"].shape) == pytest.approx(float(ebv["welch_bound"]), rel=1e-12)
    value, grad = jax.value_and_grad(hinge)(basis, threshold)
    precision.check(value, ebv["hinge_loss"], "hinge")
    precision.check(grad, ebv["hinge_grad"], "gradient")
    precision.check(unit(basis - float(ebv["sgd_lr"]) * grad), ebv["B_after_one_sgd_step"], "one step")


def test_generation(ebv, precision):
    """The first steps one by one; then rounding decides when a hinge opens, and the coherence is what counts."""
    alpha, lr = float(ebv["opt_alpha"]), float(ebv["opt_lr"])
    history, basis = [], precision.array(ebv["B"])
    for _ in range(20):
        basis = unit(basis)
        history.append(float(coherence(basis)))
        basis = basis - lr * jax.grad(hinge)(basis, alpha)
    np.testing.assert_allclose(history, ebv["opt_history_max"][:20], rtol=precision.rtol)
    if "B_opt_after_20_steps" in ebv:
        precision.check(unit(basis), ebv["B_opt_after_20_steps"], "after 20 steps")
    done = generate(*ebv["B"].shape, alpha, lr=lr, squared=False, start=precision.array(ebv["B"]))
    assert float(coherence(done)) <= alpha + 1e-4
    assert float(ebv["opt_coherence_max"]) <= alpha + 1e-4
    precision.check(coherence(precision.array(ebv["B_opt"])), ebv["opt_coherence_max"], "coherence of the reference's end")


def test_logits_and_losses(ebv, precision):
    basis, feat = precision.array(ebv["B"]), precision.array(ebv["feat"])
    logits = unit(feat) @ unit(basis).T / float(ebv["tau"])
    precision.check(logits, ebv["logits"], "logits")
    np.testing.assert_array_equal(logits.argmax(-1), ebv["pred"])
    log_p = jax.nn.log_softmax(logits)
    hard = jax.nn.one_hot(jnp.asarray(ebv["labels"]), len(basis), dtype=logits.dtype)
    soft = precision.array(ebv["soft_targets"])
    for name, target in (("ce", hard), ("ce_soft", soft)):
        precision.check(-(target * log_p).sum(-1).mean(), ebv[name], name)
        smoothed = 0.9 * target + 0.1 / len(basis)
        precision.check(-(smoothed * log_p).sum(-1).mean(), ebv["ce_smooth01" if name == "ce" else "ce_soft_smooth01"], name)
