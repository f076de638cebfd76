"""Evaluations that are asked for by a word and `--set`, of a run that does not have them or of a pretrained folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from jaxemb.config import ConfigError, assigned, fields, from_json, suggest, to_json
from jaxemb.evals.base import Eval
from jaxemb.evals.clustering import Clustering
from jaxemb.evals.long_embed import Haystack, LongEmbed
from jaxemb.evals.pair_classification import PairClassification
from jaxemb.evals.retrieval import Retrieval
from jaxemb.evals.sts import STS
from jaxemb.evals.text_classification import TextClassification

KINDS: dict[str, type[Eval]] = {
    "retrieval": Retrieval,
    "sts": STS,
    "pairs": PairClassification,
    "clustering": Clustering,
    "classification": TextClassification,
    "longembed": LongEmbed,
    "haystack": Haystack,
}
"""Words for evaluations that bring texts of their own."""


def asked(what: str, doc: dict[str, Any], names: Sequence[str], changes: Sequence[str]) -> Any:
    """What the JSON form `doc` describes, after `changes`; its `evals` hold the `names` as well that are words for one."""
    new = [name for name in names if name not in doc["evals"] and name in KINDS]
    for name in new:
        doc["evals"][name] = _blank(KINDS[name])
    doc = assigned(doc, changes)
    for name in names:
        if name not in doc["evals"]:
            raise ConfigError(f"{what} has no evaluation {name!r}{suggest(name, doc['evals'])}; of your texts: {', '.join(KINDS)}")
    for name in new:
        given = doc["evals"][name]
        empty = [f for f in _required(KINDS[name]) if isinstance(given, dict) and given.get(f) is None]
        if empty:
            raise ConfigError(f"{name} needs a {empty[0]}: --set evals.{name}.{empty[0]}=...")
    return from_json(doc)


def _required(kind: type[Eval]) -> list[str]:
    missing = dataclasses.MISSING
    return [name for name, f in fields(kind).items() if f.default is missing and f.default_factory is missing]


def _blank(kind: type[Eval]) -> dict[str, Any]:
    """Its JSON form with null in what has no default."""
    blank = {name: None for name in _required(kind)}
    return to_json(kind(**cast("dict[str, Any]", dict.fromkeys(blank, "")))) | blank
