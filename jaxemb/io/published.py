"""A model written as sentence-transformers and Hugging Face have it: the reverse of what `assemble` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxemb.config import ConfigError, to_json
from jaxemb.io.origin import Origin
from jaxemb.io.sentence_transformers import ACTIVATIONS, FLAGS, MODULES
from jaxemb.io.sentence_transformers import SETTINGS as PROMPTS
from jaxemb.io.takes import cut_back
from jaxemb.io.tensors import SINGLE
from jaxemb.layers.heads import DenseHead, Unit
from jaxemb.nn.hf.base import Towers, port
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.stem import Tokens
from jaxemb.ops.paths import by_path
from jaxemb.pooling.concat import MODES, Concat, of_modes
from jaxemb.pooling.pooler import Pooler
from jaxemb.preprocess.base import Preprocess
from jaxemb.preprocess.hf_folder import SETTINGS
from jaxemb.preprocess.hf_text import opened
from jaxemb.preprocess.text import FILE
from jaxemb.tensor_file import Tensor, name_of, write_tensors

AT_WILL = {"dtype", "scan", "remat", "dropout", "drop_path"}
"""Fields of an encoder that change how it is computed or trained, and not what it computes."""
TYPE = "sentence_transformers.models."
"""Where classes were in every release: newer ones go by the last part."""
SPECIAL = ("pad", "cls", "sep", "mask", "unk", "bos", "eos")


class Published(NamedTuple):
    """What there is to write, once it is known that it can be written."""

    origin: Origin
    encoder: Mapping[str, Any]
    """Tables of names of the encoder, and of its pooler where that is the pooling: paths as in `params`."""
    modes: tuple[str, ...]
    heads: tuple[Any, ...]
    """Modules of `Pooled.heads`, one more in front where the pooling is a pooler."""
    head_params: tuple[Mapping[str, Any], ...]


def as_published(model: Pooled, params: Mapping[str, Any], preprocess: Preprocess, origin: Origin | None) -> Published | str:
    """What to write, or why others cannot open this model."""
    if origin is None:
        return "it was not made from an architecture of Hugging Face"
    if not isinstance(getattr(model.encoder, "stem", None), Tokens):
        return "sentence-transformers opens models of texts"
    if getattr(model.encoder, "lora", None) is not None:
        return "its encoder has an adapter beside its weights; merge_adapter(model) puts it into them (`jaxemb export ... --merge`)"
    try:
        whole = port(origin.config)
    except ConfigError as e:
        return str(e)
    if isinstance(whole, Towers) or essence(model.encoder) != essence(whole.encoder.module):
        return f"its encoder is another one than that of {origin.name}: {_difference(model.encoder, whole)}"
    if getattr(preprocess, "learned", None) is None:
        return f"{type(preprocess).__name__} has no {FILE}"
    modes, heads, own = (
        _modes(model.pooling),
        tuple(model.heads),
        tuple(params.get(f"heads_{i}", {}) for i in range(len(model.heads))),
    )
    if isinstance(model.pooling, Pooler):
        modes, heads, own = ("cls",), (DenseHead(model.encoder.width), *heads), (params["pooling"], *own)
    if modes is None:
        return f"sentence-transformers has no pooling {type(model.pooling).__name__}"
    if odd := [head for head in heads if not isinstance(head, (DenseHead, Unit)) or _activation(head) is None]:
        return f"sentence-transformers has no head {odd[0]}"
    names = {f"encoder/{path}": source for path, source in whole.encoder.names.items()}
    if isinstance(model.pooling, Pooler) and whole.pooler is not None:
        names |= {f"pooling/{path}": source for path, source in whole.pooler.names.items()}
    return Published(origin, names, modes, heads, own)


def write_published(
    folder: Path, found: Published, model: Pooled, params: Mapping[str, Any], preprocess: Any, settings: Mapping[str, Any]
) -> None:
    """All files but the card. `settings`: prompts, default_prompt_name, similarity_fn_name, as `Embedder` has them."""
    arrays = by_path(params)
    dtype = str(np.dtype(jax.tree.leaves(params["encoder"])[0].dtype))
    _json(folder / "config.json", _config(found.origin.config, dtype, model.encoder.stem.vocabulary))
    write_tensors(folder / SINGLE, cut_back(found.encoder, arrays, found.origin.tensors))
    _tokenizer(folder, preprocess, found.origin)
    modules: list[tuple[str, str]] = [("", "Transformer"), ("1_Pooling", "Pooling")]
    width = model.encoder.width
    _json(folder / "1_Pooling" / "config.json", _pooling(found.modes, width, getattr(preprocess, "include_prompt", True)))
    width *= len(found.modes)
    for i, (head, own) in enumerate(zip(found.heads, found.head_params, strict=True), 2):
        kind = "Normalize" if isinstance(head, Unit) else "Dense"
        modules.append((f"{i}_{kind}", kind))
        if isinstance(head, DenseHead):
            _dense(folder / f"{i}_Dense", head, own["dense"], width)
            width = head.features
        else:
            _json(folder / f"{i}_Normalize" / "config.json", {})
    doc = [{"idx": i, "name": str(i), "path": path, "type": f"{TYPE}{kind}"} for i, (path, kind) in enumerate(modules)]
    _json(folder / MODULES, doc)
    text = {"max_seq_length": preprocess.length, "do_lower_case": bool(getattr(preprocess, "lower", False))}
    _json(folder / "sentence_bert_config.json", text)
    _json(folder / PROMPTS, {name: value for name, value in settings.items() if name != "truncate_dim" or value is not None})


# ---- what fits -------------------------------------------------------------------------------------------------------------------


def essence(x: Any) -> Any:
    """A config without what changes nothing of what is computed."""

    def without(doc: Any) -> Any:
        if isinstance(doc, dict):
            return {k: without(v) for k, v in doc.items() if k not in AT_WILL}
        return [without(v) for v in doc] if isinstance(doc, list) else doc

    return without(to_json(x))


def _difference(encoder: Any, whole: Any) -> str:
    if isinstance(whole, Towers):
        return "that is a model of images and texts"
    here, there = essence(encoder), essence(whole.encoder.module)
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    return f"{', '.join(names)} differ"


def _modes(pooling: Any) -> tuple[str, ...] | None:
    """What sentence-transformers calls a pooling, if it has it."""
    parts = pooling.parts if isinstance(pooling, Concat) else (pooling,)
    names = [next((name for name in MODES if to_json(of_modes([name])) == to_json(part)), None) for part in parts]
    found = tuple(name for name in names if name is not None)
    return found if len(found) == len(names) and list(found) == sorted(found, key=[*MODES].index) else None


def _activation(head: Any) -> str | None:
    """The class of torch.nn that a head ends in; None where there is none."""
    activation = None if isinstance(head, Unit) else head.activation
    return next((name for name, ours in ACTIVATIONS.items() if ours == activation), None)


# ---- a file each -----------------------------------------------------------------------------------------------------------------


def _config(config: Mapping[str, Any], dtype: str, vocabulary: int) -> dict[str, Any]:
    """The folder's own config.json, of the bare model that is written."""
    found = dict(config) | {"vocab_size": vocabulary}
    bare = {"T5": "T5EncoderModel", "MT5": "MT5EncoderModel"}
    stems = [re.sub(r"(For\w+|EncoderModel|Model)$", "", str(name)) for name in config.get("architectures") or ()]
    if stems:
        found["architectures"] = [bare.get(stem, f"{stem}Model") for stem in stems]
    for name in ("dtype", "torch_dtype"):
        if name in found:
            found[name] = dtype
    return found | _older(config)


