"""Poolings against sentence-transformers, NV-Embed's code and the repository of Pooling And Attention (text_pooling.npz).

Not compared: `dse_pool_*`, the concatenated means of several layers of one paper.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply

from jaxemb.layers.cross import CrossBlock
from jaxemb.ops.similarity import unit
from jaxemb.pooling.concat import MODES, of_modes
from jaxemb.pooling.latent_attention import LatentAttention, LatentAttentionPaper
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.trainable import MultiLayer, TrainablePooling
from jaxemb.types import Features


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "text_pooling.npz") as found:
        return {k: found[k] for k in found.files}


def masks(arrays):
    return [name.removeprefix("mask_") for name in arrays if name.startswith("mask_")]


def modes(arrays, prefix):
    found = [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]
    return [name for name in found if name in MODES]


def test_every_mode_of_every_mask(arrays, precision):
    x, compared = precision.array(arrays["x"]), 0
    for name in masks(arrays):
        f = Features(x, jnp.asarray(arrays[f"mask_{name}"]))
        for mode in modes(arrays, f"pool_{name}_"):
            precision.check(apply(of_modes([mode]), {}, f), arrays[f"pool_{name}_{mode}"], f"{name} {mode}")
            compared += 1
        precision.check(unit(apply(Mean(), {}, f)), arrays[f"pool_{name}_mean_l2"], f"{name} l2")
        slope = jax.grad(
            lambda x, f=f, name=name: (Mean()(f._replace(tokens=x)) * arrays[f"pool_{name}_mean_cotangent"].astype(x.dtype)).sum()
        )
        precision.check(slope(x), arrays[f"pool_{name}_mean_grad_x"], f"{name} gradient")
        order = modes(arrays, f"pool_{name}_")
        side_by_side = np.concatenate([arrays[f"pool_{name}_{mode}"] for mode in order], axis=1)
        precision.check(apply(of_modes(order), {}, f), side_by_side, f"{name} side by side")
    assert compared


def test_rows_in_which_nothing_counts(arrays, precision):
    for mode in modes(arrays, "pool_allmasked_"):
        expected = arrays[f"pool_allmasked_{mode}"]
        x = precision.array(arrays["x"][: len(expected)])
        got = apply(of_modes([mode]), {}, Features(x, jnp.zeros(x.shape[:2], bool)))
        if np.isinf(expected).any():
            np.testing.assert_array_equal(got, expected)
        else:
            precision.check(got, expected, mode)


def test_a_prompt_that_does_not_count(arrays, precision):
    for name in [k.removesuffix("_mask_in") for k in arrays if k.startswith("prompt_excluded_") and k.endswith("_mask_in")]:
        seen = jnp.asarray(arrays[f"{name}_mask_in"])
        pooled = seen & (jnp.cumsum(seen, axis=1) > int(arrays["prompt_length"]))
        f = Features(precision.array(arrays["x"]), pooled, seen=seen)
        precision.check(apply(Mean(), {}, f), arrays[f"{name}_mean"], name)


def block_of(arrays, name, precision, queries, memory):
    """(block, its parameters) of the weights `name`, whose norms are called `queries` and `memory`."""
    w = {k.removeprefix(f"{name}_"): precision.array(x) for k, x in arrays.items() if k.startswith(f"{name}_")}
    # The width and number of heads are those of the latent attention, of which the other file names have none of their own.
    h = int(arrays[f"{name}_heads"] if f"{name}_heads" in arrays else arrays[f"{name}_bidirectional_probs"].shape[1])
    d, inner = w["Wq"].shape
    e = inner // h
    k, v = jnp.split(w["Wkv"], 2, axis=1)
    up, gate = (jnp.split(w[x], 2, axis=-1) for x in ("W1", "b1"))
    params = {
        "q": {"kernel": w["Wq"].reshape(d, h, e)},
        "k": {"kernel": k.reshape(d, h, e)},
        "v": {"kernel": v.reshape(d, h, e)},
        "out": {"kernel": w["Wo"].reshape(h, e, d)},
        "mlp": {
            "up": {"kernel": up[0], "bias": gate[0]},
            "gate": {"kernel": up[1], "bias": gate[1]},
            "down": {"kernel": w["W2"], "bias": w["b2"]},
        },
    }
    for ours, theirs in (("norm_queries", queries), ("norm_memory", memory), ("norm", "ln_f")):
        params[ours] = {"scale": w[f"{theirs}_w"], "bias": w[f"{theirs}_b"]}
    return CrossBlock(h, e), {"params": {"latents": w["latents"], "block": params}}


def test_latent_attention(arrays, precision):
    block, params = block_of(arrays, "latent", precision, "ln_x", "ln_c")
    assert block.head_width == int(arrays["latent_dim_head"])
    pool = LatentAttention(latents=len(arrays["latent_latents"]), block=block)
    x, mask = precision.array(arrays["x"]), jnp.asarray(arrays["mask_right"])
    z, seen = apply(pool, params, Features(x, mask), mutable=["intermediates"])
    inside = seen["intermediates"]["block"]
    precision.check(jnp.swapaxes(inside["weights"][0], 1, 2), arrays["latent_probs"], "probabilities")
    precision.check(inside["attended"][0], arrays["latent_after_attn"], "after attention")
    precision.check(z, arrays["latent_mean"], "mean")
    precision.check(unit(z), arrays["latent_out_l2"], "of length one")
    # Every token alone is what it is after the feed-forward part.
    rows = Features(x.reshape(-1, 1, x.shape[-1]), jnp.ones((x.shape[0] * x.shape[1], 1), bool))
    precision.check(apply(pool, params, rows).reshape(x.shape), arrays["latent_after_ff"], "after feed-forward")

    def total(latents, x):
        given = {"params": {**params["params"], "latents": latents}}
        return (apply(pool, given, Features(x, mask)) * precision.array(arrays["latent_cotangent"])).sum()

    of_latents, of_x = jax.grad(total, argnums=(0, 1))(params["params"]["latents"], x)
    precision.check(of_latents, arrays["latent_grad_latents"], "gradient of the latents")
    precision.check(of_x, arrays["latent_grad_x"], "gradient of the tokens")


def test_latent_attention_as_in_the_paper(arrays, precision):
    r, d = arrays["latent_latents"].shape
    pool = LatentAttentionPaper(latents=r, heads=1)
    f = Features(precision.array(arrays["x"]), jnp.asarray(arrays["mask_right"]))
    params = apply(pool, {}, f, mutable=["params"], rngs={"params": jax.random.key(0)})[1]["params"]
    params = {**precision.tree(params), "latents": precision.array(arrays["latent_latents"])}
    seen = apply(pool, {"params": params}, f, mutable=["intermediates"])[1]["intermediates"]
    precision.check(seen["attended"][0], arrays["latent_paper_formula_O"], "equation")


def test_trainable_poolings(arrays, precision):
    block, params = block_of(arrays, "ml", precision, "ln_c", "ln_x")
    r, hidden = len(arrays["ml_latents"]), precision.array(arrays["ml_hidden"])
    f = Features(hidden[-1], jnp.asarray(arrays["mask_right"]), tuple(hidden[:-1]))
    for masked, name in ((True, "masked"), (False, "nomask")):
        pool = TrainablePooling(r, block, masked=masked)
        precision.check(apply(pool, params, f), arrays[f"last_layer_trainable_{name}_out"], name)
    named = {"params": {**params["params"], "layers": precision.array(arrays["ml_layer_emb"])}}
    for reads, name in (("mean", "bidirectional"), ("last", "causal")):
        pool = MultiLayer(r, block, reads=reads)
        assert len(pool.wants(len(hidden))) == len(f.layers)
        z, seen = apply(pool, named, f, mutable=["intermediates"])
        inside = seen["intermediates"]
        precision.check(inside["summary"][0], arrays[f"ml_summary_{name}"], f"summary {name}")
        precision.check(jnp.swapaxes(inside["block"]["weights"][0], 1, 2), arrays[f"ml_{name}_probs"], f"probabilities {name}")
        precision.check(z, arrays[f"ml_{name}_out"], name)
