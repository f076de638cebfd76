"""Grouped bidirectional attention against LongEmbed's (text_selfextend.npz): every array of the file."""

import re

import jax.numpy as jnp
import numpy as np
from compiled import apply

from jaxemb.nn.attention import _weights
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places
from jaxemb.posemb.logit_scale import logit_scale
from jaxemb.posemb.rotary import Rotary, turn
from jaxemb.posemb.self_extend import SelfExtend, relative_positions


def scheme(r, **more):
    return SelfExtend(of=Rotary(base=float(r["theta"])), group=int(r["group"]), window=int(r["window"]), **more)


def test_relative_positions(load):
    r = load("text_selfextend.npz")
    ids = jnp.arange(r["rel_map"].shape[0])
    np.testing.assert_array_equal(relative_positions(ids, ids, int(r["group"]), int(r["window"])), r["rel_map"])
    examples = {name: m for name in r if (m := re.fullmatch(r"rel_map_example_w(\d+)_g(\d+)_n(\d+)", name))}
    assert examples
    for name, m in examples.items():
        window, group, n = map(int, m.groups())
        np.testing.assert_array_equal(relative_positions(jnp.arange(n), jnp.arange(n), group, window), r[name])


def test_output(load, precision):
    r = load("text_selfextend.npz")
    q, k, v = (precision.array(r[name].swapaxes(1, 2)) for name in "qkv")
    mask, n = jnp.asarray(r["mask"]), q.shape[1]
    scaled = q * logit_scale(jnp.asarray([n]), int(r["orig_len"]), q.dtype)[:, None, None, None]  # by the padded length, as there
    chunks = [c for c in range(1, n + 1) if n % c == 0 and c < n][-1:]
    for chunk in (0, *chunks):
        posemb = scheme(r, chunk=chunk)
        shared = apply(posemb, {}, Places(jnp.arange(n)[None, :, None]), heads=q.shape[2], width=q.shape[3], method="prepare")
        out = apply(posemb, {}, scaled, k, v, shared, Allow(mask), method="attend")
        precision.check(np.asarray(out).swapaxes(1, 2), r["output"], f"chunk={chunk}")


def test_logits_of_each_kind_and_the_weights_of_all(load, precision):
    r = load("text_selfextend.npz")
    q, k = (precision.array(r[name].swapaxes(1, 2)) for name in "qk")
    posemb, n = scheme(r), q.shape[1]
    shared = posemb.apply({}, Places(jnp.arange(n)[None, :, None]), heads=q.shape[2], width=q.shape[3], method="prepare")
    a, layout = shared.angles, posemb.of.layout
    kinds = {"neighbour": (a.plain, a.plain), "group_lower": (a.shifted, a.grouped), "group_upper": (a.grouped, a.shifted)}
    logits = {}
    for name, (of_queries, of_keys) in kinds.items():
        both = jnp.einsum("bnhe,bmhe->bhnm", turn(q, *of_queries, layout), turn(k, *of_keys, layout))
        logits[name] = np.asarray(both * q.shape[-1] ** -0.5)
    apart = np.subtract.outer(np.arange(n), np.arange(n))
    before, near = apart >= 0, np.abs(apart) < posemb.window
    np.testing.assert_array_equal(near, r["near"])  # the file says where each of the three is used
    precision.check(logits["neighbour"], r["logits_neighbour"], "neighbour")
    precision.check(logits["group_lower"][..., before], r["logits_group_lower"][..., before], "group_lower")
    precision.check(logits["group_upper"][..., ~before], r["logits_group_upper"][..., ~before], "group_upper")
    far = np.where(before, logits["group_lower"], logits["group_upper"])
    precision.check(np.where(near, logits["neighbour"], far), r["logits_merged_unscaled"], "merged")
    factor = logit_scale(jnp.asarray([n]), int(r["orig_len"]), q.dtype)
    precision.check(factor[0], r["attn_factor"], "attn_factor")
    weights = _weights(posemb, q * factor[:, None, None, None], k, shared, Allow(jnp.asarray(r["mask"])), {})
    precision.check(weights.swapaxes(1, 2), r["probs"], "probs")
