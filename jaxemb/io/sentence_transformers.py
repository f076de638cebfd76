"""The files that say what sentence-transformers makes of a model: its modules, prompts and similarity.

modules.json is a chain: a Transformer, what pools its tokens, layers after it. Releases differ in the paths of classes, of which
only the last part counts, and in the names of fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxemb import files
from jaxemb.config import ConfigError, suggest
from jaxemb.ops.closeness import SIMILARITIES
from jaxemb.pooling.concat import MODES

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
LENGTHS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
"""sentence_<one of these>_config.json: what a release called its Transformer's file."""
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = {
    "Identity": None,
    "Tanh": "tanh",
    "GELU": "gelu",
    "ReLU": "relu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "SELU": "selu",
    "Softplus": "softplus",
    "Mish": "mish",
}
"""Of torch.nn, by the name of the class."""
SUPPORTED = ("Transformer", "CLIPModel", "Pooling", "Dense", "Normalize", "Dropout")


@dataclasses.dataclass(frozen=True)
class DenseLayer:
    """A Dense module: activation(W x + b)."""

    folder: Path
    """Where its weights are."""
    inputs: int
    outputs: int
    bias: bool
    activation: str | None


@dataclasses.dataclass(frozen=True)
class Chain:
    """What modules.json and the files that it names say."""

    transformer: Path
    """The folder of config.json, weights and tokenizer."""
    max_length: int | None = None
    """What the Transformer's own file says; None: the tokenizer's word holds."""
    lower: bool = False
    pooling: tuple[str, ...] | None = None
    """Modes side by side; None: no Pooling, a vector a token."""
    include_prompt: bool = True
    heads: tuple[DenseLayer | None, ...] = ()
    """Layers after the pooling; None is Normalize."""
    tokenwise: tuple[DenseLayer | None, ...] = ()
    """The same before any pooling, on each token."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """config_sentence_transformers.json."""

    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str = "cosine"
    truncate_dim: int | None = None


def is_chain(folder: Path) -> bool:
    return files.is_regular(folder / MODULES)


def read_settings(folder: Path) -> Settings:
    """Prompts and similarity, where there is a file."""
    if not files.is_regular(folder / SETTINGS):
        return Settings()
    doc = _document(folder / SETTINGS)
    shown = files.printable(folder / SETTINGS)
    prompts = doc.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ConfigError(f"{shown}: prompts are texts by name, not {files.printable(prompts)}")
    default = doc.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ConfigError(f"{shown}: default_prompt_name={default!r} is none of its prompts: {', '.join(prompts) or 'none'}")
    similarity = doc.get("similarity_fn_name") or "cosine"
    similarity = {"dot_product": "dot"}.get(similarity, similarity)
    if similarity not in SIMILARITIES:
        raise ConfigError(f"{shown}: similarity_fn_name={similarity!r}{suggest(str(similarity), SIMILARITIES)}")
    return Settings(prompts, default, similarity, doc.get("truncate_dim"))


def read_chain(folder: Path) -> Chain:
    """The modules in their order; any that is not known here is refused by name."""
    shown = files.printable(folder / MODULES)
    doc = _read(folder / MODULES)
    if not isinstance(doc, list) or not doc or not all(isinstance(m, dict) and isinstance(m.get("type"), str) for m in doc):
        raise ConfigError(f"{shown}: a list of modules with their types is expected, not {files.printable(doc)}")
    modules = [(m["type"].rpartition(".")[2], _inside(folder, m.get("path", ""), shown)) for m in doc]
    if unknown := [kind for kind, _ in modules if kind not in SUPPORTED]:
        raise ConfigError(f"{shown}: the module {unknown[0]} is not supported; supported: {', '.join(SUPPORTED)}")
    if [kind for kind, _ in modules] == ["CLIPModel"]:  # two towers, which pool by themselves
        return Chain(modules[0][1])
    if modules[0][0] != "Transformer" or any(kind in ("Transformer", "CLIPModel") for kind, _ in modules[1:]):
        raise ConfigError(f"{shown}: a chain begins with its only Transformer, not with {', '.join(kind for kind, _ in modules)}")
    if sum(kind == "Pooling" for kind, _ in modules) > 1:
        raise ConfigError(f"{shown}: more than one Pooling")
    chain = _transformer(modules[0][1])
    for kind, path in modules[1:]:
        if kind == "Pooling":
            modes, include = _pooling(path)
            chain = dataclasses.replace(chain, pooling=modes, include_prompt=include)
        elif kind != "Dropout":  # which does nothing once a model is trained
            layer = _dense(path) if kind == "Dense" else None
            where = "tokenwise" if chain.pooling is None else "heads"
            chain = dataclasses.replace(chain, **{where: (*getattr(chain, where), layer)})
    return chain


# ---- a file each -----------------------------------------------------------------------------------------------------------------


def _transformer(path: Path) -> Chain:
    file = next((f for name in LENGTHS if files.is_regular(f := path / f"sentence_{name}_config.json")), None)
    doc = {} if file is None else _document(file)
    if (task := doc.get("transformer_task", "feature-extraction")) != "feature-extraction":
        raise ConfigError(f"{file}: transformer_task={task!r} is not supported; only 'feature-extraction'")
    text = (doc.get("modality_config") or {}).get("text", {})
    if (output := text.get("method_output_name", "last_hidden_state")) != "last_hidden_state" or text.get(
        "method", "forward"
    ) != "forward":
        raise ConfigError(
            f"{file}: the output {output!r} of {text.get('method')!r} is not supported; only last_hidden_state of forward"
        )
    length = doc.get("max_seq_length")
    if length is not None and not (type(length) is int and length > 0):
        raise ConfigError(f"{file}: max_seq_length is a whole number, not {files.printable(length)}")
    return Chain(path, length, bool(doc.get("do_lower_case", False)))


def _pooling(path: Path) -> tuple[tuple[str, ...], bool]:
    doc, shown = _document(path / "config.json"), files.printable(path / "config.json")
    if "pooling_mode" in doc:
        modes = doc["pooling_mode"]
        modes = (modes,) if isinstance(modes, str) else tuple(modes)
        if unknown := [m for m in modes if m not in MODES]:
            raise ConfigError(f"{shown}: pooling_mode={unknown[0]!r}{suggest(str(unknown[0]), MODES)}")
    else:
        on = [name for name, value in doc.items() if name.startswith("pooling_mode_") and value]
        if unknown := [name for name in on if name not in FLAGS]:
            raise ConfigError(f"{shown}: {unknown[0]} is not supported; supported: {', '.join(FLAGS)}")
        modes = tuple(mode for flag, mode in FLAGS.items() if flag in on) or ("mean",)
    return modes, bool(doc.get("include_prompt", True))


def _dense(path: Path) -> DenseLayer:
    doc, shown = _document(path / "config.json"), files.printable(path / "config.json")
    name = str(doc.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise ConfigError(f"{shown}: activation_function {name!r} is not supported; supported: {', '.join(ACTIVATIONS)}")
    if missing := [n for n in ("in_features", "out_features") if type(doc.get(n)) is not int]:
        raise ConfigError(f"{shown} has no {missing[0]}")
    for side in ("module_input_name", "module_output_name"):
        if (given := doc.get(side) or "sentence_embedding") not in ("sentence_embedding", "token_embeddings"):
            raise ConfigError(f"{shown}: {side}={given!r} is not supported; supported: sentence_embedding, token_embeddings")
    return DenseLayer(path, doc["in_features"], doc["out_features"], bool(doc.get("bias", True)), ACTIVATIONS[name])


def _inside(folder: Path, path: Any, shown: str) -> Path:
    parts = Path(path).parts if isinstance(path, str) else ("..",)
    if ".." in parts or Path(path).is_absolute():
        raise ConfigError(f"{shown}: the path {files.printable(path)} leads out of the folder")
    return folder / path


def _read(file: Path) -> Any:
    try:
        return files.read_json(file)
    except files.FileError as e:
        raise ConfigError(str(e)) from e


def _document(file: Path) -> dict[str, Any]:
    doc = _read(file)
    if not isinstance(doc, dict):
        raise ConfigError(f"{files.printable(file)}: fields by name are expected, not a {type(doc).__name__}")
    return doc
