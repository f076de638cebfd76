"""I-JEPA's forward pass, targets, loss and gradients against the reference implementation (core_ijepa_model.npz)."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches, patch_positions
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.sincos import SinCos, sincos
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))

FILE = "core_ijepa_model.npz"


def blocks(arrays, prefix, heads):
    """The layers of a torch ViT as ours: kernels transposed, names mapped, queries, keys and values cut into heads."""
    depth = len({m[1] for key in arrays if (m := re.match(rf"{prefix}blocks_(\d+)_", key))})
    out = {}
    for i in range(depth):
        at = f"{prefix}blocks_{i}"
        weight, bias = arrays[f"{at}_attn_qkv_weight"], arrays[f"{at}_attn_qkv_bias"]
        width = weight.shape[1]
        kernels, biases = weight.reshape(3, heads, -1, width), bias.reshape(3, heads, -1)
        attention = {n: {"kernel": k.transpose(2, 0, 1), "bias": b} for n, k, b in zip("qkv", kernels, biases, strict=True)}
        out_kernel = arrays[f"{at}_attn_proj_weight"].T.reshape(heads, -1, width)
        attention["out"] = {"kernel": out_kernel, "bias": arrays[f"{at}_attn_proj_bias"]}
        mlp = {"up": linear(arrays, f"{at}_mlp_fc1"), "down": linear(arrays, f"{at}_mlp_fc2")}
        norms = {n: linear(arrays, f"{at}_{n}") for n in ("norm1", "norm2")}
        out[f"block_{i}"] = {"attention": attention, "mlp": mlp, **norms}
    return out


def leaf(value, kind):
    if kind == "bias":
        return {"bias": value}
    return {"scale": value} if value.ndim == 1 else {"kernel": value.T}


def linear(arrays, name):
    return leaf(arrays[f"{name}_weight"], "weight") | leaf(arrays[f"{name}_bias"], "bias")


def encoder_params(arrays, prefix, heads):
    kernel = arrays[f"{prefix}patch_embed_proj_weight"]  # d c h w -> (h w c) d
    stem = {"proj": {"kernel": kernel_from_torch(kernel), "bias": arrays[f"{prefix}patch_embed_proj_bias"]}}
    return {"stem": stem, "norm": linear(arrays, f"{prefix}norm"), **blocks(arrays, prefix, heads)}


def kernel_from_torch(kernel):
    return kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])


def predictor_params(arrays, prefix, heads):
    return {
        "embed": linear(arrays, f"{prefix}predictor_embed"),
        "mask_token": arrays[f"{prefix}mask_token"],
        "out": linear(arrays, f"{prefix}predictor_proj"),
        "norm": linear(arrays, f"{prefix}predictor_norm"),
        **blocks(arrays, f"{prefix}predictor_", heads),
    }


def build(cfg, precision):
    size, patch, width, heads, depth, predictor_width, predictor_depth = (int(x) for x in cfg)

    def pos():  # the reference ran on tables rounded to float32: at 1e-7, take those that its file gives
        return SinCos(axes=2) if precision.name == "float32" else Learned(shape=(size // patch,) * 2)

    encoder = Transformer(
        stem=Patches(patch), width=width, depth=depth, blocks=(Block(Attention(heads)),), pos=pos(), **precision.dtypes
    )
    predictor = Predictor(width=predictor_width, depth=predictor_depth, blocks=(Block(Attention(heads)),), pos=pos())
    return IJEPA(encoder=encoder, predictor=predictor)


def model_params(arrays, precision, prefix="", encoder="enc_"):
    """Student or teacher of a file, with the fixed position tables where the model takes them as parameters."""
    heads = int(arrays["cfg"][3])
    params = {
        "encoder": encoder_params(arrays, f"{prefix}{encoder}", heads),
        "predictor": predictor_params(arrays, f"{prefix}pred_", heads),
    }
    if precision.name == "float64":
        params["encoder"]["pos"] = {"table": arrays["enc_pos_embed"][0]}
        params["predictor"]["pos"] = {"table": arrays["pred_predictor_pos_embed"][0]}
    return precision.tree(params)


def images(x):
    return x.transpose(0, 2, 3, 1)  # NCHW -> NHWC


def places(ids):
    """(blocks, B, K) -> (B, blocks, K)"""
    return ids.transpose(1, 0, 2)


def reference_order(x):
    """Ours (b m t n d) in the reference's batch order: target block slowest, then context, image fastest."""
    return np.asarray(x).transpose(2, 1, 0, 3, 4).reshape(-1, *x.shape[3:])


