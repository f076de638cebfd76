"""What a user hands over to be embedded: image files, folders, arrays in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxemb import files
from jaxemb.data.base import DataError
from jaxemb.data.folder import ENDINGS, find_files, not_read, readable, say_not_read
from jaxemb.data.image_data import ImageData
from jaxemb.data.npz import read_array_file


def read_inputs(path: Path, data: ImageData) -> tuple[Any, list[str]]:
    """(arrays or file names, their names): a folder's images at any depth in order, an image, an .npy, or `images` of an .npz.

    Of a folder the files that cannot be read as `data` reads them are named in the log and skipped. Rows of an array have no
    names.
    """
    if files.is_folder(path):
        found = find_files(str(path))
        if not found:
            raise DataError(
                f"there is no image in {files.printable(path)} or below it; looked for {', '.join(ENDINGS)}{not_read(str(path))}"
            )
        say_not_read(str(path))
        images = [str(path / f.path) for f in readable(str(path), found, data.channels, data.size)]
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
