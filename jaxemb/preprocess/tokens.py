"""Rows of token ids that come as they are."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxemb.preprocess.base import ArraySpec, DataError, Items, Preprocess, Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenIds(Preprocess):
    """An item is `length` whole numbers below `vocabulary`. One array: `tokens` int32."""

    length: int
    vocabulary: int

    @property
    def spec(self) -> Spec:
        return {"tokens": ArraySpec((self.length,), "int32")}

    def __call__(self, items: Items, role: str = "document") -> dict[str, np.ndarray]:
        return {"tokens": np.array([self._checked(np.asarray(item)) for item in items], np.int32).reshape(-1, self.length)}

    def _checked(self, ids: np.ndarray) -> np.ndarray:
        if ids.shape != (self.length,) or not np.issubdtype(ids.dtype, np.integer):
            raise DataError(f"an input is length={self.length} whole numbers, not {ids.dtype} of shape {ids.shape}")
        if ids.min() < 0 or ids.max() >= self.vocabulary:
            raise DataError(f"ids lie in 0 to {self.vocabulary - 1}, not {ids.min()} to {ids.max()}")
        return ids
