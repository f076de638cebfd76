"""Adapters in the layout of PEFT, to be put beside the pretrained folder that they were trained on by those who use torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxemb.config import ConfigError
from jaxemb.files import is_regular, printable
from jaxemb.hub import resolve
from jaxemb.io.adapter import Where, adapted, adapter_of, apart, fingerprint
from jaxemb.io.embedder import Embedder
from jaxemb.io.pretrained import architecture, example, load, parameter_shapes
from jaxemb.io.tensors import INDEX, SINGLE, TensorFiles
from jaxemb.nn.hf.base import Port, Take, Towers
from jaxemb.nn.lora import A, B, adapters, base
from jaxemb.nn.pooled import Pooled
from jaxemb.ops.paths import by_path
from jaxemb.tensor_file import Tensor, listed, write_tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."

log = logging.getLogger("jaxemb")


def export_peft(model: Embedder, pretrained: Where, folder: Where) -> None:
    """Writes adapter_config.json and adapter_model.safetensors for `PeftModel.from_pretrained(AutoModel..., folder)`.

    `pretrained` is the folder or id of the weights that the adapter is of: it says how the layers are called there, and is held
    against the model's own: other shapes are refused, and other values where the folder has weights. A pooling or heads that were
    trained with it are not part of that layout.
    """
    lora, params = adapter_of(model), apart(model)["encoder"]
    adapters(params)  # refuses what changes nothing
    port = architecture(pretrained)
    tower = port.text if isinstance(port, Towers) else port
    names, plain = tower.encoder.names, by_path(base(params))
    whole = parameter_shapes(Pooled(tower.encoder.module), example(tower))
    shapes = {path.removeprefix("encoder/"): x for path, x in whole.items() if path.startswith("encoder/")}
    _same(pretrained, [_line(p, x, shapes[p]) for p, x in plain.items() if p in shapes and shapes[p].shape != x.shape])
    leaves, tensors, modules = by_path(params), {}, []
    for path in adapted(params):
        layer, _, leaf = path.rpartition("/")
        name = _name(path, leaves[path].shape, names.get(path))
        a, b = (np.asarray(leaves[f"{layer}/{x}"], np.float32) for x in (A, B))
        a, b = a.reshape(-1, lora.rank).T, b.reshape(lora.rank, -1).T
        ends = ("lora_embedding_A", "lora_embedding_B") if leaf == "embedding" else ("lora_A.weight", "lora_B.weight")
        modules.append(name)
        tensors |= {f"{PREFIX}{name}.{end}": Tensor(x.shape, "F32", lambda x=x: x) for end, x in zip(ends, (a, b), strict=True)}
    lacking = [f"{p}: not there" for p in plain if p not in shapes] + [f"{p}: not in this model" for p in shapes if p not in plain]
    _same(pretrained, lacking or _other_values(resolve(pretrained), port, tower, plain))
    doc = {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": str(pretrained),
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.stabilised,
        "target_modules": sorted(modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    write_tensors(where / WEIGHTS, tensors)
    (where / CONFIG).write_text(json.dumps(doc, indent=1) + "\n", encoding="utf-8")


def _line(path: str, here: Any, there: Any) -> str:
    return f"{path}: {tuple(there.shape)} there, {tuple(here.shape)} here"


def _same(pretrained: Where, lines: list[str]) -> None:
    """Refuses a base that the adapter was not trained beside."""
    if lines:
        raise ConfigError(
            f"{printable(str(pretrained))} is not the base of this adapter: {len(lines)} of the encoder's arrays differ: "
            f"{listed(lines)}"
        )


def _other_values(folder: Path, port: Port | Towers, tower: Port, params: Mapping[str, Any]) -> list[str]:
    """Lines of the arrays that the folder has otherwise; none where it holds no weights."""
    if not any(is_regular(folder / name) for name in (SINGLE, INDEX)):
        return []
    here = fingerprint(params)
    like = {path: jax.ShapeDtypeStruct(x.shape, x.dtype) for path, x in params.items()}
    there = fingerprint(load(TensorFiles(folder), {"": tower.encoder}, like, whole=port, ignore=(".*",), say=log.info))
    return [f"{path}: other values" for path in here if here[path] != there[path]]


def _name(path: str, shape: tuple[int, ...], source: Any) -> str:
    """Of the module there whose whole weight is this array: out-in, where ours is in-out, a table as it is."""
    take = source[0] if isinstance(source, tuple) and not isinstance(source, Take) and len(source) == 1 else source
    if isinstance(take, Take) and take.rows is None and take.name.endswith(".weight"):
        here = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
        if path.endswith("/embedding"):
            there = here
        else:
            cut = 2 if path.endswith("out/kernel") and len(shape) == 3 else 1
            there = here.reshape(int(np.prod(shape[:cut])), -1).T
        there = there if take.shape is None else there.reshape(take.shape)
        if np.array_equal(there if take.order is None else there.transpose(take.order), here):
            return take.name.removesuffix(".weight")
    raise ConfigError(
        f"{path} is no whole weight of a module of the pretrained folder, which is what PEFT's layout has adapters of"
    )
