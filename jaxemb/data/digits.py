"""Handwritten digits, 8x8 grey: comes with scikit-learn, nothing is downloaded."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np

from jaxemb.data.image_data import ImageData
from jaxemb.data.pipeline import Table
from jaxemb.data.split import check_share, none_held_out
from jaxemb.types import Paper

COUNT_TEST = 360


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digits(ImageData):
    """1797 handwritten digits of 8x8 pixels (UCI, in scikit-learn): the first 1437 train, the last 360 test.

    Cut in file order, as scikit-learn's own example does: neighbours in the file come from the same hand, and a random cut
    would put them on both sides. The last tenth of the 1437, 143 digits, is held out for validation, for the same reason.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Optical Recognition of Handwritten Digits", 1998, "https://archive.ics.uci.edu/dataset/80"
    )

    size: int = 8
    channels: int = 1
    valid_share: float = 0.1
    """Share of the training digits, the last ones, that is held out for validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.valid_share)

    @property
    def usual_statistics(self):
        return (0.305,), (0.376,)

    def examples(self, split: str) -> Table:
        images, labels = _load()
        first = len(labels) - COUNT_TEST
        valid = int(first * self.valid_share)
        if split == "valid" and not valid:
            raise none_held_out("the digits", self.valid_share)
        part = {"train": slice(first - valid), "valid": slice(first - valid, first), "test": slice(first, None)}[split]
        return Table(images=np.repeat(images[part], self.channels, axis=-1), labels=labels[part])

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        return tuple("0123456789") if label == "labels" else ()


@functools.cache
def _load() -> tuple[np.ndarray, np.ndarray]:
    rows = np.loadtxt(_file(), np.int32, delimiter=",")
    pixels = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8)  # sixteen levels of grey
    return pixels.reshape(-1, 8, 8, 1), rows[:, -1]


def _file() -> Path:
    """Found without importing scikit-learn, which takes a second."""
    package = importlib.util.find_spec("sklearn")
    assert package and package.origin, "scikit-learn is installed with jaxemb"
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
