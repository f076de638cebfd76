"""What a user hands over to be embedded: image files, folders, arrays in a file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.data.base import DataError
from jaxemb.data.folder import ENDINGS, find_files, readable
from jaxemb.data.image_data import ImageData


def read_inputs(path: Path, data: ImageData) -> tuple[Any, list[str]]:
    """(arrays or file names, their names): a folder's images at any depth in order, an image, an .npy, or `images` of an .npz.

    Of a folder the files that cannot be read as `data` reads them are named in the log and skipped. Rows of an array have no
    names.
    """
    if path.is_dir():
        found = find_files(str(path))
        if not found:
            raise DataError(f"there is no image in {path} or below it; looked for {', '.join(ENDINGS)}")
        files = [str(path / f.path) for f in readable(str(path), found, data.channels, data.size)]
        if not files:
            raise DataError(f"none of the {len(found)} image files in {path} can be read")
        return files, files
    if not path.is_file():
        raise DataError(f"there is no file or folder {path}")
    if path.suffix.lower() in (".npy", ".npz"):
        return _array(path), []
    return [str(path)], [str(path)]


def _array(path: Path) -> np.ndarray:
    """The array of an .npy, or `images` of an .npz. Pickles are not read: they could run code."""
    try:
        with open(path, "rb") as stream:  # opened here: np.load leaves a broken file open
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            there = found.files
            if "images" in there:
                return found["images"]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as e:
        raise DataError(f"{path} cannot be read: {e}") from e
    raise DataError(f"{path} has no array `images`; it has {', '.join(there) or 'none'}")
