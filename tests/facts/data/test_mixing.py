"""Mixed images carry mixed labels."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.base import ArraySpec, DataError
from jaxemb.data.digits import Digits
from jaxemb.data.mixing import CutMix, Mixup

LABELS = np.array([0, 1, 2, 0], np.int32)
# Image i is filled with i: a pixel tells where it came from.
BATCH = {"images": np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None, None], (4, 8, 8, 1)), "labels": LABELS}


@pytest.mark.parametrize("kind", [Mixup, CutMix])
def test_labels_follow_the_pixels(kind):
    for seed in range(50):
        out = kind(classes=3, alpha=1.0)(BATCH, np.random.default_rng(seed))
        assert out["labels"] is LABELS and out["labels_soft"].dtype == out["images"].dtype == np.float32
        own, other = np.eye(3)[LABELS], np.eye(3)[LABELS[[2, 3, 0, 1]]]
        share = (out["images"][0].mean() - 2) / (0 - 2)  # image 0 mixed with image 2
        np.testing.assert_allclose(out["labels_soft"], share * own + (1 - share) * other, atol=1e-6)
        np.testing.assert_allclose(out["labels_soft"].sum(1), 1, atol=1e-6)


def test_cutmix_takes_one_rectangle():
    out = CutMix(classes=3)(BATCH, np.random.default_rng(1))["images"][0, :, :, 0] == 2
    rows, columns = out.any(1), out.any(0)
    assert out.any() and np.array_equal(out, np.outer(rows, columns))


def test_alpha_decides_the_share():
    shares = {a: [Mixup(3, a)(BATCH, np.random.default_rng(s))["labels_soft"][1, 1] for s in range(300)] for a in (0.05, 50.0)}
    assert np.std(shares[0.05]) > 0.4 and np.std(shares[50.0]) < 0.06


def test_in_a_stream():
    data = Digits(augment=(Mixup(classes=10), CutMix(classes=10)))
    assert data.spec["labels_soft"] == ArraySpec((10,))
    stream = data.batches(16, seed=0)
    batches = [next(stream) for _ in range(8)]
    assert all(b["labels_soft"].shape == (16, 10) for b in batches)
    mixed = [(b["labels_soft"].max(1) < 0.999).any() for b in batches]
    assert sum(mixed) > 4
    assert "labels_soft" not in data.split("test")[:]


@pytest.mark.parametrize("processes", [2, 4])
def test_the_mixed_batch_is_the_same_on_any_number_of_processes(processes):
    data = Digits(augment=(Mixup(classes=10), CutMix(classes=10)))
    whole = data.batches(8, seed=3)
    parts = [data.batches(8 // processes, seed=3, shard=(p, processes)) for p in range(processes)]
    for _ in range(4):
        batch, shares = next(whole), [next(part) for part in parts]
        for name, expected in batch.items():
            for p, share in enumerate(shares):
                np.testing.assert_array_equal(share[name], expected[p::processes], err_msg=name)


def test_bad_fields_and_labels():
    with pytest.raises(ConfigError, match="alpha > 0"):
        Mixup(classes=3, alpha=0.0)
    with pytest.raises(ConfigError, match=r"same number of classes, not \[3, 4\]"):
        Digits(augment=(Mixup(3), CutMix(4)))
    with pytest.raises(DataError, match="from 0 to 2, which do not fit classes=2"):
        Mixup(classes=2)(BATCH, np.random.default_rng(0))
    with pytest.raises(DataError, match="mixes the images of a process, which has a single one"):
        Mixup(classes=3)({name: x[:1] for name, x in BATCH.items()}, np.random.default_rng(0))
    with pytest.raises(DataError, match="the data set has no labels"):
        Mixup(classes=2)(BATCH | {"labels": np.full(4, -1)}, np.random.default_rng(0))
