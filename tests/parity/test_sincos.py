"""Sine-cosine tables against I-JEPA's (core_sincos.npz)."""

import math
import re

import jax.numpy as jnp
import numpy as np

from jaxemb.nn.stem import patch_positions
from jaxemb.posemb.base import Places
from jaxemb.posemb.sincos import SinCos


def test_every_table(load, precision):
    arrays = load("core_sincos.npz")
    assert arrays, "core_sincos.npz holds no table"
    for name, expected in arrays.items():
        first = 0
        if m := re.fullmatch(r"pos2d_D(\d+)_g(\d+)", name):
            pos = patch_positions(jnp.arange(int(m[2]) ** 2), int(m[2]))
        elif m := re.fullmatch(r"pos1d_D(\d+)_n(\d+)", name):
            pos = jnp.arange(int(m[2]))[:, None]
        else:  # a grid with a row for the class token: zeros, that is, no position at all, as our encoder has it
            assert name == "pos2d_cls", f"{name}: what is this table?"
            first, side = 1, math.isqrt(len(expected) - 1)
            pos = patch_positions(jnp.arange(side * side), side)
        x = precision.array(np.zeros((1, *expected[first:].shape)))
        got = SinCos(axes=pos.shape[-1]).apply({}, x, Places(pos[None]), method="add")[0]
        assert got.dtype == precision.name and got.shape == expected[first:].shape, name
        precision.check(got, expected[first:], name)
        assert (expected[:first] == 0).all()
