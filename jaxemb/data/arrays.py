"""Images from an .npz file."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np

from jaxemb.config import suggest
from jaxemb.data.base import DataError
from jaxemb.data.image_data import ImageData
from jaxemb.data.pipeline import Table
from jaxemb.data.split import carve, check_share, none_held_out
from jaxemb.preprocess.npz import read_array_file


@dataclasses.dataclass(frozen=True)
class Arrays(ImageData):
    """An .npz with `images` (uint8, n H W c or n H W), perhaps `labels` (whole numbers, n), `images_test`, `labels_test`.

    Without `images_test` every tenth image is held out for testing. Without labels they are -1. Any number of channels goes,
    when the fields `channels`, `mean` and `std` say so.
    """

    path: str
    """The file."""
    _: dataclasses.KW_ONLY
    valid_share: float = 0.1
    """Share of the training images, evenly spaced, that is held out for validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.valid_share)

    def examples(self, split: str) -> Table:
        file = Path(self.path).expanduser()
        if not file.is_file():
            raise DataError(
                f"there is no file {self.path!r} (looked for {file.absolute()}); set data.path to an .npz with `images`"
            )
        columns = _load(str(file), file.stat().st_mtime_ns)
        rest = _columns(columns, self.path, "", self.channels)
        if "images_test" in columns and split == "test":
            return _columns(columns, self.path, "_test", self.channels)
        ids = np.arange(len(rest))
        if "images_test" not in columns:
            if split == "test" and len(rest) < 10:
                raise DataError(f"{self.path}: {len(rest)} images are too few to hold out every tenth; add `images_test`")
            if split == "test":
                return Table(**rest[ids % 10 == 9])
            ids = ids[ids % 10 != 9]
        held = ids[carve(len(ids), self.valid_share)[split]]
        if not len(held):
            raise none_held_out(self.path, self.valid_share)
        return Table(**rest[held])


@functools.lru_cache(2)
def _load(path: str, changed: int) -> dict[str, np.ndarray]:
    """The arrays of the file; `changed` is its time stamp, so that a new version is read anew."""
    try:
        single, found, there = read_array_file(Path(path), ("images", "labels", "images_test", "labels_test"))
    except DataError as e:
        raise DataError(f"{e} (data.path must be an .npz, written by np.savez)") from e
    if single is not None:
        raise DataError(f"{path} cannot be read as .npz: it is a single array; write np.savez(path, images=...)")
    if "images" not in found:
        raise DataError(f"{path} has no array 'images'{suggest('images', there)}")
    return found


def _columns(columns: dict[str, np.ndarray], path: str, end: str, channels: int) -> Table:
    images, labels = columns[f"images{end}"], columns.get(f"labels{end}")
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"{path}: images{end} must be uint8 of shape (n, H, W) or (n, H, W, c), not {images.dtype} {images.shape}")
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[-1] != channels:
        if (images.shape[-1], channels) != (1, 3):
            raise DataError(f"{path}: images{end} has {images.shape[-1]} channels; set data.channels to that, it is {channels}")
        images = np.broadcast_to(images, (*images.shape[:3], 3))
    if labels is None:
        labels = np.full(len(images), -1)
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: labels{end} must be {len(images)} whole numbers, not {labels.dtype} {labels.shape}")
    return Table(images=images, labels=labels.astype(np.int32))
