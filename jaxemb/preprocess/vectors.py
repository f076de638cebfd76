"""Vectors of a model that was run before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.config import within
from jaxemb.preprocess.base import ArraySpec, DataError, Items, Preprocess, Spec
from jaxemb.preprocess.npz import read_array_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vectors(Preprocess):
    """An item is `width` finite numbers. One array: `vectors` float32."""

    width: int

    def __post_init__(self) -> None:
        within(self, width=(1, 2**20))

    @property
    def spec(self) -> Spec:
        return {"vectors": ArraySpec((self.width,))}

    def __call__(self, items: Items, role: str = "document") -> dict[str, np.ndarray]:
        if not len(items):
            return {"vectors": np.zeros((0, self.width), np.float32)}
        return {"vectors": checked(np.asarray(items), self.width, "inputs")}

    def read(self, path: Path) -> tuple[Any, list[str]]:
        """The rows of an .npy."""
        single, _, _ = read_array_file(path, ())
        if single is None:
            raise DataError(f"{path} is an .npz of several arrays; vectors are read from an .npy, an array (n, {self.width})")
        return checked(single, self.width, str(path)), []


def checked(x: np.ndarray, width: int, what: str) -> np.ndarray:
    """Rows of `width` finite numbers in float32."""
    if x.ndim != 2 or x.shape[1] != width or not np.issubdtype(x.dtype, np.floating):
        raise DataError(f"{what} must be vectors of width={width} numbers (n, {width}), not {x.dtype} of shape {x.shape}")
    if len(bad := np.flatnonzero(~np.isfinite(x).all(1))):
        raise DataError(f"{what}: {len(bad)} rows with entries that are not finite, the first is row {bad[0]}")
    return x.astype(np.float32)
