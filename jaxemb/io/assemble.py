"""From a pretrained folder to what an `Embedder` is made of: a model, its variables, its preprocessing, its prompts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxemb.config import ConfigError
from jaxemb.files import printable
from jaxemb.hub import resolve
from jaxemb.io.finishing import whole_number
from jaxemb.io.origin import Origin
from jaxemb.io.own import KIND, read_own
from jaxemb.io.pretrained import CONFIG, Where, load, parameter_shapes, read_config
from jaxemb.io.sentence_transformers import Chain, DenseLayer, Settings, is_chain, read_chain, read_settings
from jaxemb.io.tensors import TensorFiles
from jaxemb.io.windows import Windowed
from jaxemb.layers.heads import DenseHead, Unit
from jaxemb.nn.extend import extended, extended_variables
from jaxemb.nn.hf.base import Part, Port, Towers, dense, port
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.towers import TwoTowers
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.concat import of_modes
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.preprocess.base import Preprocess
from jaxemb.preprocess.hf_folder import read_text_preprocess
from jaxemb.preprocess.hf_images import read_image_preprocess
from jaxemb.preprocess.texts_and_images import TextsAndImages
from jaxemb.preprocess.windows import ParallelWindows
from jaxemb.train.rules import Rules

FULL = ("siglip",)
"""Architectures that were trained on texts padded to one length, padding looked at."""
VARIABLE = ("siglip2", "siglip2_vision_model")
"""Architectures whose images keep their proportions."""
LONGEST = 2**20
"""Tokens of a text where the model takes any number."""

log = logging.getLogger("jaxemb")


class Assembled(NamedTuple):
    """What `Embedder` takes."""

    model: Pooled | TwoTowers
    variables: dict[str, Any]
    preprocess: Preprocess
    settings: Settings
    windows: Windowed | None = None
    """How long texts are taken apart; None: they are cut off."""
    origin: Origin | None = None
    """What writes it back as Hugging Face has it."""


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a user wants otherwise than the folder says."""

    causal: bool | None = None
    extend: Any = None
    pooling: Pooling | str | None = None
    dtype: str = "float32"
    max_length: int | None = None
    ignore: Sequence[str] | None = None
    """Tensors of the file that may be there for other purposes."""
    sharding: Rules = "replicate"
    """How parameters are cut over the devices, see `train/rules.py`."""


def assemble(folder: Path, wishes: Wishes, mesh: Mesh, name: str = "") -> Assembled:
    """A sentence-transformers folder where there is a modules.json, else the architecture's own pooling; or a folder of our own."""
    if wishes.max_length is not None:
        whole_number("max_length", wishes.max_length)
    if wishes.dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise ConfigError("dtype='float64': JAX has no float64 unless it is told so, jax.config.update('jax_enable_x64', True)")
    chain = read_chain(folder) if is_chain(folder) else None
    home = folder if chain is None else chain.transformer
    config = read_config(home)
    if config.get("model_type") == KIND:
        return _own(folder, config, wishes, mesh)
    whole = port(config, causal=wishes.causal, where=printable(home / CONFIG))
    settings = read_settings(folder)
    refuse_modules(folder, whole, chain)
    if isinstance(whole, Towers):
        return _towers(home, config, whole, wishes, settings, mesh)
    if not hasattr(whole.encoder.module.stem, "vocabulary"):
        return _images(home, config, whole, wishes, settings, mesh)
    placed = placed_modules(whole, chain, wishes.pooling)
    encoder = whole.encoder.module.clone(dtype=wishes.dtype)
    model = pooled(placed).clone(encoder=encoder)
    windows, longest = _beyond(wishes, whole, model)
    preprocess = read_text_preprocess(
        home,
        window=whole.window,
        stated=None if chain is None else chain.max_length,
        max_length=longest,
        beyond=wishes.extend is not None and windows is None,
        vocabulary=encoder.stem.vocabulary,
        pad=config.get("pad_token_id"),
        prompts=dict(settings.prompts),
        include_prompt=chain is None or chain.include_prompt,
        lower=chain is not None and chain.lower,
    )
    shapes = parameter_shapes(model, example(preprocess), dtype=wishes.dtype, mesh=mesh, sharding=wishes.sharding)
    params: dict[str, Any] = {}
    weights = TensorFiles(home)
    origin = Origin.of(name or str(folder), home, config, weights, whole)
    for place in by_folder(placed, shapes):
        files, here = (weights, whole) if place.folder is None else (TensorFiles(place.folder), None)
        params |= load(files, place.parts, place.shapes, whole=here, ignore=wishes.ignore or (), say=log.info)
    variables: dict[str, Any] = {"params": params}
    if windows is not None:
        last = bool(model.heads) and isinstance(model.heads[-1], Unit)
        model = model.clone(heads=model.heads[:-1] if last else model.heads)
        return Assembled(model, variables, preprocess, settings, windows, origin)
    if wishes.extend is not None:
        model = model.clone(encoder=extended(encoder, wishes.extend))
        variables = extended_variables(wishes.extend, variables)
    return Assembled(model, variables, preprocess, settings, origin=origin)


