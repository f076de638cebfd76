"""What all data sets of images share: fields, spec, evaluation arrays, preprocessing. A data set says how it is opened."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxemb.config import ConfigError, within
from jaxemb.data.augment import ImageAugment
from jaxemb.data.base import ArraySpec, Augment, Data, Spec, Split
from jaxemb.data.mixing import Mix
from jaxemb.data.pipeline import Each, Example, Examples, Stream, Table, Whole, stream
from jaxemb.data.split import check_split
from jaxemb.preprocess.images import ImagePreprocess
from jaxemb.preprocess.pixels import IMAGENET, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageData(Data):
    """Labelled images of one size."""

    size: int = 32
    """Height and width in pixels that the model sees."""
    channels: int = 3
    """1 (grey) or 3 (colour); images of the other kind are converted."""
    augment: tuple[Augment, ...] = ()
    """What training does to the images, in order; see data/augment.py and data/mixing.py."""
    mean: tuple[float, ...] | None = None
    """A channel each, of pixels in [0, 1]; None: those of the data set where they are known, else ImageNet's."""
    std: tuple[float, ...] | None = None
    """As `mean`."""
    workers: int = 0
    """Processes that prepare batches; 0: threads of this one, which is faster below about 64 px or on few cores."""
    threads: int | None = None
    """Threads that prepare batches, in each worker or in this process; None: a quarter of the cores, 2 to 16.
    Decoding and resizing are what they do at the same time. Neither number changes what a batch holds."""
    memory: int = 1024
    """MiB of decoded images that are kept rather than decoded again."""

    def __post_init__(self) -> None:
        if min(self.size, self.channels, 1 if self.threads is None else self.threads) < 1 or self.workers < 0 or self.memory < 0:
            raise ConfigError(
                "size, channels and threads must be at least 1, workers and memory at least 0, not size="
                f"{self.size}, channels={self.channels}, threads={self.threads}, workers={self.workers}, memory={self.memory}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ConfigError(f"{name} needs a number for each of the channels={self.channels}, not {values}")
        within(self, size=(1, 8192), channels=(1, 4096), workers=(0, 1024), memory=(0, 2**24))
        if not all(map(math.isfinite, self.mean or ())):
            raise ConfigError(f"mean must be finite, not {self.mean}")
        if self.std is not None and not all(0 < s < math.inf for s in self.std):
            raise ConfigError(f"std must be above 0 and finite, not {self.std}")
        if len({m.classes for m in self._mixes}) > 1:
            raise ConfigError(f"augment: all mixes need the same number of classes, not {[m.classes for m in self._mixes]}")

    # ---- what a data set adds ----------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def examples(self, split: str) -> Examples:
        """An opened split, "train", "valid" or "test", with random access; opened once a process."""

    @property
    def label_keys(self) -> tuple[str, ...]:
        """Names of the label arrays."""
        return ("labels",)

    @property
    def usual_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation where the fields leave them open."""
        return IMAGENET

    # ---- what all share ----------------------------------------------------------------------------------------------------------

    @property
    def _mixes(self) -> tuple[Mix, ...]:
        return tuple(a for a in self.augment if isinstance(a, Mix))

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation, a channel each."""
        mean, std = self.usual_statistics
        if len(mean) != self.channels:  # grey images of a coloured data set, or the reverse
            mean, std = ((float(np.mean(v)),) * self.channels for v in (mean, std))
        return self.mean or mean, self.std or std

    @property
    def preprocess(self) -> ImagePreprocess:
        mean, std = self.statistics
        return ImagePreprocess(size=self.size, channels=self.channels, mean=mean, std=std)

    @property
    def spec(self) -> Spec:
        spec = {**self.preprocess.spec} | {k: ArraySpec((), "int32") for k in self.label_keys}
        return spec | ({"labels_soft": ArraySpec((self._mixes[0].classes,))} if self._mixes else {})

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> Stream:
        augment = tuple(a for a in self.augment if isinstance(a, ImageAugment))
        return stream(
            functools.partial(self.examples, "train"),
            size,
            seed,
            shard,
            name=str(self),
            workers=self.workers,
            threads=self.threads,
            each=Each(augment, self.size),
            whole=Whole(self._mixes, *self.statistics),
        )

    def split(self, name: str) -> Split:
        check_split(name)
        examples, preprocess = self.examples(name), self.preprocess

        def read(ids: np.ndarray) -> Example:
            columns = self._fitted(examples, ids)
            return {**columns, "images": preprocess.normalised(columns["images"])}

        return Split(read, len(examples), examples.labels)

    def _fitted(self, examples: Examples, rows: np.ndarray) -> Example:
        """The rows as arrays, images fitted to the size but still uint8."""
        if isinstance(examples, Table) and examples.columns["images"].shape[1:3] == (self.size, self.size):
            return examples[rows]

        def load(part: np.ndarray) -> list[Example]:
            return [{**e, "images": fit(e["images"], self.size)} for e in examples.rows(part.tolist())]

        with ThreadPoolExecutor(4) as pool:  # decoding and resizing release the interpreter lock
            loaded = [e for part in pool.map(load, np.array_split(rows, -(-len(rows) // 64))) for e in part]
        return {k: np.stack([e[k] for e in loaded]) for k in loaded[0]}
