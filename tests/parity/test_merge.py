"""Every array of merge.npz: merging in closed form, Self Positioning, adapters, averages over time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.nn.lora import LoRA, merged
from jaxemb.ops.ema import debiased, ema_update, warmed
from jaxemb.transforms.merge import Average, Dare, Fisher, Slerp, TaskArithmetic, Ties, elected, nearest, slerp, stack, task_vectors
from jaxemb.transforms.self_positioning import Place, position, walk

TOLERANCE = {"rtol": 1e-9, "atol": 1e-11}
same = functools.partial(np.testing.assert_allclose, **TOLERANCE)

pytestmark = pytest.mark.usefixtures("wide")


@pytest.fixture
def g(load):
    return load("merge.npz")


@pytest.fixture
def base(g):
    return {"W": g["base_W"], "b": g["base_b"]}


@pytest.fixture
def models(g):
    return [{"W": w, "b": b} for w, b in zip(g["theta_W"], g["theta_b"], strict=True)]


def numbers(x):
    return tuple(float(v) for v in x)


def agree(g, name, tree, at=()):
    for leaf, x in tree.items():
        same(x, g[f"{name}_{leaf}"][at], err_msg=f"{name}_{leaf}")


def test_averages_and_task_arithmetic(g, models, base):
    agree(g, "average", Average()(models))
    agree(g, "wavg", Average(numbers(g["wavg_weights"]))(models))
    scale = numbers(g["arith_lambda"])
    agree(g, "arith", TaskArithmetic(scale)(models, base))
    agree(g, "negate", TaskArithmetic(-scale[0])(models[:1], base))
    weights = [{leaf: g[f"fisher_weight_{leaf}"][k] for leaf in base} for k in range(len(models))]
    agree(g, "fisher", Fisher()(models, information=weights))
    keep = [{leaf: g[f"dare_keep_{leaf}"][k] for leaf in base} for k in range(len(models))]
    agree(g, "dare", Dare(float(g["dare_drop"]), scale)(models, base, keep=keep))
    alpha = nearest([{"W": m["W"]} for m in models], {"W": base["W"]}, {"W": g["ls_target"]})
    same(alpha, g["ls_alpha"])


@pytest.mark.parametrize(("name", "by_array"), [("global", False), ("tensor", True)])
def test_ties(g, models, base, name, by_array):
    ties = Ties(float(g["ties_density"]), float(g["ties_lambda"]), by_array)
    agree(g, f"ties_{name}", ties(models, base))
    trimmed = ties.trimmed(task_vectors(models, base))
    for leaf in base:
        same(stack(trimmed, leaf), g[f"ties_{name}_trimmed_{leaf}"])
        same(elected(stack(trimmed, leaf)), g[f"ties_{name}_sign_{leaf}"])


def test_slerp(g, models):
    threshold = float(g["slerp_threshold"])
    for i, t in enumerate(g["slerp_t"]):
        agree(g, "slerp", Slerp(float(t), threshold)(models[:2]), at=i)
        for name, a, b in (("near", "a", "near"), ("anti", "a", None), ("unit", "u", "v")):
            other = -g["sl_a"] if b is None else g[f"sl_{b}"]
            same(slerp(g[f"sl_{a}"], other, float(t), threshold), g[f"sl_{name}_out"][i], err_msg=name)


def test_self_positioning(g, models, base):
    tau = float(g["sp_tau"])

    def loss(params, pair):
        """One-direction InfoNCE of e(x) = W x + b, cosine."""
        q, p = (x @ params["W"].T + params["b"][None] for x in pair)
        q, p = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (q, p))
        return -jnp.diagonal(jax.nn.log_softmax(q @ p.T / tau)).mean()

    probes = [tuple(map(jnp.asarray, pair)) for pair in zip(g["sp_q"], g["sp_p"], strict=True)]
    place = Place(jnp.asarray(g["sp_a"]), jnp.asarray(g["sp_l"]))
    same(place.alpha, g["sp_alpha"])
    agree(g, "sp_theta", position(models, base, place))
    whole = jax.jit(jax.value_and_grad(lambda p: sum(loss(position(models, base, p), x) for x in probes) / len(probes)))
    value, gradient = whole(place)
    same(value, g["sp__loss"])
    same(gradient.a, g["sp__grad_sp_a"])
    same(gradient.l, g["sp__grad_sp_l"])
    paths = {"full": [tuple(probes)] * len(g["sp_full_loss"]), "task": [(probes[int(k)],) for k in g["sp_task_seq"]]}
    for name, batches in paths.items():
        steps = list(walk(models, base, loss, batches, float(g["sp_lr"])))
        for i, (before, after) in enumerate(steps):
            same(before, g[f"sp_{name}_loss"][i])
            same(after.a, g[f"sp_{name}_a"][i])
            same(after.l, g[f"sp_{name}_l"][i])


def test_adapters(g, base):
    w, (a, b), alpha = g["base_W"], (g["lora_A"], g["lora_B"]), float(g["lora_alpha"])
    lora = LoRA(rank=a.shape[1], alpha=alpha)

    def alone(lora, a, b):
        """Our kernels are in-out, theirs out-in."""
        tree = {"kernel": w.T, "lora_a": a.T, "lora_b": b.T}
        return np.asarray(merged(lora, jax.tree.map(jnp.asarray, tree))["kernel"]).T

    first = alone(lora, a[0], b[0])
    same(first, g["lora_merged"])
    same(g["lora_x"] @ first.T, g["lora_out"])
    same(alone(dataclasses.replace(lora, stabilised=True), a[0], b[0]), g["lora_merged_rs"])
    both = [{"W": first}, {"W": alone(lora, a[1], b[1])}]
    same(TaskArithmetic(numbers(g["lora_weights"]))(both, {"W": w})["W"], g["lora_two"])
    wrong = alone(lora, a.mean(0), b.mean(0))  # factors averaged: another matrix than the average of the products
    same(wrong, g["lora_factor_average"])
    assert np.abs(wrong - Average()(both)["W"]).max() > 1e-3


def test_averages_over_time(g):
    rows, decay = g["ema_seq"], float(g["ema_decay"])
    plain = warm = jnp.asarray(rows[0])
    zero = jnp.zeros_like(plain)
    for t, row in enumerate(map(jnp.asarray, rows)):
        zero = ema_update(zero, row, decay)
        same(debiased(zero, decay, t + 1), g["ema_debiased"][t])
        if t:
            plain, warm = ema_update(plain, row, decay), ema_update(warm, row, warmed(decay, t))
            same(plain, g["ema_plain"][t - 1])
            same(warm, g["ema_warmup"][t - 1])
