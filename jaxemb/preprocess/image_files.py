"""The image files below a folder, and those of them that can be read."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxemb import files
from jaxemb.files import printable
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.npz import read_array_file
from jaxemb.preprocess.pixels import read, read_header

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
OTHERS = tuple(".heic .heif .avif .jxl .svg .eps .psd .ico .tga .raw .cr2 .cr3 .nef .arw .dng .orf .rw2 .exr .hdr".split())
"""Endings of images that are not read: they are counted, and said once."""
CHECKED = 2**31
"""Bytes of image files up to which each is decoded when the folder is opened; in larger folders only the headers are read."""
SHOWN = 20

log = logging.getLogger("jaxemb")


class File(NamedTuple):
    """An image file below the folder."""

    path: str
    """Relative, with forward slashes: the same on every machine."""
    bytes: int
    changed: int


def find_files(root: str, endings: tuple[str, ...] = ENDINGS) -> tuple[File, ...]:
    """All files with one of the endings, in the order of their paths; folders and files that begin with a dot are left out.

    A file is there once, however many links lead to it: else its copies would be trained on and evaluated. Links to folders are
    followed, circles are not.
    """
    found: dict[Any, File] = {}
    for path, status in _walk(root):
        if path.lower().endswith(endings):
            file = File(path, status.st_size, status.st_mtime_ns) if status else File(path, 0, 0)  # None: a link to nowhere
            found.setdefault((status.st_dev, status.st_ino) if status and status.st_ino else path, file)
    return tuple(sorted(found.values()))


def _walk(root: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """(path with forward slashes, status) of every file: first what lies there, then what links lead to; None: to nowhere."""
    folders, links, late = [(root, "", False)], list[tuple[str, str, bool]](), list[tuple[str, os.stat_result | None]]()
    seen = set()
    while folders or links:
        folder, prefix, linked = folders.pop() if folders else links.pop(0)
        try:
            status = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda e: e.name) if (status.st_dev, status.st_ino) not in seen else []
        except OSError:  # a folder that may not be read
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            by_link = linked or entry.is_symlink()
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append((entry.path, f"{prefix}{entry.name}/", by_link))
                continue
            try:
                about = (prefix + entry.name, entry.stat())
            except OSError:
                about = (prefix + entry.name, None)
            if by_link:
                late.append(about)
            else:
                yield about
    yield from sorted(late, key=lambda about: about[0])


def not_read(root: str) -> str:
    """The image files in formats that are not read, by ending: "; not read: 3 .heic, 1 .svg"."""
    endings = Counter(os.path.splitext(path)[1].lower() for path, _ in _walk(root))
    there = [f"{n} {ending}" for ending, n in sorted(endings.items()) if ending in OTHERS]
    return f"; not read: {', '.join(there)}" if there else ""


def say_not_read(root: str) -> None:
    """Names in the log what was passed over for its ending, and the links."""
    if text := not_read(root):
        log.warning("%s%s (convert them to .jpg or .png)", printable(root), text)
    there = [(s.st_dev, s.st_ino) for path, s in _walk(root) if s and s.st_ino and path.lower().endswith(ENDINGS)]
    if copies := len(there) - len(set(there)):
        log.warning("%s: %d links to images that are there already are left out", printable(root), copies)


def readable(root: str, found: tuple[File, ...], channels: int, size: int) -> tuple[File, ...]:
    """The files that can be read; the others are named in the log."""
    whole = sum(f.bytes for f in found) <= CHECKED

    def problem(file: File) -> str:
        try:
            read(Path(root, file.path), channels, size) if whole else read_header(Path(root, file.path))
        except DataError as e:
            return str(e)
        return ""

    with ThreadPoolExecutor(4) as pool:
        problems = dict(zip(found, pool.map(problem, found), strict=True))
    if bad := [text for text in problems.values() if text]:
        shown = "".join(f"\n  {text}" for text in bad[:SHOWN]) + (f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
        log.warning("%s: %d of %d image files cannot be read and are skipped:%s", root, len(bad), len(found), shown)
    return tuple(f for f in found if not problems[f])


def read_images(path: Path, channels: int, size: int) -> tuple[Any, list[str]]:
    """(arrays or file names, their names): a folder's images at any depth in order, an image, an .npy, or `images` of an .npz.

    Of a folder the files that cannot be read with these channels are named in the log and skipped. Rows of an array have no
    names.
    """
    if files.is_folder(path):
        found = find_files(str(path))
        if not found:
            raise DataError(
                f"there is no image in {files.printable(path)} or below it; looked for {', '.join(ENDINGS)}{not_read(str(path))}"
            )
        say_not_read(str(path))
        images = [str(path / f.path) for f in readable(str(path), found, channels, size)]
        if not images:
            raise DataError(f"none of the {len(found)} image files in {files.printable(path)} can be read")
        return images, images
    if not files.is_regular(path):
        raise DataError(f"there is no file or folder {files.printable(path)}")
    if path.suffix.lower() in (".npy", ".npz"):
        return _array(path), []
    return [str(path)], [str(path)]


def _array(path: Path) -> np.ndarray:
    """The array of an .npy, or `images` of an .npz. Pickles are not read: they could run code."""
    single, arrays, there = read_array_file(path, ("images",))
    found = arrays.get("images") if single is None else single
    if found is None:
        raise DataError(f"{path} has no array `images`; it has {', '.join(map(files.printable, there)) or 'none'}")
    if found.ndim != 4:
        raise DataError(f"{path}: images must have the shape (n, H, W, c), not {found.shape}")
    return found
