"""Small data whose answers are known."""

import dataclasses

import numpy as np
import pytest
from fakes import Fake

from jaxemb.data.base import ArraySpec, Data, Split


@dataclasses.dataclass(frozen=True)
class Known(Data):
    """Rows and labels as given; the "images" are the embeddings themselves."""

    train: dict = dataclasses.field(default_factory=dict)
    test: dict = dataclasses.field(default_factory=dict)
    valid: dict = dataclasses.field(default_factory=dict)

    @property
    def spec(self):
        return {"images": ArraySpec(self.train["images"].shape[1:])}

    def batches(self, size, *, seed, shard=(0, 1)):
        raise AssertionError("evaluations do not train")

    def split(self, name):
        rows = {"train": self.train, "valid": self.valid, "test": self.test}[name]
        return Split(lambda ids: {k: v[ids] for k, v in rows.items()}, len(rows["images"]))

    @property
    def preprocess(self):
        raise AssertionError("evaluations see arrays")


@pytest.fixture
def model():
    """Its embeddings are the images."""
    return Fake(lambda arrays: arrays["images"])


@pytest.fixture
def known():
    return lambda train, test, valid=(): Known(dict(train), dict(test), dict(valid))


@pytest.fixture
def clusters():
    """Three far-apart clusters in five dimensions."""
    rng = np.random.default_rng(0)
    centres = 10 * np.eye(5, dtype=np.float32)[:3]

    def draw(n):
        labels = np.arange(n, dtype=np.int32) % 3
        return {"images": centres[labels] + rng.normal(size=(n, 5)).astype(np.float32), "labels": labels}

    return Known(draw(90), draw(30))


@pytest.fixture
def noise():
    """Features that say nothing about four labels."""
    rng = np.random.default_rng(1)

    def draw(n):
        return {"images": rng.normal(size=(n, 6)).astype(np.float32), "labels": rng.integers(4, size=n).astype(np.int32)}

    return Known(draw(400), draw(400))
