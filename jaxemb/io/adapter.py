"""Adapters on their own: saved without the model that they belong to, put beside it again, or into its weights."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxemb.config import MANY, ConfigError, from_json, to_json
from jaxemb.files import FileError, is_regular, printable, read_json
from jaxemb.io.embedder import Embedder
from jaxemb.io.tensors import TensorFiles
from jaxemb.nn.block import stack_blocks, unstack_blocks
from jaxemb.nn.lora import A, LoRA, adapters, base, merged
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.paths import by_path, nested
from jaxemb.tensor_file import Tensor, WeightsError, name_of, write_tensors

CONFIG, WEIGHTS = "adapter.json", "adapter.safetensors"
Where = str | os.PathLike[str]


def save_adapter(model: Embedder, folder: Where) -> None:
    """What was trained of a model with adapters: these, its pooling and its heads; of the rest a fingerprint.

    `folder` gets adapter.json and adapter.safetensors. An adapter that changes nothing is refused.
    """
    lora, params = adapter_of(model), apart(model)
    arrays = {f"encoder/{path}": x for path, x in adapters(params["encoder"]).items()}
    arrays |= {path: x for path, x in by_path(params).items() if not path.startswith("encoder/")}
    doc = {
        "lora": to_json(lora),
        "pooling": to_json(model.model.pooling),
        "heads": [to_json(h) for h in model.model.heads] if isinstance(model.model, Pooled) else None,
        "base": fingerprint(base(params["encoder"])),
    }
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    tensors = {path: Tensor(x.shape, name_of(x.dtype), lambda x=x: np.asarray(x)) for path, x in arrays.items()}
    write_tensors(where / WEIGHTS, tensors)
    (where / CONFIG).write_text(json.dumps(doc, indent=1) + "\n", encoding="utf-8")


def load_adapter(model: Embedder, folder: Where) -> Embedder:
    """The model with an adapter beside its weights, and with the pooling and heads that were trained with it.

    An adapter that was trained beside other weights is refused: their arrays that differ are named. `merge_adapter` puts it into
    the weights.
    """
    where = Path(folder)
    encoder, params = _encoder(model), apart(model)
    if encoder.lora is not None:
        raise ConfigError("the model has an adapter already: merge_adapter puts that into its weights")
    doc, files = _read(where)
    _same_base(doc["base"], params["encoder"], where)
    arrays = {path: jnp.asarray(files.read(path)) for path in files}
    own = nested({path: x for path, x in arrays.items() if path.startswith("encoder/")}).get("encoder", {})
    adapters(own)
    lora: LoRA = from_json(doc["lora"])
    together = _joined(params["encoder"], own)
    if encoder.scan:
        together = stack_blocks(together, len(encoder.blocks))
    if astray := [p for p in adapted(together) if not any(re.search(regex, p) for regex in lora.paths)]:
        raise WeightsError(f"{printable(where)}: LoRA.paths={lora.paths} find no {astray[0]}, which the adapter is of")
    rest = nested({path: x for path, x in arrays.items() if not path.startswith("encoder/")})
    fields: dict[str, Any] = {"encoder": encoder.clone(parent=None, lora=lora), "pooling": from_json(doc["pooling"])}
    replaced: tuple[str, ...] = ("pooling",)
    if isinstance(model.model, Pooled) and doc["heads"] is not None:  # what an objective trained knows of no heads: they stay
        fields["heads"] = tuple(from_json(h) for h in doc["heads"])
        replaced = ("pooling", "heads_")
    kept = {name: x for name, x in model.variables["params"].items() if not name.startswith(replaced)}
    return _replaced(model, fields, kept | rest | {"encoder": together})


def merge_adapter(model: Embedder) -> Embedder:
    """The same model with its adapter in its weights, W + (alpha / rank) A B: as fast as without one, and the same vectors."""
    encoder = _encoder(model)
    params = model.variables["params"]
    whole = merged(adapter_of(model), params["encoder"])
    return _replaced(model, {"encoder": encoder.clone(parent=None, lora=None)}, {**params, "encoder": whole})


def fingerprint(params: Mapping[str, Any]) -> dict[str, Any]:
    """[shape, digest] of each array, as it is in bfloat16: the same for weights that are stored in float32 or in that."""
    found = {}
    for path, x in by_path(params).items():
        short = np.asarray(jnp.asarray(x).astype(jnp.bfloat16))
        found[path] = [list(short.shape), hashlib.blake2b(short.tobytes(), digest_size=16).hexdigest()]
    return found


def _encoder(model: Embedder) -> Any:
    encoder = getattr(model.model, "encoder", None)
    if not isinstance(encoder, Transformer) or not hasattr(model.model, "pooling"):
        raise ConfigError(f"adapters are for a Transformer with a pooling, not for a {type(encoder or model.model).__name__}")
    return encoder


def adapter_of(model: Embedder) -> LoRA:
    """The adapter of the model's encoder."""
    lora = _encoder(model).lora
    if lora is None:
        raise ConfigError("the model has no adapter: its encoder has lora=None")
    return lora