def _older(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary fields in the words of transformers 4, beside those of 5: each release reads its own."""
    rope = config.get("rope_parameters")
    if not isinstance(rope, Mapping):
        return {}
    whole = rope.get("full_attention", rope)
    local = rope.get("sliding_attention", {}).get("rope_theta")
    if config["model_type"] == "modernbert":
        full = [i for i, kind in enumerate(config.get("layer_types") or ()) if kind == "full_attention"]
        every = {"global_attn_every_n_layers": full[1]} if len(full) > 1 else {}
        return {"global_rope_theta": whole.get("rope_theta"), "local_rope_theta": local} | every
    scaling = {k: v for k, v in whole.items() if k != "rope_theta"}
    older = {"rope_theta": whole.get("rope_theta"), "rope_scaling": scaling if scaling.get("rope_type") != "default" else None}
    return older | ({} if local is None else {"rope_local_base_freq": local})


def _pooling(modes: Sequence[str], width: int, include_prompt: bool) -> dict[str, Any]:
    flags = {flag: mode in modes for flag, mode in FLAGS.items()}
    return {"word_embedding_dimension": width, **flags, "include_prompt": include_prompt}


def _dense(folder: Path, head: DenseHead, params: Mapping[str, Any], width: int) -> None:
    activation = f"torch.nn.modules.{'linear' if head.activation is None else 'activation'}.{_activation(head)}"
    _json(
        folder / "config.json",
        {"in_features": width, "out_features": head.features, "bias": head.bias, "activation_function": activation},
    )
    arrays = {"linear.weight": np.asarray(params["kernel"]).T} | ({"linear.bias": np.asarray(params["bias"])} if head.bias else {})
    write_tensors(folder / SINGLE, {k: Tensor(x.shape, name_of(x.dtype), lambda x=x: x) for k, x in arrays.items()})


def _tokenizer(folder: Path, preprocess: Any, origin: Origin) -> None:
    (folder / FILE).write_text(preprocess.learned, encoding="utf-8")
    tokenizer = opened(preprocess.learned)
    known = {f"{name}_token": origin.tokenizer.get(f"{name}_token") for name in SPECIAL}
    known = {name: x["content"] if isinstance(x, dict) else x for name, x in known.items() if x is not None}
    known = {name: token for name, token in known.items() if tokenizer.token_to_id(token) is not None}
    pad = tokenizer.id_to_token(getattr(preprocess, "pad", 0))
    own = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # which asks tokenizer.json alone
        "model_max_length": preprocess.length,
        "padding_side": getattr(preprocess, "side", "right"),
        "model_input_names": ["input_ids", "attention_mask"],  # kinds of tokens are all 0 where there are any
        "clean_up_tokenization_spaces": False,
    }
    _json(folder / SETTINGS, known | ({"pad_token": pad} if pad is not None else {}) | own)


def _json(file: Path, doc: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(doc, indent=2) + "\n", encoding="utf-8")
