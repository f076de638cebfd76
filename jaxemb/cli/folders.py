"""Verbs on pretrained folders: `show FOLDER`, `export`."""

from __future__ import annotations

from jaxemb.cli.describe import brief, by_module
from jaxemb.config import is_config
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
