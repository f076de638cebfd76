"""Checksums of a folder: Orbax restores array bytes with a flipped bit without a word.

A manifest holds {relative path: [bytes, blake2b]} of every file of a folder. That of a checkpoint, beside it in
`checkpoints/<step>.manifest.json`, appears after the save is final, in one piece; so a step that has one and matches it is
complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxemb.files import digest, is_regular, printable
from jaxemb.run.files import RunError, Where, read_json, size, walked, write_text

UNSEALED = "it has no manifest, so its save was cut off"


def manifest_path(folder: Where, step: int) -> epath.Path:
    """Beside the step's folder, not inside."""
    return epath.Path(folder) / f"{step}.manifest.json"


def seal(folder: Where, step: int) -> None:
    """Writes the manifest of a step, and removes those of steps that are gone."""
    folder = epath.Path(folder)
    write_text(manifest_path(folder, step), json.dumps(entries(folder / str(step)), indent=0), sync=True)
    for other in folder.glob("*.manifest.json"):
        if not (folder / other.name.split(".")[0]).is_dir():
            other.unlink(missing_ok=True)


def remove(folder: Where, step: int) -> None:
    """Removes a step. The manifest goes first: what a killed process leaves of the rest is no complete step."""
    folder = epath.Path(folder)
    manifest_path(folder, step).unlink(missing_ok=True)
    (folder / str(step)).rmtree(missing_ok=True)


def fault(folder: Where, step: int, part: tuple[int, int] = (0, 1)) -> str | None:
    """What is wrong with a step, in words; None if every byte is as it was written. `part` (i, n) looks at the i-th of n shares."""
    if not is_regular(manifest_path(folder, step)):
        return UNSEALED
    try:
        return difference(epath.Path(folder) / str(step), read_json(manifest_path(folder, step)), part)
    except RunError:
        return "its manifest is damaged"


def entries(folder: epath.Path) -> dict[str, tuple[int, str]]:
    """The manifest of a folder."""
    return {str(f.relative_to(folder)): (size(f), digest(f)) for f in walked(folder) if is_regular(f)}


def difference(folder: epath.Path, entries: Mapping[str, Any], part: tuple[int, int] = (0, 1)) -> str | None:
    """What the files of a folder have against its manifest, in words."""
    for name, entry in share(entries, *part).items():
        bytes_, checksum = entry
        file = folder / name
        if ".." in file.parts or epath.Path(name).is_absolute():
            return f"its manifest names {printable(name)}, which lies outside"
        if not is_regular(file):
            return f"{printable(name)} is missing"
        if size(file) != bytes_:
            return f"{name} has {size(file)} bytes instead of {bytes_}"
        if digest(file) != checksum:
            return f"the bytes of {name} have changed"
    return None


def share(entries: Mapping[str, Any], index: int, count: int) -> dict[str, Any]:
    """The entries that process `index` of `count` looks at: of all, from the largest on, each to the one with least so far."""
    if not all(isinstance(e, list) and len(e) == 2 and isinstance(e[0], int) for e in entries.values()):
        raise RunError("a manifest holds [bytes, checksum] of each file")
    loads = [0] * count
    mine = set()
    for name in sorted(entries, key=lambda name: (-entries[name][0], name)):
        lightest = loads.index(min(loads))
        loads[lightest] += entries[name][0] + 1
        mine |= {name} if lightest == index else set()
    return {name: entry for name, entry in entries.items() if name in mine}