def _own(folder: Path, config: Mapping[str, Any], wishes: Wishes, mesh: Mesh) -> Assembled:
    """What was exported in our own form: as it was there, in any dtype."""
    here = ("dtype", "sharding")
    given = [f.name for f in dataclasses.fields(wishes) if f.name not in here and getattr(wishes, f.name) is not None]
    if given:
        raise ConfigError(f"{given[0]}: {printable(folder)} holds a model of our own form, which is opened as it was saved")
    return Assembled(*read_own(folder, config, mesh, wishes.dtype, wishes.sharding))


def _images(home: Path, config: Mapping[str, Any], whole: Port, wishes: Wishes, settings: Settings, mesh: Mesh) -> Assembled:
    """A model of images alone."""
    if wishes.extend is not None or wishes.max_length is not None:
        raise ConfigError(f"{printable(home)} is a model of images: extend and max_length are for texts")
    _refuse_variable(home, config)
    pooling = _pooling(whole, None, wishes.pooling).part
    model = Pooled(whole.encoder.module.clone(dtype=wishes.dtype), pooling.module)
    preprocess = read_image_preprocess(home, kind=config["model_type"], size=_image_size(home, config))
    shapes = parameter_shapes(model, example(preprocess), dtype=wishes.dtype, mesh=mesh, sharding=wishes.sharding)
    params = load(
        TensorFiles(home),
        {"encoder": whole.encoder, "pooling": pooling},
        shapes,
        whole=whole,
        ignore=wishes.ignore or (),
        say=log.info,
    )
    return Assembled(model, {"params": params}, preprocess, settings)


def _towers(home: Path, config: Mapping[str, Any], whole: Towers, wishes: Wishes, settings: Settings, mesh: Mesh) -> Assembled:
    """A model of texts and images."""
    if wishes.extend is not None or wishes.pooling is not None:
        raise ConfigError(f"{printable(home)} has two towers, whose extend and pooling cannot be changed")
    _refuse_variable(home, config)
    model = two_towers(whole, wishes.dtype)
    text = read_text_preprocess(
        home,
        window=whole.text.window,
        max_length=wishes.max_length,
        vocabulary=whole.text.encoder.module.stem.vocabulary,
        pad=config["text_config"].get("pad_token_id") if isinstance(config.get("text_config"), Mapping) else None,
        prompts=dict(settings.prompts),
        full=config["model_type"] in FULL,
    )
    images = read_image_preprocess(home, kind=config["model_type"], size=_image_size(home, config["vision_config"]))
    preprocess = TextsAndImages(text=text, images=images)
    shapes = parameter_shapes(model, example(preprocess), dtype=wishes.dtype, mesh=mesh, sharding=wishes.sharding)
    params = load(TensorFiles(home), tower_parts(whole), shapes, whole=whole, ignore=wishes.ignore or (), say=log.info)
    return Assembled(model, {"params": params}, preprocess, settings)


