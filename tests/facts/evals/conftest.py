"""Small data whose answers are known."""

import dataclasses

import numpy as np
import pytest

from jaxemb.data.base import ArraySpec, Data


@dataclasses.dataclass(frozen=True)
class Known(Data):
    """Rows and labels as given; the "images" are the embeddings themselves."""

    train: dict = dataclasses.field(default_factory=dict)
    test: dict = dataclasses.field(default_factory=dict)

    @property
    def spec(self):
        return {"images": ArraySpec(self.train["images"].shape[1:])}

    def batches(self, size, *, seed, shard=(0, 1)):
        raise AssertionError("evaluations do not train")

    def arrays(self, split, *, limit=None, seed=0):
        rows = self.train if split == "train" else self.test
        ids = np.arange(len(rows["images"]))
        if limit is not None and limit < len(ids):
            ids = np.sort(np.random.default_rng(seed).choice(len(ids), limit, replace=False))
        return {k: v[ids] for k, v in rows.items()}

    def preprocess(self, item):
        return {"images": item}


def identity(arrays):
    return arrays["images"]


@pytest.fixture
def encode():
    return identity


@pytest.fixture
def known():
    return lambda train, test: Known(dict(train), dict(test))


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
