"""Images from an .npz file."""

from __future__ import annotations

import dataclasses
import functools
import zipfile
from pathlib import Path

import numpy as np

from jaxemb.data.base import DataError
from jaxemb.data.pipeline import ImageData, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrays(ImageData):
    """`images` (n H W c or n H W, uint8), optional `labels` (n), and `images_test`, `labels_test`.

    Without `images_test` every tenth image is kept for evaluation.
    """

    path: str = "images.npz"

    def open(self, split: str) -> Source:
        return _load(self.path, self.channels)[split]


@functools.lru_cache(maxsize=4)
def _load(path: str, channels: int) -> dict[str, Source]:
    if not Path(path).is_file():
        raise DataError(f"there is no file {path!r} (looked for {Path(path).absolute()}); set data.path to an .npz with `images`")
    try:
        with np.load(path) as f:
            arrays = {k: f[k] for k in f.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise DataError(f"{path} cannot be read as .npz, it may be cut off or damaged: {e}") from e
    if "images" not in arrays:
        raise DataError(f"{path} has no array `images`; it has {', '.join(arrays) or 'none'}")
    train = _part(arrays, path, channels, "")
    if "images_test" in arrays:
        return {"train": train, "test": _part(arrays, path, channels, "_test")}
    if len(train) < 2:
        raise DataError(
            f"{path} has {len(train)} image; with no `images_test`, at least two are needed for training and evaluation"
        )
    held = np.arange(len(train)) % 10 == (9 if len(train) > 9 else 1)
    return {s: Source(train.images[m], {"labels": train.labels["labels"][m]}) for s, m in (("train", ~held), ("test", held))}


def _part(arrays: dict[str, np.ndarray], path: str, channels: int, end: str) -> Source:
    images, labels = arrays[f"images{end}"], arrays.get(f"labels{end}")
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DataError(f"{path}: images{end} must be uint8 of shape (n, H, W) or (n, H, W, c), is {images.dtype} {images.shape}")
    if images.shape[-1] != channels:
        raise DataError(f"{path}: images{end} has {images.shape[-1]} channels, but data.channels={channels}")
    if labels is not None and (labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer)):
        raise DataError(f"{path}: labels{end} must be {len(images)} whole numbers, is {labels.dtype} {labels.shape}")
    return Source(images, {"labels": np.full(len(images), -1, np.int32) if labels is None else labels.astype(np.int32)})
