"""A model in a folder of our own form: for architectures and inputs that nobody else has a name for.

config.json        {"model_type": "jaxemb", "model": the modules, "prompts": ..., ...}
model.safetensors  its arrays under our paths, "params/encoder/stem/embedding"
assets/            its preprocessing
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.errors import FlaxError
from jax.sharding import Mesh

import jaxemb
from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.files import printable
from jaxemb.io.pretrained import CONFIG, load, parameter_shapes
from jaxemb.io.sentence_transformers import Settings
from jaxemb.io.takes import Filled, read
from jaxemb.io.tensors import FLOATS, SINGLE, TensorFiles
from jaxemb.nn.hf.base import Part, Take
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.towers import TwoTowers
from jaxemb.ops.paths import by_path, nested
from jaxemb.preprocess.base import Preprocess
from jaxemb.run.files import write_json
from jaxemb.tensor_file import DTYPES, Tensor, WeightsError, name_of, write_tensors
from jaxemb.train.rules import Rules
from jaxemb.train.setup import zeros_of
from jaxemb.train.sharding import make_mesh, replicated

KIND = "jaxemb"
"""The model_type of such a folder."""
ASSETS = "assets"


class Own(NamedTuple):
    """What such a folder holds."""

    model: Any
    variables: dict[str, Any]
    preprocess: Preprocess
    settings: Settings


def write_own(folder: Path, model: Any, variables: Mapping[str, Any], preprocess: Preprocess, settings: Mapping[str, Any]) -> None:
    """All files but the card."""
    arrays = by_path(dict(variables))
    write_json(folder / CONFIG, {"model_type": KIND, KIND: jaxemb.__version__, "model": to_json(model), **settings})
    made = {path: Tensor(tuple(x.shape), name_of(x.dtype), lambda x=x: np.asarray(x)) for path, x in arrays.items()}
    write_tensors(folder / SINGLE, made)
    preprocess.save(folder / ASSETS)


def described(folder: Path, config: Mapping[str, Any]) -> tuple[Any, Preprocess]:
    """The model and the preprocessing of such a folder, without its weights."""
    if not isinstance(config.get("model"), Mapping):
        raise WeightsError(f"{printable(folder / CONFIG)} is damaged: it holds no model")
    model, preprocess = from_json(config["model"], "model"), Preprocess.load(folder / ASSETS)
    if not callable(getattr(model, "encode", None)):
        raise ConfigError(f"{printable(folder / CONFIG)}: a {type(model).__name__} does not encode")
    return model, preprocess


def read_own(folder: Path, config: Mapping[str, Any], mesh: Mesh, dtype: str = "float32", sharding: Rules = "replicate") -> Own:
    """What `write_own` wrote; `dtype`: of the weights and the computation."""
    model, preprocess = described(folder, config)
    files = TensorFiles(folder)
    wanted = wanted_of(files, model, preprocess, dtype, mesh, sharding)
    if wanted.held:
        arrays = load(files, {"": Part(model, {path: Take(path) for path in wanted.shapes})}, wanted.shapes)
    else:
        arrays = nested({name: read(files, Filled(((Take(name),),), False), s) for name, s in wanted.shapes.items()})
    variables = {"params": {}} | arrays
    model = _computing(model, dtype)
    s = {name: config.get(name) for name in ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")}
    return Own(
        model,
        variables,
        preprocess,
        Settings(s["prompts"] or {}, s["default_prompt_name"], s["similarity_fn_name"] or "cosine", s["truncate_dim"]),
    )


def _computing(model: Any, dtype: str) -> Any:
    """The model with encoders that compute in a dtype, whatever they were saved in."""
    if isinstance(model, TwoTowers):
        return model.clone(text=_computing(model.text, dtype), image=_computing(model.image, dtype))
    encoder: Any = getattr(model, "encoder", None)
    if getattr(encoder, "dtype", "float32") == dtype:
        return model
    if hasattr(encoder, "dtype"):
        return model.clone(encoder=encoder.clone(dtype=dtype))
    raise ConfigError(f"dtype={dtype!r}: the encoder, a {type(encoder).__name__}, computes in float32 alone")


class Wanted(NamedTuple):
    """What the file has to hold."""

    shapes: dict[str, jax.ShapeDtypeStruct]
    held: bool
    """Whether the model says it, not the file alone."""


def wanted_of(
    files: TensorFiles,
    model: Any,
    preprocess: Preprocess,
    dtype: str = "float32",
    mesh: Mesh | None = None,
    sharding: Rules = "replicate",
) -> Wanted:
    """The arrays of the file, those of the model where it can say without training data which it has."""
    mesh = make_mesh({"data": -1}) if mesh is None else mesh
    place = replicated(mesh)
    shapes = {
        name: jax.ShapeDtypeStruct(t.shape, dtype if t.dtype in FLOATS else np.dtype(DTYPES[t.dtype]), sharding=place)
        for name, t in files.found.items()
    }
    if not isinstance(model, Pooled | TwoTowers):
        lacking = {name: s for name, s in _encoding(model, preprocess).items() if name not in shapes}
        return Wanted(shapes | {n: jax.ShapeDtypeStruct(s.shape, dtype, sharding=place) for n, s in lacking.items()}, False)
    found = parameter_shapes(model, zeros_of(preprocess.spec, 1), dtype=dtype, mesh=mesh, sharding=sharding)
    rest = {name: s for name, s in shapes.items() if not name.startswith("params/")}
    return Wanted(rest | {f"params/{path}": s for path, s in found.items()}, True)


def _encoding(model: Any, preprocess: Preprocess) -> dict[str, Any]:
    """What an objective needs to encode, by path; nothing where these inputs do not say it."""
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), zeros_of(preprocess.spec, 1))
    try:
        found = jax.eval_shape(lambda b: model.init(keys, b, method="encode"), batch)
    except (TypeError, ValueError, LookupError, FlaxError):
        return {}
    return {f"params/{path}": x for path, x in by_path(found.get("params", {})).items()}
