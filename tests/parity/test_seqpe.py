"""SeqPE's position encoder, its way into attention, its losses and samplers against the reference (core_seqpe_*.npz).

Not compared: `n_rows_in_epoch`, since origins are drawn here and no epoch is prepared.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply

from jaxemb.ops.allow import Allow
from jaxemb.ops.digits import contrastive, digit_count, digits, digits_mask, distillation, far_origins, nearest
from jaxemb.posemb.base import Shared
from jaxemb.posemb.seqpe import SeqPE, Warmup, _dot

VARIANTS = {
    "pe_causal": {},
    "pe_bi": {"causal": False},
    "pe_causal_padmask": {"mask_padding": True},
    "pe_causal_noln": {"last_norm": False},
    "pe_causal_nocls": {"summary": False},
    "pe_causal_temp2": {"temperature": 2.0},
}


def linear(r, name):
    return {"kernel": r[f"{name}_w"], "bias": r[f"{name}_b"]}


def norm(r, name):
    return {"scale": r[f"{name}_w"], "bias": r[f"{name}_b"]}


def block_params(r, name, heads):
    """Published as one matrix for q, k and v, whose columns are the heads'."""
    w = r[f"{name}_qkv_w"]
    kernel, bias = w.reshape(len(w), 3, heads, -1), r[f"{name}_qkv_b"].reshape(3, heads, -1)
    params = {part: {"kernel": kernel[:, i], "bias": bias[i]} for i, part in enumerate("qkv")}
    out = linear(r, f"{name}_attnout")
    params["out"] = out | {"kernel": out["kernel"].reshape(heads, -1, len(w))}
    params["mlp"] = {"up": linear(r, f"{name}_fc1"), "down": linear(r, f"{name}_fc2")}
    return params | {"norm1": norm(r, f"{name}_ln1"), "norm2": norm(r, f"{name}_ln2")}


def encoder_params(r, depth, heads):
    params = {"digit": r["p_digit_embed"], "slot": r["p_slot_embed"], "summary": r["p_cls_embed"], "norm": norm(r, "p_final_ln")}
    params["out"] = {"kernel": r["p_out_w"].T, "bias": r["p_out_b"]}
    if "p_dim_embed" in r:
        params["axis"] = r["p_dim_embed"]
    for i in range(depth):
        params[f"block_{i}"] = block_params(r, f"p_block{i}", heads)
    return params


@pytest.mark.parametrize("file", ["core_seqpe_1d.npz", "core_seqpe_2d.npz"])
def test_embeddings(load, precision, file):
    r = load(file)
    width, heads, depth, count, features, axes = (int(x) for x in r["config"])
    pos = jnp.asarray(r["positions"].reshape(-1, axes))
    np.testing.assert_array_equal(digits(pos, count), r["digits"])
    np.testing.assert_array_equal(digits_mask(pos, count), r["pad_mask"])
    names = [name for name in r if name.startswith("pe_")]
    assert set(names) <= set(VARIANTS), f"which variant is {set(names) - set(VARIANTS)}?"
    for name in names:
        posemb = SeqPE(axes=axes, limit=10**count, width=width, heads=heads, depth=depth, **VARIANTS[name])
        params = {"encoder": precision.tree(encoder_params(r, depth, heads))}
        got = apply(posemb, {"params": params}, pos, features, method="embeddings")
        assert got.dtype == precision.name
        precision.check(got, r[name], name)


def test_attention(load, precision):
    r = load("core_seqpe_attention.npz")
    heads, x = int(r["heads"]), precision.array(r["x"])
    qkv = x @ precision.array(r["p_qkv_w"]).T + precision.array(r["p_qkv_b"])[None, None]
    q, k, v = (part.reshape(*x.shape[:2], heads, -1) for part in jnp.split(qkv, 3, axis=-1))
    to_qk = {"params": {"to_qk": precision.tree({"kernel": r["p_pe_qk_w"].T, "bias": r["p_pe_qk_b"]})}}
    names = [name for name in r if name.startswith("out_")]
    assert names
    for name in names:
        way = name.removeprefix("out_attn_")
        for project in ("multi", "single"):
            posemb, e = SeqPE(way=way, project=project, limit=10), precision.array(r["pe"])
            shared = Shared(jnp.zeros((1, x.shape[1], 2), jnp.int32), e)
            if project == "single":
                p = apply(posemb, to_qk, e, heads, method="_both")
                shared = Shared(shared.pos, None, _dot(*p)) if way == "scalar" else Shared(shared.pos, p)
            out = apply(posemb, to_qk, q, k, v, shared, Allow(), method="attend").reshape(x.shape)
            out = out @ precision.array(r["p_proj_w"]).T + precision.array(r["p_proj_b"])[None, None]
            precision.check(out, r[name], f"{name} {project}")


