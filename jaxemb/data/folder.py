"""A folder of image files: your own photos."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxemb.data.base import DataError
from jaxemb.data.image_data import ImageData
from jaxemb.data.pipeline import Example, Kept
from jaxemb.data.split import check_share, none_held_out
from jaxemb.files import is_folder, printable
from jaxemb.preprocess.image_files import ENDINGS, File, find_files, not_read, readable, say_not_read
from jaxemb.preprocess.pixels import read

FOLDERS = {"train": ("train", "training"), "test": ("test",), "valid": ("val", "valid", "validation")}
"""Folders that are taken for splits."""
log = logging.getLogger("jaxemb")


@dataclasses.dataclass(frozen=True, eq=False)  # compared and hashed by identity: `_sort` keeps one for a folder's contents
class Listing:
    """The readable files of a folder by split, their labels, and the names of the classes."""

    files: dict[str, tuple[File, ...]]
    labels: dict[str, np.ndarray]
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ImageFolder(ImageData):
    """Every image file below a folder, at any depth. Files that cannot be read are named in the log and skipped.

    Splits: sub-folders `train`, `test` and `val` where there are `train` and another one (`val` is the test where it is the only
    other); else the share `test_share` of the files is held out, chosen by a hash of the relative path, so that adding files moves
    no other. Without a folder for it, `valid_share` of the training files is held out for validation in the same way. Classes: the
    first folder below (the split, or the folder itself) where every image lies in one; else all labels are -1.
    """

    path: str
    """The folder."""
    _: dataclasses.KW_ONLY
    test_share: float = 0.1
    """Share of the files held out for testing, where there is no folder for them."""
    valid_share: float = 0.1
    """Share of the training files held out for validation, where there is no folder for them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.valid_share, self.test_share)

    def examples(self, split: str) -> Kept:
        listing = self._listing
        if not listing.files[split]:
            if split == "valid":
                raise none_held_out(self.path, self.valid_share)
            raise DataError(f"{self.path}: no image fell into the split {split!r}; change data.test_share, now {self.test_share}")
        return _open(self._root, listing, split, self.channels, self.size, self.memory)

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        return self._listing.classes if label == "labels" else ()

    @property
    def _root(self) -> str:
        root = Path(self.path).expanduser()
        if not is_folder(root):
            raise DataError(
                f"there is no folder {self.path!r} (looked for {printable(root.absolute())}); set data.path to a folder of images"
            )
        return str(root)

    @property
    def _listing(self) -> Listing:
        return _sort(self._root, find_files(self._root), self.test_share, self.valid_share, self.channels, self.size)


@functools.lru_cache(4)
def _sort(root: str, found: tuple[File, ...], test_share: float, valid_share: float, channels: int, size: int) -> Listing:
    """Checks the files, and gives each its split and its class."""
    if not found:
        raise DataError(
            f"{printable(root)} holds no image file (endings: {' '.join(ENDINGS)}), nor does any folder below it{not_read(root)}"
        )
    say_not_read(root)
    usable = readable(root, found, channels, size)
    if not usable:
        raise DataError(f"none of the {len(found)} image files in {printable(root)} can be read")
    given = _folders({f.path.split("/")[0] for f in usable if "/" in f.path})
    depth = int(bool(given))
    if given:
        files = {split: tuple(f for f in usable if f.path.startswith(f"{top}/")) for split, top in given.items()}
        if left_out := len(usable) - sum(map(len, files.values())):
            log.warning(
                "%s: %d images lie outside of the folders %s and are not used", root, left_out, " and ".join(given.values())
            )
    else:
        files = {s: tuple(f for f in usable if (_place(f.path) < test_share) == (s == "test")) for s in ("train", "test")}
    if "valid" not in files:  # a place of its own: the same number would hold out files next to those of the test
        held = {f for f in files["train"] if _place(f"valid {f.path}") < valid_share}
        files |= {s: tuple(f for f in files["train"] if (f in held) == (s == "valid")) for s in ("train", "valid")}
    parts = {split: [f.path.split("/")[depth:] for f in group] for split, group in files.items()}
    labelled = all(len(p) > 1 for group in parts.values() for p in group)
    classes = tuple(sorted({p[0] for group in parts.values() for p in group})) if labelled else ()
    number = {name: i for i, name in enumerate(classes)}
    labels = {split: np.array([number.get(p[0], -1) for p in group], np.int32) for split, group in parts.items()}
    return Listing(files, labels, classes)


def _folders(tops: set[str]) -> dict[str, str]:
    """The folder of each split; none where there are not two of them."""
    given = {split: name for split, names in FOLDERS.items() if (name := next((n for n in names if n in tops), None))}
    if "train" not in given or len(given) < 2:
        return {}
    if "test" not in given:  # the usual layout of ImageNet and its kin: what was never trained on is what is tested
        given["test"] = given.pop("valid")
    return given


def _place(path: str) -> float:
    """A number in [0, 1) that depends on the path alone."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "big") / 2**64


@functools.lru_cache(4)
def _open(root: str, listing: Listing, split: str, channels: int, size: int, memory: int) -> Kept:
    paths, labels = listing.files[split], listing.labels[split]

    def read_files(indices: Sequence[int]) -> list[Example]:
        return [{"images": read(Path(root, paths[i].path), channels, size), "labels": labels[i]} for i in indices]

    return Kept(read_files, len(paths), memory * 2**20, {"labels": labels})