def apart(model: Embedder) -> dict[str, Any]:
    """The parameters that make embeddings, each layer by itself also where a scan runs them as one."""
    params = model.variables["params"]
    beside = ("pooling", "heads_") if isinstance(model.model, Pooled) else ("pooling",)
    found = {name: x for name, x in params.items() if name.startswith(beside)}
    encoder = params["encoder"]
    return found | {"encoder": unstack_blocks(dict(encoder)) if "blocks" in encoder else encoder}


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees as one; what both have is a tree in both."""
    both = {name: _joined(x, other[name]) for name, x in one.items() if name in other}
    return {**one, **other, **both}


def adapted(params: Mapping[str, Any]) -> list[str]:
    """The paths of what the adapters of a tree are of."""
    leaves = by_path(params)
    found = [path.rpartition("/")[0] for path in leaves if path.endswith(f"/{A}")]
    return [f"{layer}/{name}" for layer in found for name in ("kernel", "embedding") if f"{layer}/{name}" in leaves]


def _replaced(model: Embedder, fields: Mapping[str, Any], params: Mapping[str, Any]) -> Embedder:
    new = copy.copy(model)
    new.model = model.model.clone(parent=None, **fields)
    new.variables = {**model.variables, "params": dict(params)}
    new._encoders = {}
    return new


def _read(where: Path) -> tuple[dict[str, Any], TensorFiles]:
    for name in (CONFIG, WEIGHTS):
        if not is_regular(where / name):
            raise WeightsError(f"{printable(where)} holds no adapter: there is no {name}")
    try:
        doc = read_json(where / CONFIG)
    except FileError as e:
        raise WeightsError(str(e)) from e
    if not isinstance(doc, dict) or (lacking := {"lora", "pooling", "heads", "base"} - doc.keys()):
        what = f"lacks {', '.join(sorted(lacking))}" if isinstance(doc, dict) else f"holds a {type(doc).__name__}"
        raise WeightsError(f"{printable(where / CONFIG)} is damaged: it {what}")
    return doc, TensorFiles(where / WEIGHTS)


def _same_base(there: Mapping[str, Any], params: Mapping[str, Any], where: Path) -> None:
    here = fingerprint(base(params))
    lines = [f"{p}: not in this model" for p in there if p not in here] + [f"{p}: not in that one" for p in here if p not in there]
    for path in (p for p in here if p in there and here[p] != there[p]):
        (shape, _), (other, _) = here[path], there[path]
        lines.append(f"{path}: other values" if shape == other else f"{path}: {tuple(other)} there, {tuple(shape)} here")
    if lines:
        more = [f"and {len(lines) - MANY} more"] if len(lines) > MANY else []
        listed = "\n  ".join([*lines[:MANY], *more])
        raise WeightsError(
            f"{printable(where)} is an adapter for another base: {len(lines)} of its {len(there)} arrays differ\n  {listed}"
        )
