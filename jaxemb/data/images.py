"""Any image data set of TensorFlow Datasets that is prepared on this machine; TensorFlow itself is not needed."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxemb.config import suggest
from jaxemb.data.base import DataError
from jaxemb.data.image_data import ImageData
from jaxemb.data.pipeline import Example, Kept
from jaxemb.data.split import carve, check_share, none_held_out
from jaxemb.preprocess.encoded import decode
from jaxemb.preprocess.pixels import IMAGENET

STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
}
"""Mean and standard deviation of the training images, a channel each, of pixels in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Images(ImageData):
    """An image data set of TensorFlow Datasets by name, e.g. Images("cifar10")."""

    name: str
    """As in the catalogue, "cifar10", or with its configuration, "cifar10_corrupted/fog_3"."""
    data_dir: str | None = None
    """The folder of prepared data sets; None: the environment variable TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    _: dataclasses.KW_ONLY
    label: str | None = "label"
    """The feature that becomes `labels`; None: all labels are -1."""
    train: str = "train"
    """What is trained on, in the notation of TFDS, e.g. "train[:90%]"."""
    test: str = "test"
    """What is tested on, e.g. "validation"."""
    valid: str | None = None
    """What is validated on, e.g. "train[90%:]"; None: `valid_share` of `train`, which is then not trained on."""
    valid_share: float = 0.1
    """Share of the training images, evenly spaced, that is held out for validation where `valid` names none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.valid_share)

    @property
    def usual_statistics(self):
        return STATISTICS.get(self.name.split("/")[0].split(":")[0], IMAGENET)

    def examples(self, split: str) -> Kept:
        opened = functools.partial(_open, self.name, self._folder, self.label, self.channels, self.size, self.memory)
        if split == "test" or (split == "valid" and self.valid):
            return opened(self.test if split == "test" else self.valid or "", None, 0.0)
        return opened(self.train, split, 0.0 if self.valid else self.valid_share)

    @property
    def _folder(self) -> str:
        return os.path.expanduser(self.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        if label != "labels" or self.label is None:
            return ()
        feature = _builder(self.name, self._folder).info.features[self.label]
        return tuple(getattr(feature, "names", None) or ())


@functools.lru_cache(4)
def _builder(name: str, folder: str) -> Any:
    """The prepared data set, or an error that says how to get it."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    how = (
        f"On a machine with a network run once:\n    python -c \"import tensorflow_datasets as tfds; tfds.data_source('{name}', "
        f"data_dir='{folder}')\"\nor name the folder that has it: data.data_dir, or the environment variable TFDS_DATA_DIR"
    )
    try:
        builder = tfds.builder(name, data_dir=folder)
    except DatasetNotFoundError:
        raise DataError(
            f"TensorFlow Datasets knows no data set {name!r}{_near(name, tfds.list_builders(with_community_datasets=False))}"
        ) from None
    except (ValueError, AssertionError, OSError) as e:  # a configuration or version that there is not
        raise DataError(f"the data set {name!r} cannot be opened in {folder}: {e}") from e
    if not os.path.isdir(str(builder.data_path)):
        missing = "" if os.path.isdir(folder) else f" ({folder} itself is not a folder)"
        raise DataError(f"the data set {name!r} is not prepared: looked for {builder.data_path}{missing}. {how}")
    form = getattr(builder.info.file_format, "value", None)
    if form != "array_record":
        raise DataError(f"{builder.data_path} is in the format {form}, which has no random access. {how}")
    return builder


def _near(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=5)
    return f"; near it: {', '.join(near)}" if near else f"; it has {len(known)}, see https://www.tensorflow.org/datasets/catalog"


@functools.lru_cache(6)
def _open(
    name: str, folder: str, label: str | None, channels: int, size: int, memory: int, split: str, half: str | None, share: float
) -> Kept:
    """A split in the notation of TFDS; of it the `half` "train" or "valid" where it is shared with validation."""
    import tensorflow_datasets as tfds

    builder = _builder(name, folder)
    features = builder.info.features
    pictures = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    if not pictures:
        raise DataError(f"the data set {name!r} has no images; its features: {', '.join(features)}")
    if label is not None and label not in features:
        raise DataError(f"label: the data set {name!r} has no feature {label!r}{suggest(label, features)}")
    if split.split("[")[0].split("+")[0] not in builder.info.splits:
        raise DataError(f"the data set {name!r} has no split {split!r}{suggest(split, builder.info.splits)}")
    source = builder.as_data_source(split=split, decoders={pictures[0]: tfds.decode.SkipDecoding()})
    where = f"{name}, split {split}, in {builder.data_path}"

    def one(index: int, record: dict[str, Any]) -> Example:
        image = decode(record[pictures[0]], channels, size, f"image {index} of {where}")
        if image is None:
            raise DataError(f"image {index} of {where} is damaged: prepare the data set anew")
        return {"images": image, "labels": np.int32(record[label] if label is not None else -1)}

    ids = np.arange(len(source)) if half is None else carve(len(source), share)[half]
    if not len(ids):
        raise none_held_out(where, share)

    def read(indices: Sequence[int]) -> list[Example]:
        indices = [int(ids[i]) for i in indices]
        try:
            records = source.__getitems__(indices)
        except Exception as e:  # array_record and protobuf raise whatever they meet in a broken file
            raise DataError(f"{where} cannot be read, prepare the data set anew: {e}") from e
        return [one(i, record) for i, record in zip(indices, records, strict=True)]

    return Kept(read, len(ids), memory * 2**20, {} if label is not None else {"labels": np.full(len(ids), -1, np.int32)})
