"""Verbs on pretrained folders: `show FOLDER`, `export`, `merge`."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import TYPE_CHECKING

from jaxemb.cli.describe import by_module
from jaxemb.config import ConfigError, brief, is_config, override, suggest
from jaxemb.hub import resolve
from jaxemb.io.preview import preview
from jaxemb.log.table import say, table
from jaxemb.tensor_file import WeightsError

if TYPE_CHECKING:
    from jaxemb.io.embedder import Embedder


def show_folder(target: str) -> None:
    """What a folder would become, and what of its weights would not find a place."""
    found = preview(resolve(target))
    table(("folder", target), [(name, brief(x) if is_config(type(x)) else str(x)) for name, x in found.facts])
    say("")
    count = sum(p.count for p in found.parameters)
    table(("module", ">layers", "arrays", ">parameters"), [*by_module(found.parameters), ("all", "", "", f"{count:,}")])
    if found.complaint:
        raise WeightsError(f"{target} does not fit the model that its config.json describes{found.complaint}")
    say("\nall tensors find their places", "bold")


def export(args: argparse.Namespace) -> None:
    """A run or a pretrained model as a folder for others."""
    from jaxemb.io.merge import opened_as

    model = opened_as(args.model, args.weights)
    if args.merge:
        from jaxemb.io.adapter import merge_adapter

        model = merge_adapter(model)
    written(model, args.folder)


def written(model: Embedder, folder: str) -> None:
    """Saves a model and says what opens it."""
    reason = model.save_pretrained(folder)
    also = "sentence-transformers opens it as well" if reason is None else f"sentence-transformers does not open it: {reason}"
    say(f"{folder}: config, weights and README.md; {also}")
    say(f"\nNext:  jaxemb show {shlex.quote(folder)}\n       jaxemb encode {shlex.quote(folder)} INPUT embeddings.npy")


def merge(args: argparse.Namespace) -> None:
    """Several models as one folder."""
    from jaxemb.discover import members
    from jaxemb.io.merge import merge_models

    known = {re.sub(r"(?<!^)(?=[A-Z])", "_", m.name).lower(): m for m in members("merging")}
    if args.method not in known:
        raise ConfigError(f"--method {args.method}: there is no such method{suggest(args.method, known)}")
    method = override(known[args.method].cls(), args.set)
    say(f"{brief(method)} of {', '.join(args.models)}" + (f", base {args.base}" if args.base else ""))
    written(merge_models(method, args.models, args.base, weights=args.weights), args.out)
