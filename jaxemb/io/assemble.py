"""From a pretrained folder to what an `Embedder` is made of: a model, its variables, its preprocessing, its prompts."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from jaxemb.config import ConfigError
from jaxemb.files import printable
from jaxemb.io.pretrained import CONFIG, load, parameter_shapes, read_config
from jaxemb.io.sentence_transformers import Chain, DenseLayer, Settings, is_chain, read_chain, read_settings
from jaxemb.io.tensors import TensorFiles
from jaxemb.layers.heads import DenseHead, Unit
from jaxemb.nn.extend import extended, extended_variables
from jaxemb.nn.hf.base import Part, Port, Towers, dense, port
from jaxemb.nn.pooled import Pooled
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.concat import of_modes
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.preprocess.base import Preprocess
from jaxemb.preprocess.hf_folder import read_text_preprocess
from jaxemb.train.setup import zeros_of

log = logging.getLogger("jaxemb")


class Assembled(NamedTuple):
    """What `Embedder` takes."""

    model: Pooled
    variables: dict[str, Any]
    preprocess: Preprocess
    settings: Settings


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a user wants otherwise than the folder says."""

    causal: bool | None = None
    extend: Any = None
    pooling: Pooling | str | None = None
    dtype: str = "float32"
    max_length: int | None = None


def assemble(folder: Path, wishes: Wishes, mesh: Mesh) -> Assembled:
    """A sentence-transformers folder where there is a modules.json, else the architecture's own pooling."""
    chain = read_chain(folder) if is_chain(folder) else None
    home = folder if chain is None else chain.transformer
    config = read_config(home)
    whole = port(config, causal=wishes.causal, where=printable(home / CONFIG))
    if isinstance(whole, Towers):
        raise ConfigError(f"{printable(folder)}: models of images and texts are not embedded with yet")
    settings = read_settings(folder)
    pooling, heads = _pooling(whole, chain, wishes.pooling)
    encoder = whole.encoder.module.clone(dtype=wishes.dtype)
    model = Pooled(encoder, pooling.module, tuple(module for _, module, _ in heads))
    preprocess = read_text_preprocess(
        home,
        window=whole.window,
        stated=None if chain is None else chain.max_length,
        max_length=wishes.max_length,
        beyond=wishes.extend is not None,
        vocabulary=encoder.stem.vocabulary,
        pad=config.get("pad_token_id"),
        prompts=dict(settings.prompts),
        include_prompt=chain is None or chain.include_prompt,
        lower=chain is not None and chain.lower,
    )
    example = zeros_of(preprocess.spec, 1)
    shapes = parameter_shapes(model, example, dtype=wishes.dtype, mesh=mesh)
    own = {path: s for path, s in shapes.items() if not path.startswith("heads_")}
    params = load(TensorFiles(home), {"encoder": whole.encoder, "pooling": pooling}, own, whole=whole, say=log.info)
    for i, (place, _, part) in enumerate(heads):
        if place is not None:
            inside = {path: s for path, s in shapes.items() if path.startswith(f"heads_{i}/")}
            params |= load(TensorFiles(place), {f"heads_{i}": part}, inside, say=log.info)
    variables: dict[str, Any] = {"params": params}
    if wishes.extend is not None:
        model = model.clone(encoder=extended(encoder, wishes.extend))
        variables = extended_variables(wishes.extend, variables)
    return Assembled(model, variables, preprocess, settings)


Head = tuple[Path | None, Any, Part]
"""Where its weights are, the module, their names."""


def _pooling(whole: Port, chain: Chain | None, wished: Pooling | str | None) -> tuple[Part, list[Head]]:
    """How tokens become a vector, and what comes after."""
    heads = [] if chain is None else [_head(layer) for layer in chain.heads]
    if isinstance(wished, Pooling):
        return Part(wished, {}), heads
    if wished == "pooler":
        if whole.pooler is None:
            raise ConfigError("pooling='pooler': this architecture has no trained pooler")
        return whole.pooler, heads
    if wished is not None:
        return Part(of_modes([wished]), {}), heads
    if chain is None:
        return whole.pooling, heads
    if chain.pooling is not None:
        if chain.tokenwise:
            raise ConfigError("modules.json: layers between the Transformer and its Pooling are not supported")
        return Part(of_modes(chain.pooling), {}), heads
    return _late(chain), heads


def _late(chain: Chain) -> Part:
    """A vector a token: at most one Dense without bias and activation, then Normalize."""
    projections = [layer for layer in chain.tokenwise if layer is not None]
    plain = all(not layer.bias and layer.activation is None for layer in projections)
    if projections and (not plain or len(projections) > 1 or chain.tokenwise[0] is None):
        raise ConfigError("modules.json: without a Pooling, one Dense without bias and activation is supported, then Normalize")
    raise ConfigError("modules.json: a chain without a Pooling gives a vector a token; give pooling=LateInteraction(...)")


def _head(layer: DenseLayer | None) -> Head:
    if layer is None:
        return None, Unit(), Part(None, {})
    return (
        layer.folder,
        DenseHead(layer.outputs, layer.bias, layer.activation),
        Part(None, dense("dense", "linear", bias=layer.bias)),
    )
