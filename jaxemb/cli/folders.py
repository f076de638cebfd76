"""Verbs on pretrained folders: `show FOLDER`, `export`."""

from __future__ import annotations

import argparse
import shlex

from jaxemb.cli.describe import by_module
from jaxemb.config import brief, is_config
from jaxemb.io.hub import resolve
from jaxemb.io.preview import preview
from jaxemb.io.tensors import WeightsError
from jaxemb.log.table import say, table


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
    from jaxemb.io.embedder import Embedder
    from jaxemb.io.evaluate import is_pretrained

    if is_pretrained(args.model):
        model = Embedder.from_pretrained(args.model)
    else:
        model = Embedder.from_run(args.model, weights=args.weights)
    if args.merge:
        from jaxemb.io.adapter import merge_adapter

        model = merge_adapter(model)
    reason = model.save_pretrained(args.folder)
    also = "sentence-transformers opens it as well" if reason is None else f"sentence-transformers does not open it: {reason}"
    say(f"{args.folder}: config, weights and README.md; {also}")
    say(f"\nNext:  jaxemb show {shlex.quote(args.folder)}\n       jaxemb encode {shlex.quote(args.folder)} INPUT embeddings.npy")