def test_contrastive_loss(load, precision):
    r = load("core_seqpe_losses.npz")
    pivot, label = precision.array(r["ct_pivot"]), jnp.asarray(r["ct_label"])
    candidates = precision.array(r["ct_cand"]).reshape(len(pivot), -1, pivot.shape[1])
    names = [name for name in r if name.startswith("ct_loss_")]
    assert names
    for name in names:
        kind, scale = name.removeprefix("ct_loss_").split("_s")

        def loss(p, c, kind=kind, scale=scale):
            return contrastive(p, c, label, heads=int(r["heads"]) if kind == "mh" else 1, scale=float(scale))

        precision.check(loss(pivot, candidates), r[name], name)
        for i, part in enumerate(("pivot", "cand")):
            if (gradient := f"ct_g{part}_{kind}_s{scale}") in r:
                got = jax.grad(loss, argnums=i)(pivot, candidates)
                precision.check(got.reshape(r[gradient].shape), r[gradient], gradient)


def test_distillation_loss(load, precision):
    r = load("core_seqpe_losses.npz")
    main, far = precision.array(r["tr_main"]), precision.array(r["tr_trans"])
    index = jnp.asarray(r["tr_idx"]).reshape(int(r["tr_batch"]), -1)
    names = [name for name in r if name.startswith("tr_loss_")]
    assert names
    for name in names:
        heads, rest = name.removeprefix("tr_loss_").split("_", 1)
        kind, beta = rest.split("_b")

        def loss(main, far, heads=heads, kind=kind, beta=beta):
            return distillation(
                main[index],
                far.reshape(*index.shape, -1),
                heads=int(r["heads"]) if heads == "mh" else 1,
                kind={"kl_div": "kl", "mse": "mse"}[kind],
                beta=float(beta),
            )

        precision.check(loss(main, far), r[name], name)
        tag = name.removeprefix("tr_loss_")
        for i, part in enumerate(("main", "trans")):
            precision.check(jax.grad(loss, argnums=i)(main, far), r[f"tr_g{part}_{tag}"], f"{part} {tag}")


def test_samplers(load, precision):
    r = load("core_seqpe_sampling.npz")
    grid, limit = tuple(int(x) for x in r["grid"]), round(float(r["max_position"]) ** 0.5)
    origins = far_origins(grid, limit)
    assert len(origins) == int(r["n_allowed_start_2d"])
    count = r["ex_digits"].shape[1] // 2
    cells = np.stack(np.divmod(r["ex_idx"], grid[1]), -1)
    spelt = r["ex_digits"].reshape(-1, 2, count) @ 10 ** np.arange(count - 1, -1, -1)
    allowed = {tuple(o) for o in origins.tolist()}
    assert {tuple(o) for o in (spelt - cells).tolist()} <= allowed
    np.testing.assert_array_equal(digits(jnp.asarray(spelt, jnp.int32), count), r["ex_digits"])
    pivots, candidates = jnp.asarray(r["ct_piv"]), jnp.asarray(r["ct_cands"])
    np.testing.assert_array_equal(nearest(pivots, candidates), r["ct_lab"])
    np.testing.assert_array_equal(r["ct_sqdist"].argmin(1), r["ct_lab"])  # the file agrees with itself
    np.testing.assert_array_equal(jnp.square(pivots[:, None] - candidates).sum(-1), r["ct_sqdist"])
    np.testing.assert_array_equal([digit_count(int(n)) for n in r["digit_num"][:, 0]], r["digit_num"][:, 1])
    # The file holds target weights (.1, .2), reached in some steps.
    schedule = r["weight_sched"]
    steps = int(np.argmax(schedule[:, 0] == schedule[-1, 0])) + 1
    rise, counted = [], {"counters": {"step": jnp.zeros((), jnp.int32)}}
    for _ in schedule:
        value, counted = apply(Warmup(steps), counted, mutable=["counters"])
        rise.append(float(value))
    np.testing.assert_allclose(np.outer(rise, schedule[-1]), schedule, rtol=1e-6)