def _refuse_variable(home: Path, config: Mapping[str, Any]) -> None:
    if config["model_type"] in VARIABLE:
        raise ConfigError(
            f"{printable(home)}: model_type={config['model_type']!r} cuts each image into patches of its own grid, which is not "
            "prepared here; fine-tune or apply its towers from nn/hf with patches that were cut before"
        )


def example(preprocess: Preprocess) -> dict[str, Any]:
    """A batch of shapes alone, of short texts."""

    def shapes(spec: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, x in spec.items():
            short = (min(x.shape[0], 8),) if name in ("tokens", "mask") else None
            found[name] = shapes(x) if isinstance(x, Mapping) else jax.ShapeDtypeStruct((1, *(short or x.shape)), x.dtype)
        return found

    return shapes(preprocess.spec)


def _image_size(home: Path, config: Mapping[str, Any]) -> int:
    """Pixels of a side that the model was trained on."""
    size = config.get("image_size", 224)
    sides = set(size) if isinstance(size, list | tuple) else {size}
    if len(sides) != 1 or not isinstance(side := sides.pop(), int):
        raise ConfigError(f"{printable(home / CONFIG)}: image_size={size} is not supported; only squares")
    return side


def _beyond(wishes: Wishes, whole: Port, model: Pooled) -> tuple[Windowed | None, int | None]:
    """(how texts are taken apart, how long those may be that the model is shown; None: as the folder says)."""
    extend, asked = wishes.extend, wishes.max_length
    if isinstance(extend, ParallelWindows):
        if isinstance(model.pooling, LateInteraction):
            raise ConfigError("ParallelWindows makes one vector of a window's, and this model gives a vector a token")
        # The mean is of vectors as they are before the chain makes their length 1.
        normalize = bool(model.heads) and isinstance(model.heads[-1], Unit)
        return Windowed(extend, normalize), extend.original if asked is None else asked
    if extend is None:
        return None, asked
    extended(whole.encoder.module, extend, whole.window)  # refused before anything is read
    reach = extend.reach(whole.window)
    if asked is not None and reach is not None and asked > reach:
        raise ConfigError(f"max_length={asked}: with extend={type(extend).__name__} this model takes 1 to {reach} tokens")
    return None, (reach or LONGEST) if asked is None else asked


class Placed(NamedTuple):
    """A module of a chain."""

    part: Part
    folder: Path | None = None
    """Where its weights are; None: beside the encoder's, or there are none."""


class Place(NamedTuple):
    """What a folder of a chain has weights for."""

    folder: Path | None
    parts: dict[str, Part]
    shapes: dict[str, Any]


def placed_modules(whole: Port, chain: Chain | None, wished: Pooling | str | None = None) -> dict[str, Placed]:
    """The modules of a chain, by the first names of their parameters."""
    heads = {} if chain is None else heads_of(chain)
    return {"encoder": Placed(whole.encoder), "pooling": _pooling(whole, chain, wished), **heads}


def pooled(placed: Mapping[str, Placed]) -> Pooled:
    """The model that a chain's modules are."""
    encoder, pooling, *heads = (p.part.module for p in placed.values())
    return Pooled(encoder, pooling, tuple(heads))


def model_of(model: Where, *, causal: bool | None = None, revision: str | None = None) -> Pooled:
    """What a folder or a hub id of a model of texts makes of tokens, to train: encoder, pooling and what comes after it, such as
    `Unit` where modules.json has a Normalize. Without weights, which `FromPretrained` brings."""
    folder = resolve(model, revision)
    chain = read_chain(folder) if is_chain(folder) else None
    home = folder if chain is None else chain.transformer
    whole = port(read_config(home), causal=causal, where=printable(home / CONFIG))
    if isinstance(whole, Towers) or not hasattr(whole.encoder.module.stem, "vocabulary"):
        raise ConfigError(f"{printable(folder)} is no model of texts alone; `architecture` gives its towers")
    return pooled(placed_modules(whole, chain))


def heads_of(chain: Chain) -> dict[str, Placed]:
    """What comes after the pooling, by the first names of its parameters."""
    return {f"heads_{i}": _head(layer) for i, layer in enumerate(chain.heads)}


def by_folder(placed: Mapping[str, Placed], shapes: Mapping[str, Any]) -> list[Place]:
    """What each folder of a chain has to hold."""
    found = []
    for folder in dict.fromkeys(p.folder for p in placed.values()):
        parts = {key: p.part for key, p in placed.items() if p.folder == folder}
        found.append(Place(folder, parts, {path: s for path, s in shapes.items() if path.partition("/")[0] in parts}))
    return found


def two_towers(whole: Towers, dtype: str = "float32") -> TwoTowers:
    """The model of a folder with two towers."""
    texts, pictures = (Pooled(t.encoder.module.clone(dtype=dtype), t.pooling.module) for t in (whole.text, whole.image))
    return TwoTowers(texts, pictures, bias=whole.bias is not None)


def tower_parts(whole: Towers) -> dict[str, Part]:
    """What of its file goes where."""
    towers = {"text": whole.text, "image": whole.image}
    parts = {f"{key}/{name}": getattr(t, name) for key, t in towers.items() for name in ("encoder", "pooling")}
    scale = {"logit_scale": whole.scale} | ({} if whole.bias is None else {"logit_bias": whole.bias})
    return {**parts, "": Part(None, scale)}


def refuse_modules(folder: Path, whole: Port | Towers, chain: Chain | None) -> None:
    """Of a model of images there is nothing after the Transformer."""
    images = isinstance(whole, Towers) or not hasattr(whole.encoder.module.stem, "vocabulary")
    if images and chain is not None and chain != Chain(chain.transformer):
        raise ConfigError(
            f"{printable(folder)}: modules after a model of images are not supported; name the folder of the model alone"
        )


def _pooling(whole: Port, chain: Chain | None, wished: Pooling | str | None) -> Placed:
    """How tokens become a vector."""
    if isinstance(wished, Pooling):
        return Placed(Part(wished, {}))
    if wished == "pooler":
        if whole.pooler is None:
            raise ConfigError("pooling='pooler': this architecture has no trained pooler")
        return Placed(whole.pooler)
    if wished is not None:
        return Placed(Part(of_modes([wished]), {}))
    if chain is None:
        return Placed(whole.pooling)
    return _late(chain) if chain.pooling is None else Placed(Part(of_modes(chain.pooling), {}))


def _late(chain: Chain) -> Placed:
    """A vector a token: at most one Dense without bias and activation, then perhaps Normalize."""
    kinds = [None if layer is None else (layer.bias, layer.activation) for layer in chain.tokenwise]
    if kinds not in ([], [None], [(False, None)], [(False, None), None]):
        raise ConfigError("modules.json: without a Pooling, one Dense without bias and activation is supported, then Normalize")
    normalize = None in kinds
    first = next((layer for layer in chain.tokenwise if layer is not None), None)
    if first is None:
        return Placed(Part(LateInteraction(normalize=normalize), {}))
    return Placed(Part(LateInteraction(first.outputs, normalize), dense("proj", "linear", bias=False)), first.folder)


def _head(layer: DenseLayer | None) -> Placed:
    if layer is None:
        return Placed(Part(Unit(), {}))
    return Placed(
        Part(DenseHead(layer.outputs, layer.bias, layer.activation), dense("dense", "linear", bias=layer.bias)), layer.folder
    )
