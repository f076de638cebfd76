"""Which pairs are held out: whole queries, and of labelled texts never the lone one of a label."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from jaxemb import files
from jaxemb.data.pair_records import Pair, Wanted, read_pairs
from jaxemb.data.split import carve
from jaxemb.preprocess.base import DataError


@functools.lru_cache(8)
def parts(path: str, changed: int, wanted: Wanted, test_share: float, valid_share: float) -> dict[str, tuple[Pair, ...]]:
    """The pairs of each split. Equal queries stay together. A text that is paired with others of its label, and would have none in
    its split, stays with the training texts, and so do those that it would have left without another one there."""
    pairs = read_pairs(path, changed, wanted)
    number: dict[str, int] = {}
    of = np.array([number.setdefault(p.query, len(number)) for p in pairs])
    first = carve(len(number), test_share)
    second = carve(len(first["train"]), valid_share)
    where = np.full(len(number), "train", "<U5")
    where[first["valid"]] = "test"
    where[first["train"][second["valid"]]] = "valid"
    while back := [q for q in _without_partner(pairs, where[of]) if where[number[q]] != "train"]:
        where[[number[q] for q in back]] = "train"
    return {name: tuple(pairs[i] for i in np.flatnonzero(where[of] == name)) for name in ("train", "valid", "test")}


def _without_partner(pairs: Sequence[Pair], splits: np.ndarray) -> Iterator[str]:
    """The queries of every label of which a split has a lone text; of the training split, all that could join it."""
    members: dict[str, dict[str, set[str]]] = {}
    alone: dict[str, bool] = {}
    for pair, split in zip(pairs, splits.tolist(), strict=True):
        members.setdefault(pair.label, {}).setdefault(split, set()).add(pair.query)
        alone[pair.label] = alone.get(pair.label, False) or pair.positive is None
    for label, own in members.items():
        for queries in own.values() if alone[label] else ():
            if len(queries) == 1:
                yield from set().union(*own.values()) if queries is own.get("train") else queries


def check_labels(found: Sequence[Pair], batches: bool = True) -> None:
    """Raises DataError where a text has nothing to be paired with or, in `batches`, nothing to be told from."""
    members: dict[str, list[Pair]] = {}
    for pair in found:
        members.setdefault(pair.label, []).append(pair)
    for label, own in members.items():
        if len({pair.query for pair in own}) < 2 and (alone := [pair for pair in own if pair.positive is None]):
            raise DataError(
                f"{alone[0].where}: the label {files.printable(label)} has one member, and a text is paired with another one of "
                "its label; leave the record out, or give it a second one"
            )
    if batches and len(members) < 2:
        raise DataError(
            f"{found[0].where}: all texts have the label {files.printable(next(iter(members)))}: there are no negatives"
        )


def check_tasks(found: Sequence[Pair]) -> None:
    """Raises DataError where a batch would be of one row alone."""
    rows: dict[str, list[Pair]] = {}
    for pair in found:
        rows.setdefault(pair.task, []).append(pair)
    if alone := [own[0] for own in rows.values() if len(own) < 2]:
        raise DataError(
            f"{alone[0].where}: the task {files.printable(alone[0].task)} has one row to train on, and a batch of it would be "
            "that row alone; leave the record out, give the task more, or name it after another one"
        )
