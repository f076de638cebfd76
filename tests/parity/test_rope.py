"""Rotary positions and their rescalings against transformers' (text_rope.npz): every array of the file."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.posemb.base import Places
from jaxemb.posemb.logit_scale import LogitScale, logit_scale
from jaxemb.posemb.rescale import NTK, DynamicNTK, Interpolated, YaRN
from jaxemb.posemb.rotary import Rotary, half_from_interleaved


def variants(r):
    """The scheme of each variant in the file."""
    base, original, s = float(r["theta"]), int(r["orig_len"]), float(r["scale_s"])
    rotary = Rotary(base=base)
    return {
        "default": rotary,
        "linear_pi": Interpolated(of=rotary, factor=s),
        "ntk": NTK(of=rotary, lam=float(r["ntk_lambda"])),
        "dynamic_ntk": DynamicNTK(of=rotary, factor=s, original=original),
        "yarn": YaRN(of=rotary, factor=s, original=original),
        "interleaved": Rotary(base=base, layout="interleaved"),
    }


@partial(jax.jit, static_argnums=0)
def run(posemb, q, k, pos):
    """Rotated q and k, b n h e, and the cosines and sines."""
    pos = posemb.apply({}, Places(pos), method="locate")
    shared = posemb.apply({}, Places(pos), heads=q.shape[2], width=q.shape[3], method="prepare")
    return posemb.apply({}, q, k, shared, method="rotate"), shared.angles


def heads_first(x):
    return np.asarray(x).swapaxes(1, 2)


@pytest.fixture
def rope(load):
    return load("text_rope.npz")


def test_every_variant(rope, precision):
    q, k = (precision.array(rope[n].swapaxes(1, 2)) for n in "qk")
    pos = jnp.arange(q.shape[1])[None, :, None]
    names = {name.split("__")[0] for name in rope if name.endswith("__logits")}
    known = variants(rope)
    assert q.shape[1] == int(rope["seq_len"])
    assert names <= set(known), f"which scheme is {names - set(known)}?"
    for name in names:
        (q_rot, k_rot), (cosine, sine) = run(known[name], q, k, pos)
        precision.check(heads_first(q_rot), rope[f"{name}__q_rot"], f"{name} q")
        precision.check(heads_first(k_rot), rope[f"{name}__k_rot"], f"{name} k")
        logits = jnp.einsum("bnhe,bmhe->bhnm", q_rot, k_rot) / q.shape[-1] ** 0.5
        precision.check(logits, rope[f"{name}__logits"], f"{name} logits")
        both = np.repeat if name == "interleaved" else lambda x, n, axis: np.concatenate([x] * n, axis)
        precision.check(both(np.asarray(cosine[0, :, 0]), 2, -1), rope[f"{name}__cos"], f"{name} cos")
        precision.check(both(np.asarray(sine[0, :, 0]), 2, -1), rope[f"{name}__sin"], f"{name} sin")
        if name != "interleaved":  # the same numbers in another order
            # At position 1 the angle is the frequency itself.
            precision.check(jnp.arctan2(sine, cosine)[0, 1, 0], rope[f"{name}__inv_freq"], f"{name} frequencies")
            size = np.broadcast_to(rope[f"{name}__attention_factor"], cosine[0, :, 0].shape)
            precision.check(jnp.hypot(cosine, sine)[0, :, 0], size, f"{name} factor")


def test_positions_of_each_example(rope, precision):
    q, k = (precision.array(rope[n].swapaxes(1, 2)) for n in "qk")
    (q_rot, k_rot), _ = run(variants(rope)["default"], q, k, jnp.asarray(rope["custom_position_ids"])[:, :, None])
    precision.check(heads_first(q_rot), rope["custom__q_rot"], "q")
    precision.check(heads_first(k_rot), rope["custom__k_rot"], "k")


def test_the_permutation_between_layouts(rope, precision):
    perm = half_from_interleaved(int(rope["head_dim"]))
    np.testing.assert_array_equal(perm, rope["interleaved_to_half_perm"])
    q = precision.array(rope["q"].swapaxes(1, 2))
    pos = jnp.arange(q.shape[1])[None, :, None]
    (half, _), _ = run(variants(rope)["default"], q[..., perm], q[..., perm], pos)
    precision.check(heads_first(half), rope["interleaved__q_rot"][..., perm], "half")


def test_yarn_ramp(rope, precision):
    yarn = variants(rope)["yarn"]
    assert yarn.bounds(int(rope["head_dim"])) == (int(rope["yarn_low"]), int(rope["yarn_high"]))
    assert yarn.attention_factor() == pytest.approx(float(rope["yarn__attention_factor"]), rel=1e-12)
    theta, s = rope["default__inv_freq"], float(rope["scale_s"])
    ours, _ = yarn.spectrum(precision.array(theta)[None, None], 0, int(rope["head_dim"]), precision.array(np.ones((1, 1))))
    precision.check((theta - np.asarray(ours[0, 0], np.float64)) / (theta - theta / s), rope["yarn_ramp"], "ramp")


def test_base_of_dynamic_ntk(rope, precision):
    d, length = int(rope["head_dim"]), precision.array(np.full((1, 1), float(rope["seq_len"])))
    theta = precision.array(rope["default__inv_freq"])[None, None]
    ours, _ = variants(rope)["dynamic_ntk"].spectrum(theta, 0, d, length)
    precision.check(float(ours[0, 0, -1]) ** (-d / (d - 2)), rope["dynamic_ntk_base"], "base")  # theta_j = base^(-2j/d)


def test_logit_scale(rope, precision):
    got = logit_scale(jnp.asarray(rope["attn_scale_lengths"]), int(rope["orig_len"]), precision.array(np.zeros(())).dtype)
    precision.check(got, rope["attn_scale"], "multiplier")
    assert LogitScale().original  # the class that applies it


def real_cases(rope):
    return sorted({name.split("__")[0] for name in rope if name.startswith("real")})


def test_realistic_sizes(rope, precision):
    assert real_cases(rope)
    for case in real_cases(rope):
        d, base, original, s = rope[f"{case}__dim_theta_origlen_scale"]
        d, rotary = int(d), Rotary(base=float(base))
        yarn = YaRN(of=rotary, factor=float(s), original=int(original))
        theta = precision.array(rope[f"{case}__default_inv_freq"])[None, None]
        own = precision.array(np.zeros(1)).dtype
        one = precision.array(np.ones((1, 1, 1)))
        # At position 1 the angle is the frequency itself.
        for name, scheme in (("default", rotary), ("linear", Interpolated(of=rotary, factor=float(s)))):
            cosine, sine = run(scheme, one[..., None].repeat(d, -1), one[..., None].repeat(d, -1), one)[1]
            got = jnp.arctan2(sine, cosine)[0, 0, 0]
            precision.check(got, rope[f"{case}__{name}_inv_freq"], f"{case} {name}")
        got, factor = yarn.spectrum(theta, 0, d, one[:, :, 0])
        precision.check(got[0, 0], rope[f"{case}__yarn_inv_freq"], f"{case} yarn")
        assert tuple(yarn.bounds(d)) == tuple(int(x) for x in rope[f"{case}__yarn_low_high"])
        assert factor == pytest.approx(float(rope[f"{case}__yarn_attention_factor"]), rel=1e-12)
        lengths = rope[f"{case}__dynamic_lengths"]
        dynamic = DynamicNTK(of=rotary, factor=float(s), original=int(original))
        got, _ = dynamic.spectrum(theta, 0, d, jnp.asarray(lengths, own)[:, None])
        precision.check(got[:, 0], rope[f"{case}__dynamic_inv_freq"], f"{case} dynamic")
        pos = jnp.asarray(rope[f"{case}__positions"])[None, :, None]
        cosine, sine = yarn.apply({}, Places(pos), d, method="angles")
        wide = 2 * [np.asarray(cosine[0, :, 0])], 2 * [np.asarray(sine[0, :, 0])]
        if precision.name == "float64":  # thousands of radians are beyond float32 to 1e-4
            precision.check(np.concatenate(wide[0], -1), rope[f"{case}__yarn_cos"], f"{case} cos")
            precision.check(np.concatenate(wide[1], -1), rope[f"{case}__yarn_sin"], f"{case} sin")
