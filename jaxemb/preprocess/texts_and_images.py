"""Inputs of a model with two towers: strings are texts, everything else is an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.preprocess.base import DataError, Items, Preprocess, Spec
from jaxemb.preprocess.hf_images import PretrainedImages
from jaxemb.preprocess.hf_text import PretrainedText


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextsAndImages(Preprocess):
    """A string is a text; a `Path`, a Pillow image or an array is an image. A batch is of one kind, and has the arrays of that."""

    text: PretrainedText = dataclasses.field(default_factory=lambda: PretrainedText(length=77))
    images: PretrainedImages = dataclasses.field(default_factory=lambda: PretrainedImages(size=224))

    @property
    def spec(self) -> Spec:
        return {"text": self.text.spec, "image": self.images.spec}

    @property
    def length(self) -> int:
        """Tokens of a text at most."""
        return self.text.length

    @property
    def prompts(self) -> Mapping[str, str]:
        return self.text.prompts

    def __call__(self, items: Items, role: str = "document") -> dict[str, np.ndarray]:
        kinds = self.are_texts(items)
        if kinds.any() and not kinds.all():
            raise DataError("a batch has texts or images, not both: Embedder.encode takes them mixed")
        return self.text(items, role) if kinds.any() else self.images(items, role)

    def are_texts(self, items: Items) -> np.ndarray:
        """Of each item, whether it is a text."""
        return np.fromiter((isinstance(item, str) for item in items), bool, len(items))

    def read(self, path: Path) -> tuple[Any, list[str]]:
        """The lines of a text file, or the images of a folder or a file."""
        if path.suffix.lower() in (".txt", ".text", ".md"):
            return self.text.read(path)
        found, names = self.images.read(path)
        return (found, names) if isinstance(found, np.ndarray) else ([Path(f) for f in found], names)

    def state(self) -> dict[str, bytes]:
        return self.text.state()

    def stateless(self) -> TextsAndImages:
        return dataclasses.replace(self, text=self.text.stateless())

    def with_state(self, files: Mapping[str, bytes]) -> TextsAndImages:
        return dataclasses.replace(self, text=self.text.with_state(files))