@pytest.fixture
def case(load, precision):
    arrays = load(FILE)
    model = build(arrays["cfg"], precision)
    return arrays, model, model_params(arrays, precision), model_params(arrays, precision, encoder="tgt_")


def test_encoder_output_on_all_patches(case, precision):
    arrays, model, student, _ = case
    batch = {"images": precision.array(images(arrays["imgs"]))}
    f = jax.jit(partial(model.apply, method="features"))({"params": student}, batch)
    precision.check(f.tokens, arrays["enc_out_full"], "enc_out_full")


def test_position_tables_of_encoder_and_predictor(case, precision):
    arrays, _, _, _ = case
    for name in ("enc_pos_embed", "pred_predictor_pos_embed"):
        table = arrays[name][0]
        side = round(len(table) ** 0.5)
        ours = sincos(patch_positions(jnp.arange(len(table)), side), table.shape[1])
        np.testing.assert_allclose(ours, table, rtol=1e-4, atol=1e-5)  # the file holds float32


@partial(jax.jit, static_argnums=0)
def everything(model, student, teacher, batch, context):
    """(encoded contexts, predictions, targets, loss, its gradient)"""

    def loss(params):
        return model.apply({"params": params}, batch, y, NOW, method="loss").value

    def encode(m, keep):
        return m.encoder(batch["images"], keep=keep).tokens

    every = [model.apply({"params": student}, keep, method=encode) for keep in context]
    p = model.apply({"params": student}, batch, method="predict")
    y = model.apply({"params": teacher}, batch, NOW, method="targets")
    return every, p, y, *jax.value_and_grad(loss)(student)


def test_context_predictions_targets_loss_and_gradients(case, precision):
    arrays, model, student, teacher = case
    cases = sorted({m[1] for k in arrays if (m := re.fullmatch(r"(n\d+)_loss", k))})
    assert cases, f"{FILE} holds no case"
    for n in cases:
        context, target = arrays[f"{n}_ctx_idx"], arrays[f"{n}_tgt_idx"]
        batch = {
            "images": precision.array(images(arrays["imgs"])),
            "context": jnp.asarray(places(context)),
            "targets": jnp.asarray(places(target)),
        }
        every, p, y, value, g = everything(model, student, teacher, batch, jnp.asarray(context))
        precision.check(np.concatenate(every), arrays[f"{n}_ctx_out"], f"{n}_ctx_out")
        precision.check(reference_order(p), arrays[f"{n}_pred_out"], f"{n}_pred_out")
        wanted = np.stack([np.take_along_axis(np.asarray(y), ids[:, :, None], 1) for ids in target])  # t b n d
        wanted = np.repeat(wanted[:, None], len(context), axis=1).reshape(arrays[f"{n}_target"].shape)
        precision.check(wanted, arrays[f"{n}_target"], f"{n}_target")
        precision.check(value, arrays[f"{n}_loss"], f"{n}_loss")
        precision.check(g["predictor"]["mask_token"], arrays[f"{n}_g_mask_token"], f"{n}_g_mask_token")
        precision.check(g["predictor"]["embed"]["kernel"].T, arrays[f"{n}_g_pred_in"], f"{n}_g_pred_in")
        patch = kernel_from_torch(arrays[f"{n}_g_patch"])
        precision.check(g["encoder"]["stem"]["proj"]["kernel"], patch, f"{n}_g_patch")
