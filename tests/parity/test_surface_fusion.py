"""Every array of text_surface_fusion.npz: the source path, three fusions, layer attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.nn.fusion import LayerAttention, SourcePath, SurfaceFusion, fused
from jaxemb.ops.allow import Allow

same = functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-9)


@pytest.fixture
def g(load):
    with jax.enable_x64(True):
        yield {name: jnp.asarray(x) for name, x in load("text_surface_fusion.npz").items()}


def source(g):
    """Parameters of the source path."""
    heads = {name: {"kernel": g[f"W{name}"][:, None], "bias": g[f"b{name}"][None]} for name in "qkv"}
    return {**heads, "out": {"kernel": g["Wo"][None], "bias": g["bo"]}}


def test_the_source_path(g):
    inputs = g["query"], g["enc_out"], g["enc_embedding"], Allow(~g["pad_mask"])
    r, left = SourcePath().apply({"params": source(g)}, *inputs, mutable=["intermediates"])
    same(left["intermediates"]["weights"][0][:, 0], g["attn"])
    same(r, g["src_features"])
    same(g["tgt_features"] @ g["E"].T, g["logits_tgt"])
    same(r @ g["E"].T, g["logits_src"])


def test_fusions(g):
    gate, tau = float(g["gate"]), float(g["tau"])
    cases = {
        "hard": {"mode": "hard", "gate": gate},
        "soft": {"mode": "soft", "temperature": tau},
        "soft_tau1": {"mode": "soft"},
        "soft_src_div5": {"mode": "soft", "temperature": 1 / 5},
        "postnorm": {"mode": "post_norm", "temperature": tau},
    }
    for name, fields in cases.items():
        inputs = g["tgt_features"], g["enc_out"], g["enc_embedding"], g["E"], Allow(~g["pad_mask"]), g["query"]
        same(SurfaceFusion(**fields).apply({"params": {"source": source(g)}}, *inputs), g[name], err_msg=name)
        same(fused(g["logits_tgt"], g["logits_src"], **fields), g[name], err_msg=name)
    same(jax.nn.logsumexp(g["hard"], axis=-1), g["hard_logsumexp"])


def test_layer_attention(g):
    w = g["layer_attn_weights"]
    same(LayerAttention(len(w)).apply({"params": {"weights": w}}, g["layer_stack"]), g["layer_attn_out"])
