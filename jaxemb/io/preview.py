"""What a pretrained folder would become, from its configs and the headers of its weights: no tensor is read."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxemb.config import ConfigError
from jaxemb.files import printable
from jaxemb.io.assemble import by_folder, placed_modules, pooled, refuse_modules, tower_parts, two_towers
from jaxemb.io.own import KIND, described, wanted_of
from jaxemb.io.pretrained import CONFIG, example, parameter_shapes, read_config
from jaxemb.io.sentence_transformers import Chain, Settings, is_chain, read_chain, read_settings
from jaxemb.io.takes import Fit, fit, takes_of
from jaxemb.io.tensors import TensorFiles
from jaxemb.nn.hf.base import Part, Port, Take, Towers, port
from jaxemb.nn.stem import Tokens
from jaxemb.ops.paths import nested
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.hf_folder import read_text_preprocess
from jaxemb.tensor_file import listed
from jaxemb.train.summary import Parameter, parameters


class Preview(NamedTuple):
    """See `preview`."""

    facts: list[tuple[str, Any]]
    """Names and what is shown of them: texts, or modules."""
    parameters: list[Parameter]
    complaint: str
    """What does not fit, an empty text if all does."""


def preview(folder: Path) -> Preview:
    """Architecture, pooling, window, prompts and weights of a folder, and what of its tensors would be missing or left behind."""
    chain = read_chain(folder) if is_chain(folder) else None
    home = folder if chain is None else chain.transformer
    config, files = read_config(home), TensorFiles(home)
    if config.get("model_type") == KIND:
        return _own(folder, config, files)
    whole = port(config, where=printable(home / CONFIG))
    refuse_modules(folder, whole, chain)
    towers = {"text": whole.text, "image": whole.image} if isinstance(whole, Towers) else {"": whole}
    facts: list[tuple[str, Any]] = [
        ("architecture", f"{config['model_type']} ({listed(config.get('architectures') or ['no name'])})")
    ]
    if isinstance(whole, Towers):
        shapes = parameter_shapes(two_towers(whole), {name: example(tower) for name, tower in towers.items()})
        fits = [fit(files, tower_parts(whole), shapes, whole)]
    else:
        placed = placed_modules(whole, chain)
        shapes = parameter_shapes(pooled(placed), example(whole))
        fits = [
            fit(files, p.parts, p.shapes, whole) if p.folder is None else fit(TensorFiles(p.folder), p.parts, p.shapes)
            for p in by_folder(placed, shapes)
        ]
    found, rows = fits[0], parameters(nested(shapes))
    complaint = "".join(_from(f, home) for f in fits)
    for name, tower in towers.items():
        of = f" of {name}s" if name else ""
        facts += [(f"encoder{of}", tower.encoder.module), *_pooling(tower, chain, found, of)]
    first = next(iter(towers.values()))
    if isinstance(first.encoder.module.stem, Tokens):
        facts += _text(home, first, chain, read_settings(folder), config.get("pad_token_id"))
    facts += _weights(files, found, found.left)
    return Preview(facts, rows, complaint)


def _from(found: Fit, home: Path) -> str:
    """What does not fit, and of which of the folders of a chain."""
    complaint = found.complaint(strict=True)
    return f"\n  of {found.files.folder.name}:{complaint}" if complaint and found.files.folder != home else complaint


def _own(folder: Path, config: dict[str, Any], files: TensorFiles) -> Preview:
    """A folder that jaxemb wrote for itself."""
    model, preprocess = described(folder, config)
    wanted = wanted_of(files, model, preprocess)
    found = fit(files, {"": Part(model, {path: Take(path) for path in wanted.shapes})}, wanted.shapes)
    facts: list[tuple[str, Any]] = [(name, config.get(name)) for name in ("similarity_fn_name", "prompts") if config.get(name)]
    shapes = {name.partition("/")[2]: jax.ShapeDtypeStruct(t.shape, "float32") for name, t in files.found.items()}
    rows = [("architecture", "jaxemb's own"), ("model", model), *facts]
    return Preview([*rows, *_weights(files, None, [])], parameters(nested(shapes)), found.complaint(strict=True))


def _pooling(tower: Port, chain: Chain | None, found: Fit, of: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [(f"pooling{of}", tower.pooling.module)]
    if chain is not None:
        heads = [
            "Normalize" if h is None else f"Dense({h.inputs} -> {h.outputs}, {h.activation or 'linear'})"
            for h in (*chain.tokenwise, *chain.heads)
        ]
        modes = "a vector a token" if chain.pooling is None else " + ".join(chain.pooling)
        prompt = "" if chain.include_prompt else ", prompts left out"
        rows = [(f"modules{of}", " -> ".join(["Transformer", f"{modes}{prompt}", *heads]))]
    if tower.pooler is not None:
        there = all(found.prefix + take.name in found.files for s in tower.pooler.names.values() for take in takes_of(s))
        rows.append((f"pooler{of}", f"{type(tower.pooler.module).__name__}: {'in the file' if there else 'not in the file'}"))
    return rows


def _text(home: Path, tower: Port, chain: Chain | None, settings: Settings, pad: Any) -> list[tuple[str, str]]:
    window = "any" if tower.window is None else f"{tower.window}"
    try:
        stated = None if chain is None else chain.max_length
        made = read_text_preprocess(
            home, window=tower.window, stated=stated, vocabulary=tower.encoder.module.stem.vocabulary, pad=pad
        )
        length = f"{made.length} tokens, padded on the {made.side}"
    except (ConfigError, DataError) as e:
        length = str(e)
    prompts = ", ".join(f"{name}: {text!r}" for name, text in settings.prompts.items())
    default = f" (default: {settings.default_prompt_name})" if settings.default_prompt_name else ""
    return [
        ("window", f"{window} tokens"),
        ("texts", length),
        ("prompts", (prompts or "none") + default),
        ("similarity", settings.similarity),
    ]


def _weights(files: TensorFiles, found: Fit | None, left: list[str]) -> list[tuple[str, str]]:
    kinds = Counter(files[name].dtype for name in files)
    count = len({files[name].file for name in files})
    numbers = sum(math.prod(files[name].shape) for name in files)
    rows = [
        (
            "weights",
            f"{len(files)} tensors of {numbers:,} numbers in {count} file{'s' * (count > 1)}, {files.bytes / 1e6:,.1f} MB, "
            + ", ".join(f"{kind} ({n})" if len(kinds) > 1 else kind for kind, n in kinds.items()),
        )
    ]
    if found is not None and found.prefix:
        rows.append(("names begin with", found.prefix))
    if left:
        rows.append(("left behind", listed(left)))
    if found is not None and found.cut:
        rows.append(("left out", listed(found.cut)))
    return rows
