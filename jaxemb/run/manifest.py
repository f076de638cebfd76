"""Checksums of a checkpoint: Orbax restores array bytes with a flipped bit without a word.

`checkpoints/<step>.manifest.json` holds {relative path: [bytes, blake2b]} of every file under `checkpoints/<step>/`. It appears
after the save is final, in one piece; so a step that has one and matches it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from jaxemb import files


def manifest_path(folder: Path, step: int) -> Path:
    """Beside the step's folder, not inside."""
    return folder / f"{step}.manifest.json"


def seal(folder: Path, step: int) -> None:
    """Writes the manifest of a step, and removes those of steps that are gone."""
    inside = folder / str(step)
    entries = {str(f.relative_to(inside)): [f.stat().st_size, digest(f)] for f in sorted(inside.rglob("*")) if f.is_file()}
    temporary = folder / f"{step}.manifest.tmp"
    with open(temporary, "w") as f:
        json.dump(entries, f, indent=0)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, manifest_path(folder, step))
    for other in folder.glob("*.manifest.json"):
        if not (folder / other.name.split(".")[0]).is_dir():
            other.unlink(missing_ok=True)


def fault(folder: Path, step: int) -> str | None:
    """What is wrong with a step, in words; None if every byte is as it was written."""
    if not files.is_regular(manifest_path(folder, step)):
        return "it has no manifest, so its save was cut off"
    try:
        for name, (size, checksum) in files.read_json(manifest_path(folder, step)).items():
            file = folder / str(step) / name
            if ".." in Path(name).parts or Path(name).is_absolute():
                return f"its manifest names {files.printable(name)}, which lies outside"
            if not files.is_regular(file):
                return f"{files.printable(name)} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes instead of {size}"
            if digest(file) != checksum:
                return f"the bytes of {name} have changed"
    except (ValueError, TypeError, AttributeError, OSError):
        return "its manifest is damaged"
    return None


def digest(file: Path) -> str:
    """blake2b of a file's bytes, 128 bits."""
    with open(file, "rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
