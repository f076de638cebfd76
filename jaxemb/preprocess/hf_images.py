"""Images as a pretrained model was trained to see them: resized by Pillow, cut, scaled, as preprocessor_config.json says."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxemb import files
from jaxemb.config import ConfigError, choices
from jaxemb.preprocess.base import DataError, Items
from jaxemb.preprocess.images import ImagePreprocess
from jaxemb.preprocess.pixels import IMAGENET, to_pixels

FILE = "preprocessor_config.json"
RESAMPLES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters."""
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
USUAL = {
    "clip": CLIP,
    "dinov2": IMAGENET,
    "dinov2_with_registers": IMAGENET,
    "dinov3_vit": IMAGENET,
    "vit_mae": IMAGENET,
    "ijepa": IMAGENET,
}
"""Mean and deviation of the channels by model_type, where a folder does not say; others: .5."""
UNBOUNDED = 2**24
"""Pixels of a side: nothing is made smaller when it is read."""

log = logging.getLogger("jaxemb")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainedImages(ImagePreprocess):
    """The shorter side brought to `shorter` and the centre cut out, or both sides brought to `size`; then (x / 255 - mean) / std.

    An item is a file name, a Pillow image, or an array H W c, uint8 or floats in [0, 1]. One array: `images` (size size c).
    """

    shorter: int | None = None
    """Pixels of the shorter side before the cut; None: the whole image is brought to `size`, whatever its proportions."""
    resample: str = "bicubic"
    """Pillow's filter, which averages where it makes images smaller."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, resample=RESAMPLES.values())
        if self.shorter is not None and self.shorter < self.size:
            raise ConfigError(f"shorter={self.shorter} leaves no square of size={self.size} to cut out")

    def __call__(self, items: Items, role: str = "document") -> dict[str, np.ndarray]:
        if not len(items):
            return super().__call__(items, role)
        with ThreadPoolExecutor(4) as pool:
            return {"images": self.normalised(np.stack(list(pool.map(self._fitted, items))))}

    def _fitted(self, item: Any) -> UInt8[np.ndarray, "s s c"]:
        from PIL import Image

        x = to_pixels(item, self.channels, UNBOUNDED)
        height, width = x.shape[:2]
        if self.shorter is None:
            size = (self.size, self.size)
        elif width <= height:
            size = (self.shorter, int(self.shorter * height / width))
        else:
            size = (int(self.shorter * width / height), self.shorter)
        image = Image.fromarray(x if self.channels > 1 else x[..., 0])
        image = image.resize(size, Image.Resampling[self.resample.upper()]) if size != (width, height) else image
        left, top = (size[0] - self.size) // 2, (size[1] - self.size) // 2
        found = np.asarray(image)[top : top + self.size, left : left + self.size]
        return found if found.ndim == 3 else found[..., None]


def read_image_preprocess(folder: Path, *, kind: str, size: int) -> PretrainedImages:
    """What the folder says; where it says nothing, what transformers does for this `kind` of model, which the log tells."""
    if not files.is_regular(folder / FILE):
        mean, std = USUAL.get(kind, HALF)
        log.warning("%s has no %s: images are brought to %d x %d, mean %s, std %s", folder, FILE, size, size, mean, std)
        return PretrainedImages(size=size, mean=mean, std=std)
    try:
        doc = files.read_json(folder / FILE)
    except files.FileError as e:
        raise DataError(str(e)) from e
    shown = files.printable(folder / FILE)
    if not isinstance(doc, dict):
        raise DataError(f"{shown} is damaged: it holds a {type(doc).__name__}")
    for name, only in (("do_resize", True), ("do_rescale", True)):
        if doc.get(name, only) is not only:
            raise ConfigError(f"{shown}: {name}={doc[name]} is not supported; only {only}")
    if abs((factor := doc.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-3:
        raise ConfigError(f"{shown}: rescale_factor={factor} is not supported; only 1/255")
    if (filter_ := doc.get("resample", 2 if kind.startswith("vit") else 3)) not in RESAMPLES:
        raise ConfigError(f"{shown}: resample={filter_} is not supported; supported: {RESAMPLES}")
    mean, std = USUAL.get(kind, HALF)
    normal = doc.get("do_normalize", True)
    mean = tuple(doc.get("image_mean") or mean) if normal else (0.0,) * 3
    std = tuple(doc.get("image_std") or std) if normal else (1.0,) * 3
    cut = bool(doc.get("do_center_crop", kind == "clip"))
    given = doc.get("size", {"shortest_edge": size} if cut else size)
    side = _side(shown, "crop_size" if cut else "size", doc.get("crop_size", size) if cut else given)
    shorter = given.get("shortest_edge") if isinstance(given, Mapping) else given if cut else None
    if shorter is None and cut and side != _side(shown, "size", given):
        raise ConfigError(f"{shown}: size={given} with crop_size={side} is not supported; only a shortest_edge, or both alike")
    return PretrainedImages(size=side, shorter=shorter, mean=mean, std=std, resample=RESAMPLES[filter_])


def _side(shown: str, name: str, given: Any) -> int:
    """The side of a square."""
    sides = {given} if isinstance(given, int) else {given[k] for k in ("height", "width", "shortest_edge") if k in given}
    if len(sides) != 1 or not isinstance(side := sides.pop(), int) or side < 1:
        raise ConfigError(f"{shown}: {name}={given} is not supported; only squares")
    return side
