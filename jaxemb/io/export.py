"""A model as a folder for others: in the form of sentence-transformers where its architecture has a name there, else in our own."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxemb.config import ConfigError, brief
from jaxemb.files import exists, is_folder, printable
from jaxemb.io.card import card
from jaxemb.io.own import write_own
from jaxemb.io.published import as_published, write_published
from jaxemb.nn.base import Encoder
from jaxemb.nn.pooled import Pooled
from jaxemb.ops.paths import by_path
from jaxemb.pooling.base import Pooling
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.run.files import Where, write_text
from jaxemb.train.setup import zeros_of

if TYPE_CHECKING:
    from jaxemb.io.embedder import Embedder

log = logging.getLogger("jaxemb")
SAME = 1e-5
"""How far vectors may differ, as a share of their length, where a model is written as its encoder, pooling and heads alone."""


def save_pretrained(embedder: Embedder, folder: Where) -> str | None:
    """Writes config, weights, preprocessing and a card into a new or empty folder. Gives the reason, where there is one, why
    sentence-transformers does not open it."""
    folder = Path(folder)
    if is_folder(folder) and any(folder.iterdir()):
        raise ConfigError(f"{printable(folder)} is not empty: name a new folder, so that files of another model do not stay in it")
    if exists(folder) and not is_folder(folder):
        raise ConfigError(f"{printable(folder)} is a file; name a new folder")
    if embedder.windows is not None:
        raise ConfigError("a folder does not keep ParallelWindows: save the model without `extend`, and open it with it")
    model, variables = bare(embedder)
    e, settings = embedder, {name: getattr(embedder, name) for name in SETTINGS}
    found = "it is more than an encoder and a pooling"
    if isinstance(model, Pooled):
        found = as_published(model, variables["params"], e.preprocess, e.origin)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(found, str):
            write_own(folder, model, variables, e.preprocess, settings)
        else:
            write_published(folder, found, model, variables["params"], e.preprocess, settings)
        write_text(folder / "README.md", _card(embedder, folder, model, variables, not isinstance(found, str)))
    except OSError as error:
        raise ConfigError(f"{printable(folder)} cannot be written: {error.strerror or error}") from error
    reason = found if isinstance(found, str) else None
    if reason is not None and e.origin is not None:
        log.warning("%s opens with jaxemb alone: %s", folder, reason)
    return reason


SETTINGS = ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
"""Attributes of an `Embedder` that a folder keeps."""


CUT = ("longer texts", "their last special token is kept, which training cut off; lines of one text are not prepared apart")
"""Where the texts of a run were prepared by the tokenizer of a folder, and not as the folder itself prepares them."""


def bare(embedder: Embedder) -> tuple[Any, dict[str, Any]]:
    """Encoder, pooling and heads of an objective, where its embeddings come of these alone; else the whole objective."""
    model, variables = embedder.model, dict(embedder.variables)
    encoder, pooling = getattr(model, "encoder", None), getattr(model, "pooling", None)
    if isinstance(model, Pooled) or not isinstance(encoder, Encoder) or not isinstance(pooling, Pooling):
        return model, variables
    heads = tuple(getattr(model, "heads", ()))
    names = ("encoder", "pooling", *(f"heads_{i}" for i in range(len(heads))))
    params = {name: variables["params"][name] for name in names if name in variables["params"]}
    rest = {name: {"encoder": tree["encoder"]} for name, tree in variables.items() if name != "params" and "encoder" in tree}
    small, held = Pooled(encoder, pooling, heads), {"params": params, **rest}
    batch = _example(embedder.preprocess.spec)
    try:
        ours = jax.jit(lambda v, b: small.apply(v, b, method="encode"))(held, batch)
    except (TypeError, ValueError, LookupError):  # an encoder that takes something else
        return model, variables
    theirs = jax.jit(lambda v, b: model.apply(v, b, method="encode"))(variables, batch)
    same = ours.shape == theirs.shape and _apart(ours, theirs) <= SAME
    return (small, held) if same else (model, variables)


def _example(spec: Any) -> dict[str, Any]:
    """A row of numbers that could be an input."""
    batch, rng = zeros_of(spec, 1), np.random.default_rng(0)
    for name, x in batch.items():
        if isinstance(x, np.ndarray):
            batch[name] = np.ones_like(x) if x.dtype == bool else x + rng.integers(0, 2, x.shape).astype(x.dtype)
    return jax.tree.map(jax.numpy.asarray, batch)


def _apart(a: Any, b: Any) -> float:
    """How far vectors are from each other, as a share of the length of the second."""
    a, b = (np.asarray(x, np.float32) for x in (a, b))
    return float((np.abs(a - b) / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), 1e-12)).max())


def _card(embedder: Embedder, folder: Path, model: Any, variables: Any, published: bool) -> str:
    e = embedder
    spec = e.preprocess.spec
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(variables["params"]))
    given = {path.rpartition("/")[2] for path in by_path(zeros_of(spec, 0))}  # nested where there are two towers
    kinds = {"tokens": f"texts of at most {e.max_length} tokens", "images": "images"}
    if "vectors" in spec:
        kinds["vectors"] = f"vectors of {spec['vectors'].shape[0]} numbers"
    inputs = [name for name in kinds if name in given]
    facts = [
        ("model", brief(model)),
        ("parameters", f"{count:,} in {jax.tree.leaves(variables['params'])[0].dtype}"),
        ("embeddings", f"compared by {e.similarity_fn_name}"),
        ("inputs", " or ".join(kinds[name] for name in inputs)),
        *(() if isinstance(e.preprocess, PretrainedText) or not published else (CUT,)),
        *(("prompt", f"{name}: {text!r}") for name, text in e.prompts.items()),
    ]
    base = None if e.origin is None else e.origin.name
    return card(folder.name, facts, published=published, inputs=inputs, base=base, run=e.run)
