"""A folder of image files: your own photographs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.pipeline import ImageData, Source, decode_image, read_image

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
log = logging.getLogger("jaxemb")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageData):
    """Every image below `path`, at any depth. Files that cannot be read are named and skipped.

    If all images lie in sub-folders, the first level of folders are the classes; else labels are -1. Two folders `train` and
    `test` (or `val`) directly below `path` are the splits; without them a share `test_share` of the files, chosen by a hash of
    their names, is kept for evaluation.
    """

    path: str = "images"
    size: int = 64
    test_share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.test_share < 1:
            raise ConfigError(f"test_share must lie between 0 and 1, is {self.test_share}")

    def open(self, split: str) -> Source:
        files, labels, _ = _listing(self.path, self.test_share, self.channels)[split]
        if not files:
            raise DataError(f"{self.path}: no readable image for the split {split!r}")
        return FolderSource(files, labels, self.channels)

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        return _listing(self.path, self.test_share, self.channels)["train"][2]


class FolderSource(Source):
    """Reads files when they are asked for, two at a time (OpenCV works outside the interpreter lock)."""

    def __init__(self, files: list[Path], labels: np.ndarray, channels: int):
        self.files, self.labels, self._channels = files, {"labels": labels}, channels

    def __len__(self) -> int:
        return len(self.files)

    def gather(self, ids: np.ndarray) -> list[np.ndarray]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda i: read_image(self.files[i], self._channels), ids))


@functools.lru_cache(maxsize=4)
def _listing(path: str, share: float, channels: int) -> dict[str, tuple[list[Path], np.ndarray, tuple[str, ...]]]:
    """{split: (files, labels, names of the classes)}"""
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {path!r} (looked for {root.absolute()}); set data.path to a folder of images")
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not found:
        raise DataError(f"{root} holds no image file ({', '.join(sorted(ENDINGS))})")
    files = _readable(found, channels)
    if not files:
        raise DataError(f"none of the {len(found)} image files in {root} can be read")
    homes = {"train": root / "train", "test": next((root / n for n in ("test", "val") if (root / n).is_dir()), root / "test")}
    if all(home.is_dir() for home in homes.values()):
        parts = {split: [p for p in files if home in p.parents] for split, home in homes.items()}
    else:
        homes = {"train": root, "test": root}
        held = {p for p in files if _hash(p.relative_to(root)) < share} or {files[-1]}
        parts = {"train": [p for p in files if p not in held], "test": [p for p in files if p in held]}
    classes = [p.relative_to(homes[split]).parts for split, group in parts.items() for p in group]
    named = bool(classes) and all(len(c) > 1 for c in classes)
    names = tuple(sorted({c[0] for c in classes})) if named else ()
    number = {name: i for i, name in enumerate(names)}
    out = {}
    for split, group in parts.items():
        ids = [number[p.relative_to(homes[split]).parts[0]] if named else -1 for p in group]
        out[split] = (group, np.array(ids, np.int32), names)
    return out


def _readable(files: list[Path], channels: int) -> list[Path]:
    """Those that decode; the others are named in a warning. Reading all of them once is what makes the order final."""
    with ThreadPoolExecutor(2) as pool:
        good = list(pool.map(lambda p: decode_image(np.fromfile(p, np.uint8), channels) is not None, files))
    bad = [p for p, ok in zip(files, good, strict=True) if not ok]
    if bad:
        named = ", ".join(str(p) for p in bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")
        log.warning("skipped %d of %d image files that cannot be read: %s", len(bad), len(files), named)
    return [p for p, ok in zip(files, good, strict=True) if ok]


def _hash(path: Path) -> float:
    """A number in [0, 1) that depends on the name alone: adding files moves none of the others to the other split."""
    return int.from_bytes(hashlib.blake2b(path.as_posix().encode(), digest_size=8).digest(), "big") / 2**64
