"""Grouped bidirectional attention against LongEmbed's (text_selfextend.npz)."""

import jax.numpy as jnp
import numpy as np

from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places
from jaxemb.posemb.logit_scale import logit_scale
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.self_extend import SelfExtend, relative_positions


def scheme(r, **more):
    return SelfExtend(of=Rotary(base=float(r["theta"])), group=int(r["group"]), window=int(r["window"]), **more)


def test_relative_positions(load):
    r = load("text_selfextend.npz")
    ids = jnp.arange(r["rel_map"].shape[0])
    np.testing.assert_array_equal(relative_positions(ids, ids, int(r["group"]), int(r["window"])), r["rel_map"])
    example = r["rel_map_example_w4_g2_n10"]
    np.testing.assert_array_equal(relative_positions(jnp.arange(10), jnp.arange(10), 2, 4), example)


def test_output(load, precision):
    r = load("text_selfextend.npz")
    q, k, v = (precision.array(r[name].swapaxes(1, 2)) for name in "qkv")
    mask, n = jnp.asarray(r["mask"]), q.shape[1]
    scaled = q * logit_scale(jnp.asarray([n]), int(r["orig_len"]), q.dtype)[:, None, None, None]  # by the padded length, as there
    chunks = [c for c in range(1, n + 1) if n % c == 0 and c < n][-1:]
    for chunk in (0, *chunks):
        posemb = scheme(r, chunk=chunk)
        shared = posemb.apply({}, Places(jnp.arange(n)[None, :, None]), heads=q.shape[2], width=q.shape[3], method="prepare")
        np.testing.assert_array_equal(shared.angles.near[0], r["near"])
        out = posemb.apply({}, scaled, k, v, shared, Allow(mask), method="attend")
        precision.check(np.asarray(out).swapaxes(1, 2), r["output"], f"chunk={chunk}")
