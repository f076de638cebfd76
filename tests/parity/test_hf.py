"""Folders that transformers wrote: the output of every layer, for whatever architectures, sizes and options are there."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply
from safetensors.numpy import load_file

from jaxemb.nn.hf.base import Part, Port, Take, Towers, families, port
from jaxemb.nn.stem import own_grids
from jaxemb.objectives.mae import MAE
from jaxemb.ops.allow import Allow
from jaxemb.ops.paths import by_path
from jaxemb.ops.similarity import unit
from jaxemb.posemb.relative import RelativeBuckets
from jaxemb.train.pretrained import FromPretrained
from jaxemb.types import Now

ROOT = pathlib.Path(os.environ.get("JAXEMB_GOLDEN", pathlib.Path(__file__).parents[3] / "shared" / "golden")) / "hf"
FOLDERS = sorted(f.parent for f in ROOT.glob("*/outputs.npz")) if ROOT.is_dir() else []
CONFIGS = [f for folder in FOLDERS for f in sorted(folder.glob("config*.json"))]
# One that stands for the folder in tests where the architecture makes no difference.
kinds = {f: json.loads(f.read_text()).get("model_type") for f in CONFIGS}


def test_there_are_models_to_compare_with():
    if not FOLDERS:
        pytest.skip(f"no models: {ROOT} is not a folder (name its parent in the environment variable JAXEMB_GOLDEN)")
    assert set(kinds.values()) <= set(families())


def text_cases():
    for file in CONFIGS:
        with np.load(file.parent / "outputs.npz") as z:
            if any(name.startswith("batch0__input_ids") for name in z.files) and not any("__text__" in name for name in z.files):
                yield file


@pytest.mark.parametrize("file", list(text_cases()), ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_text_encoders(file):
    values = json.loads(file.read_text())
    outputs = dict(np.load(file.parent / "outputs.npz"))
    tolerances = json.loads((file.parent / "tolerances.json").read_text())
    modes = {name.split("__")[1] for name in outputs if name.count("__") == 2 and name.endswith("last_hidden_state")} or {""}
    for mode in sorted(modes):
        causal = {"": None, "native": None, "causal": True, "bidirectional": False}[mode]
        found = port(values, causal=causal, where=str(file))
        assert isinstance(found, Port)
        variables = {"params": read(found.encoder, file.parent, found.prefixes)}
        for batch in sorted({name.split("__")[0] for name in outputs if name.startswith("batch")}):
            at = f"{batch}__{mode}__" if mode else f"{batch}__"
            ids, mask = outputs[f"{batch}__input_ids"], outputs[f"{batch}__attention_mask"].astype(bool)
            types = outputs.get(f"{batch}__token_type_ids")
            how = {} if types is None else {"types": jnp.asarray(types)}
            every = tuple(range(found.encoder.module.depth))
            f, left = apply(
                found.encoder.module,
                variables,
                jnp.asarray(ids),
                allow=Allow(jnp.asarray(mask)),
                layers=every,
                **how,
                mutable=["intermediates"],
            )
            states = [left["intermediates"]["first"][0], *f.layers[:-1], f.tokens]
            expected = outputs[f"{at}hidden_states"]
            assert len(states) == len(expected)
            close([np.asarray(x)[mask] for x in states], expected[:, mask], tolerances[f"{at}hidden_states"], f"{at}hidden_states")
            close(np.asarray(f.tokens)[mask], outputs[f"{at}last_hidden_state"][mask], tolerances[f"{at}last_hidden_state"], "last")
            if f"{at}pooler_output" in outputs:
                assert found.pooler is not None
                pooler = {"params": read(found.pooler, file.parent, found.prefixes)}
                close(
                    apply(found.pooler.module, pooler, f), outputs[f"{at}pooler_output"], tolerances[f"{at}pooler_output"], "pooler"
                )


def bucket_cases():
    for file in CONFIGS:
        with np.load(file.parent / "outputs.npz") as z:
            if "relative_buckets" in z.files:
                yield file


@pytest.mark.parametrize("file", list(bucket_cases()), ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_buckets_of_distance(file):
    offset, bucket = np.load(file.parent / "outputs.npz")["relative_buckets"]
    encoder = port(json.loads(file.read_text()), where=str(file)).encoder.module
    (found,) = (p for p in (encoder.pos, encoder.blocks[0].attention.pos) if isinstance(p, RelativeBuckets))
    np.testing.assert_array_equal(found.bucket(jnp.asarray(offset)), bucket)


def vision_cases():
    for file in CONFIGS:
        with np.load(file.parent / "outputs.npz") as z:
            if "batch0__pixel_values" in z.files and not any("__text__" in name for name in z.files):
                yield file


@pytest.mark.parametrize("file", list(vision_cases()), ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_vision_encoders(file):
    outputs, tolerances = dict(np.load(file.parent / "outputs.npz")), json.loads((file.parent / "tolerances.json").read_text())
    found = port(json.loads(file.read_text()), where=str(file))
    assert isinstance(found, Port)
    encoder, variables = found.encoder.module, {"params": read(found.encoder, file.parent, found.prefixes)}
    for batch in sorted({name.split("__")[0] for name in outputs}):
        images = jnp.asarray(outputs[f"{batch}__pixel_values"].transpose(0, 2, 3, 1))
        how = {}
        if f"{batch}__bool_masked_pos" in outputs:
            how["types"] = jnp.asarray(outputs[f"{batch}__bool_masked_pos"].astype(np.int32))
        if f"{batch}__noise" in outputs:
            order = np.argsort(outputs[f"{batch}__noise"], axis=1)
            how["keep"] = jnp.asarray(order[:, : int((outputs[f"{batch}__mask"][0] == 0).sum())])
        every = tuple(range(encoder.depth))
        f, left = apply(encoder, variables, images, layers=every, **how, mutable=["intermediates"])
        if f"{batch}__hidden_states" in outputs:
            states = [left["intermediates"]["first"][0], *left["intermediates"]["states"][0]]
            expected = outputs[f"{batch}__hidden_states"]
            assert len(states) == len(expected)
            close(np.stack(states), expected, tolerances[f"{batch}__hidden_states"], f"{batch}__hidden_states")
        last = f.tokens if f.prefix is None else np.concatenate([f.prefix, f.tokens], axis=1)
        close(last, outputs[f"{batch}__last_hidden_state"], tolerances[f"{batch}__last_hidden_state"], f"{batch}__last")
        if f"{batch}__pooler_output" in outputs:
            assert found.pooler is not None
            pooler = {"params": read(found.pooler, file.parent, found.prefixes)}
            z = apply(found.pooler.module, pooler, f)
            close(z, outputs[f"{batch}__pooler_output"], tolerances[f"{batch}__pooler_output"], f"{batch}__pooler_output")
        if f"{batch}__decoder_logits" in outputs:
            assert found.decoder is not None
            decodes(found, variables["params"], file.parent, images, order, outputs, tolerances, batch)


def decodes(found, encoder, folder, images, order, outputs, tolerances, batch):
    """The objective that goes on from a masked autoencoder: what it says of the hidden patches, and its loss."""
    config = json.loads((folder / "config.json").read_text())
    model = MAE(encoder=found.encoder.module, decoder=found.decoder.module, norm_pixels=config.get("norm_pix_loss", False))
    variables = {"params": {"encoder": encoder, "decoder": read(found.decoder, folder, found.prefixes)}}
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    arrays = {f"params/{path}": x for path, x in by_path(variables["params"]).items()}
    shapes = {path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place) for path, x in arrays.items()}
    started = FromPretrained(str(folder))(shapes, lambda text: None)
    assert started.keys() == arrays.keys() and all(np.array_equal(started[path], arrays[path]) for path in arrays)
    kept = int((outputs[f"{batch}__mask"][0] == 0).sum())
    sampled = {"images": images, "context": jnp.asarray(order[:, None, :kept]), "targets": jnp.asarray(order[:, None, kept:])}
    logits = outputs[f"{batch}__decoder_logits"]
    expected = np.take_along_axis(logits, order[:, kept:, None], axis=1)
    close(apply(model, variables, sampled, method="predict"), expected, tolerances[f"{batch}__decoder_logits"], "decoder_logits")
    now = Now(jnp.asarray(0), 1, jax.random.key(0))
    close(
        apply(model, variables, sampled, None, now, method="loss").value,
        outputs[f"{batch}__loss"],
        tolerances[f"{batch}__loss"],
        "loss",
    )


UNIT = jax.jit(unit)


def tower_cases():
    for file in CONFIGS:
        with np.load(file.parent / "outputs.npz") as z:
            if any("__text__" in name for name in z.files):
                yield file


def tower_batches(outputs, batch):
    """What the text tower and the image tower get, and which of their tokens are compared."""
    ids, pixels = outputs[f"{batch}__input_ids"], outputs[f"{batch}__pixel_values"]
    text = {"tokens": jnp.asarray(ids)}
    if f"{batch}__attention_mask" in outputs:
        text["mask"] = jnp.asarray(outputs[f"{batch}__attention_mask"].astype(bool))
    if f"{batch}__spatial_shapes" not in outputs:
        return text, {"images": jnp.asarray(pixels.transpose(0, 2, 3, 1))}
    mask = jnp.asarray(outputs[f"{batch}__pixel_attention_mask"].astype(bool))
    return text, {"images": jnp.asarray(pixels), "mask": mask, "shapes": jnp.asarray(outputs[f"{batch}__spatial_shapes"])}


@pytest.mark.parametrize("file", list(tower_cases()), ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_two_towers(file):
    outputs, tolerances = dict(np.load(file.parent / "outputs.npz")), json.loads((file.parent / "tolerances.json").read_text())
    found = port(json.loads(file.read_text()), where=str(file))
    assert isinstance(found, Towers)
    whole = found.joined()
    variables = {"params": read(whole, file.parent, ("",))}
    for batch in sorted({name.split("__")[0] for name in outputs}):
        vectors = {}
        for key, tower, given in zip(("text", "vision"), (found.text, found.image), tower_batches(outputs, batch), strict=True):
            at, params = f"{batch}__{key}__", variables["params"]["text" if key == "text" else "image"]
            module, how = tower.encoder.module, {"allow": Allow(given.get("mask"))}
            inputs = given["tokens"] if key == "text" else given["images"]
            if "shapes" in given:
                how["pos"] = own_grids(given["shapes"], inputs.shape[1])
            layers = tuple(range(module.depth))
            f, left = apply(module, {"params": params["encoder"]}, inputs, layers=layers, **how, mutable=["intermediates"])
            states = [left["intermediates"]["first"][0], *left["intermediates"]["states"][0]]
            last = np.asarray(f.tokens if f.prefix is None else np.concatenate([f.prefix, f.tokens], axis=1))
            seen = np.asarray(given.get("mask", np.ones(last.shape[:2], bool)))
            for name, got in (("hidden_states", np.stack(states)), ("last_hidden_state", last)):
                close(got[..., seen, :], outputs[at + name][..., seen, :], tolerances[at + name], at + name)
            pooler = {"params": read(tower.pooler, file.parent, ("",))}
            close(apply(tower.pooler.module, pooler, f), outputs[f"{at}pooler_output"], tolerances[f"{at}pooler_output"], at)
            vectors[key] = apply(whole.module, variables, given, method="encode")
            close(vectors[key], outputs[f"{at}features"], tolerances[f"{at}features"], f"{at}features")
            close(UNIT(vectors[key]), outputs[f"{at}embeds"], tolerances[f"{at}embeds"], f"{at}embeds")
        logits = np.asarray(apply(whole.module, variables, vectors["vision"], vectors["text"], method="logits"))
        close(logits, outputs[f"{batch}__logits_per_image"], tolerances[f"{batch}__logits_per_image"], "logits_per_image")
        close(logits.T, outputs[f"{batch}__logits_per_text"], tolerances[f"{batch}__logits_per_text"], "logits_per_text")
        for name in ("logit_scale", "logit_bias"):
            if f"{batch}__{name}" in outputs:
                np.testing.assert_array_equal(variables["params"][name], outputs[f"{batch}__{name}"].reshape(()))


def close(got, expected, tolerance, what):
    np.testing.assert_allclose(np.asarray(got), expected, rtol=0, atol=tolerance["atol"], err_msg=what)


def read(part: Part, folder: pathlib.Path, prefixes) -> dict:
    tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
    tensors = {
        n.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): x for n, x in tensors.items()
    }

    def one(take: Take):
        return take.of(next(tensors[p + take.name] for p in prefixes if p + take.name in tensors))

    tree: dict = {}
    for path, source in part.names.items():
        takes = (source,) if isinstance(source, Take) else source
        *parents, last = path.split("/")
        node = tree
        for p in parents:
            node = node.setdefault(p, {})
        node[last] = jnp.asarray(sum(one(t) for t in takes))
    return tree
