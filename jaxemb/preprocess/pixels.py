"""Pixels: from whatever a user has (a file, an array, a Pillow image) to uint8 H W c, to one size, to normalised floats."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from jaxemb import files
from jaxemb.preprocess.base import DataError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the ImageNet channels (of pixels in [0, 1]): the default where nothing better is known."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
"""The formats of Pillow that are read, whatever a file is called."""

PIXELS = 50_000_000
"""The most pixels that are decoded; of a JPEG after it was shrunk by up to 8 on each side, so that any photo passes."""

ASPECT = 50
"""The longest side over the shortest. Without a bound a line of one pixel, 30 000 long, would become 5 GB at size 224."""

HEADROOM = 2
"""Large images are first shrunk so that their shorter side is this many times the wanted size: what is kept in memory, what
crops are cut from, and what evaluation shrinks further."""


def to_pixels(item: Any, channels: int, size: int) -> UInt8[np.ndarray, "H W c"]:
    """An image in any form as uint8 with the wanted channels. `size` is the one it will be brought to (see `HEADROOM`)."""
    if isinstance(item, (str, Path)):
        return read(item, channels, size)
    from PIL import Image

    if isinstance(item, Image.Image):
        check_size(item.width, item.height, "an image")
        return _from_pillow(item, channels)
    if item is None or isinstance(item, (bytes, bytearray)):  # NumPy would make an array without axes of it
        raise DataError(f"an image is a file name, an array or a Pillow image, not a {type(item).__name__}")
    return shrink(_with_channels(_to_uint8(np.asarray(item)), channels), HEADROOM * size)


def read(file: str | Path, channels: int, size: int) -> UInt8[np.ndarray, "H W c"]:
    """An image file decoded and shrunk to `HEADROOM * size`; large JPEGs are decoded at a lower resolution to begin with."""
    with _opened(file) as image:
        image.draft(None, (HEADROOM * size, HEADROOM * size))  # JPEG only: the nearest of 1/1 to 1/8 that is not below
        check_size(image.width, image.height, f"the image file {files.printable(file)}")
        return shrink(_from_pillow(image, channels), HEADROOM * size)


def read_header(file: str | Path) -> None:
    """Raises DataError where the header of an image file cannot be read, or says that it is too large to be decoded."""
    with _opened(file) as image:
        image.draft(None, (1, 1))
        check_size(image.width, image.height, f"the image file {files.printable(file)}")


def check_size(width: int, height: int, what: str) -> None:
    """Refuses images whose pixels, or whose longer side once the shorter one is brought to size, would fill the memory."""
    if width * height > PIXELS:
        raise DataError(f"{what} has {width} x {height} pixels, more than {PIXELS / 1e6:.0f} million; shrink it first")
    if max(width, height) > ASPECT * min(width, height):
        raise DataError(f"{what} has {width} x {height} pixels: one side is more than {ASPECT} times the other; cut it first")


@contextlib.contextmanager
def _opened(file: str | Path) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    file = Path(file).expanduser()
    shown = files.printable(file)
    if not files.is_regular(file):
        if files.is_folder(file):
            raise DataError(f"{shown} is a folder, not an image file")
        there = os.path.lexists(file) if "\0" not in str(file) else False
        raise DataError(f"{shown} is not a regular file" if there else f"there is no image file {shown}")
    try:
        with Image.open(file, formats=FORMATS) as image:  # of some other formats Pillow hands files to programs, e.g. Ghostscript
            yield image
    except UnidentifiedImageError as e:
        raise DataError(f"{shown} is not an image in a format that is read: {', '.join(FORMATS)}") from e
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise DataError(f"the image file {shown} has more than {PIXELS / 1e6:.0f} million pixels; shrink it first") from e
    except MemoryError as e:
        raise DataError(f"the image file {shown} does not fit into memory") from e
    except Exception as e:  # Pillow's decoders raise whatever they meet in a broken file: OSError, SyntaxError, struct.error, ...
        raise DataError(f"the image file {shown} is damaged: {files.printable(e)}") from e


def _from_pillow(image: Any, channels: int) -> UInt8[np.ndarray, "H W c"]:
    from PIL import ImageOps

    if channels not in (1, 3):
        raise DataError(f"image files give 1 or 3 channels, not channels={channels}; for others use an .npz (data/arrays.py)")
    image = ImageOps.exif_transpose(image)  # photos of phones are stored lying on their side
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip everything above 255
        return _with_channels((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8), channels)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels[:, :, None] if channels == 1 else pixels


def _to_uint8(x: np.ndarray) -> np.ndarray:
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise DataError(f"an image has the shape (H, W) or (H, W, c), not {x.shape}; for a batch pass a list of images")
    if x.dtype == np.uint8:
        return x
    if x.dtype == bool:
        return x.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(x.dtype, np.floating):
        raise DataError(f"an image is uint8 (0 to 255) or float (0 to 1), not {x.dtype}")
    if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        raise DataError(
            f"a float image has values in [0, 1], not {x.min():.4g} to {x.max():.4g}: divide by 255, or pass uint8; "
            "do not normalise, that is done here"
        )
    return np.rint(x * 255).astype(np.uint8)


def _with_channels(x: np.ndarray, channels: int) -> UInt8[np.ndarray, "H W c"]:
    """Grey is repeated, colour is turned grey by luminance, an alpha channel is dropped; anything else must fit."""
    x = x[:, :, None] if x.ndim == 2 else x
    if x.shape[2] == 4 and channels in (1, 3):
        x = x[:, :, :3]
    given = x.shape[2]
    if given == 1 and channels == 3:
        return np.repeat(x, 3, axis=2)
    if given == 3 and channels == 1:
        return np.rint(x @ np.array([[0.299], [0.587], [0.114]])).astype(np.uint8)
    if given == channels:
        return x
    hint = "; is the channel axis first? Move it last" if x.shape[0] in (1, 3, 4) else ""
    raise DataError(f"an image of shape {x.shape} has {given} channels, but the data set is read with channels={channels}{hint}")


def resize(x: UInt8[np.ndarray, "H W c"], height: int, width: int) -> UInt8[np.ndarray, "h w c"]:
    """Bilinear when enlarging, averaged over areas (no aliasing) when shrinking."""
    import cv2

    if x.shape[:2] == (height, width):
        return x
    smaller = height < x.shape[0] and width < x.shape[1]
    y = cv2.resize(x, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return y if y.ndim == 3 else y[:, :, None]  # OpenCV drops a single channel


def shrink(x: UInt8[np.ndarray, "H W c"], shorter: int) -> UInt8[np.ndarray, "h w c"]:
    """With the shorter side at most `shorter`, proportions kept."""
    check_size(x.shape[1], x.shape[0], "an image")
    height, width = x.shape[:2]
    scale = shorter / min(height, width)
    return x if scale >= 1 else resize(x, max(shorter, round(height * scale)), max(shorter, round(width * scale)))


def fit(x: UInt8[np.ndarray, "H W c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """What evaluation sees: the shorter side brought to `size`, then the centre cut out."""
    if x.shape[0] == x.shape[1] == size:
        return x
    check_size(x.shape[1], x.shape[0], "an image")
    x = shrink(x, HEADROOM * size)
    height, width = x.shape[:2]
    scale = size / min(height, width)
    x = resize(x, max(size, round(height * scale)), max(size, round(width * scale)))
    top, left = (x.shape[0] - size) // 2, (x.shape[1] - size) // 2
    return x[top : top + size, left : left + size]


def normalise(x: UInt8[np.ndarray, "*b H W c"], mean: Sequence[float], std: Sequence[float]) -> Float32[np.ndarray, "*b H W c"]:
    """(x / 255 - mean) / std, a channel each."""
    width = x.shape[-2]
    scale = 1 / (255 * np.asarray(std, np.float64))
    offset = np.asarray(mean, np.float64) * 255 * scale
    rows = x.reshape(*x.shape[:-2], -1)  # channels repeated along a row: NumPy is slow where the last axis is short
    y = rows * np.tile(scale, width).astype(np.float32)
    y -= np.tile(offset, width).astype(np.float32)
    return y.reshape(x.shape)
