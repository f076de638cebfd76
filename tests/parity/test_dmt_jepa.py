"""DMT-JEPA's neighbours, heads and losses against the released code (core_dmtjepa_head.npz): every array of the file."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply

from jaxemb.layers.norms import normalise
from jaxemb.nn.aggregation import Aggregation
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.dmt_jepa import DMTJEPA
from jaxemb.objectives.ijepa import LOSSES
from jaxemb.ops.neighbours import most_similar, window_neighbours


@pytest.fixture
def dmt(load):
    return load("core_dmtjepa_head.npz")


def head_params(r, head):
    """The weights of "thead" or "chead" under our names."""

    def dense(name):
        return {"kernel": r[f"{name}_weight"].T, "bias": r[f"{name}_bias"]}

    def norm(name):
        return {"scale": r[f"{name}_weight"], "bias": r[f"{name}_bias"]}

    heads = int(r["cfg"][1])
    depth = len({m[1] for name in r if (m := re.match(rf"{head}_cls_blocks_(\d+)_", name))})
    params = {"norm": norm(f"{head}_norm")}
    for i in range(depth):
        at = f"{head}_cls_blocks_{i}"
        block = {ours: dense(f"{at}_{theirs}") for ours, theirs in (("up", "mlp_fc1"), ("down", "mlp_fc2"))}
        block = {"mlp": block}
        for name in ("q", "k", "v"):
            weight, bias = r[f"{at}_attn_{name}_weight"].T, r[f"{at}_attn_{name}_bias"]
            block[name] = {"kernel": weight.reshape(len(weight), heads, -1), "bias": bias.reshape(heads, -1)}
        out = dense(f"{at}_attn_proj")
        block["out"] = {"kernel": out["kernel"].reshape(heads, -1, out["kernel"].shape[-1]), "bias": out["bias"]}
        params[f"blocks_{i}"] = block | {name: norm(f"{at}_{name}") for name in ("norm1", "norm2")}
    return params, depth


def head(r, precision, name, kind):
    params, depth = head_params(r, name)
    return Aggregation(depth, int(r["cfg"][1]), kind), {"params": precision.tree(params)}


def test_neighbours(dmt):
    names = [name for name in dmt if name.startswith("nbr_")]
    assert names
    for name in names:
        window, count = map(int, re.fullmatch(r"nbr_k(\d+)_n(\d+)", name).groups())
        ids, valid = window_neighbours((math.isqrt(count),) * 2, window)
        assert valid.all()
        np.testing.assert_array_equal(ids, dmt[name])


def test_most_similar(dmt, precision):
    _, _, k, window = map(int, dmt["cfg"])
    features = normalise(precision.array(dmt["tgt_raw"]), 1e-5)
    precision.check(features, dmt["tgt_ln"], "LayerNorm")
    ids, valid = window_neighbours((math.isqrt(features.shape[1]),) * 2, window)
    chosen, _ = most_similar(features, ids, valid, k)
    np.testing.assert_array_equal(np.sort(chosen, -1), dmt["topk_sel"])
    unit = features / jnp.linalg.norm(features, axis=-1, keepdims=True)
    similarity = jnp.einsum("bnd,bnmd->bnm", unit, unit[:, ids])
    precision.check(similarity, dmt["sim"], "similarity")
    falling = -np.sort(-np.asarray(similarity, np.float64), -1)
    assert (falling[..., k - 1] - falling[..., k]).min() == pytest.approx(float(dmt["topk_gap"]), abs=1e-6)  # no ties


def test_targets(dmt, precision):
    width, heads, k, window = map(int, dmt["cfg"])
    features = precision.array(dmt["tgt_ln"])
    grid = (math.isqrt(features.shape[1]),) * 2
    names = [name for name in dmt if re.match(r"tgt_(released|perimage)_", name)]
    assert names
    for name in names:
        way, kind = re.fullmatch(r"tgt_(released|perimage)_(cross|self)_attn", name).groups()
        params, depth = head_params(dmt, "thead")
        encoder = Transformer(stem=Patches(1), width=width, blocks=(Block(Attention(heads)),), depth=1, **precision.dtypes)
        objective = DMTJEPA(
            encoder=encoder,
            neighbours=k,
            window=window,
            head=Aggregation(depth, heads, kind),
            start="released" if way == "released" else "mean",
        )
        got = apply(objective, {"params": {"head": precision.tree(params)}}, features, grid, method="aggregate")
        precision.check(got, dmt[name], name)


def test_context(dmt, precision):
    names = [name for name in dmt if re.fullmatch(r"ctx_(cross|self)_attn", name)]
    assert names
    for name in names:
        module, params = head(dmt, precision, "chead", name.split("_")[1])
        precision.check(apply(module, params, precision.array(dmt["ctx_in"]), method="context"), dmt[name], name)


def test_losses(dmt, precision):
    every, index = precision.array(dmt["tgt_perimage_cross_attn"]), dmt["tgt_idx"]
    wanted = jnp.concatenate([jax.vmap(lambda x, i: x[i])(every, jnp.asarray(block)) for block in index])
    precision.check(wanted, dmt["targets"], "targets")
    predicted = precision.array(dmt["preds"])
    for name in ("smooth_l1", "l2"):
        precision.check(LOSSES[name](predicted, wanted).mean(), dmt[f"loss_{name}"], name)
