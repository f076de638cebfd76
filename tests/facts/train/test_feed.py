"""The feed runs ahead, but its place is that of the batch that was handed out."""

import threading
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.data.base import ArraySpec, DataError
from jaxemb.objectives.base import Objective
from jaxemb.ops.draws import Draws
from jaxemb.train.feed import Feed
from jaxemb.train.sharding import make_mesh


class Counting:
    """Batches that hold their own number."""

    spec = {"x": ArraySpec((1,))}
    specs = (spec,)

    def __init__(self, fail_at=None):
        self.fail_at, self.given = fail_at, 0

    def batches(self, size, *, seed, shard):
        self.size, self.seed, self.shard = size, seed, shard
        return self

    def __next__(self):
        if self.given == self.fail_at:
            raise OSError("the disk is gone")
        self.given += 1
        return {"x": np.full((self.size, 1), self.given - 1, np.float32)}

    def get_state(self):
        return {"given": self.given}

    def set_state(self, state):
        self.given = state["given"]


class Noisy(Objective):
    """Adds draws of both kinds."""

    def prepare(self, batch, draws):
        shared = np.full((len(draws), 1), draws.shared.random(), np.float32)
        return {**batch, "own": draws.random(1).astype(np.float32), "shared": shared}


def make(data, **options):
    experiment = SimpleNamespace(data=data, objective=Noisy(), batch=4, seed=7)
    return Feed(experiment, make_mesh({"data": 2}), **options)


def test_place_is_that_of_the_batch_handed_out():
    data = Counting()
    feed = make(data)
    assert feed.place == {"given": 0}
    for i in range(3):
        assert (np.asarray(next(feed)["x"]) == i).all() and feed.place == {"given": i + 1}
    deadline = time.time() + 5
    while data.given < 5 and time.time() < deadline:  # two are ready, while nobody asks
        time.sleep(0.01)
    assert data.given >= 5 and feed.place == {"given": 3}
    feed.close()
    assert (data.size, data.seed, data.shard) == (4, 7, (0, 1))


def test_from_a_place_everything_is_as_without_the_interruption():
    whole, cut = make(Counting()), make(Counting(), start=2, place={"given": 2})
    batches = [next(whole) for _ in range(4)]
    for expected in batches[2:]:
        got = next(cut)
        assert got.keys() == expected.keys() == {"x", "own", "shared"}
        for name in got:
            np.testing.assert_array_equal(got[name], expected[name])
    assert not np.array_equal(batches[0]["own"], batches[1]["own"])
    draws = Draws((7, 2), 4)
    np.testing.assert_array_equal(batches[2]["shared"], np.full((4, 1), draws.shared.random(), np.float32))
    np.testing.assert_array_equal(batches[2]["own"], draws.random(1).astype(np.float32))
    whole.close(), cut.close()


def test_what_the_thread_meets_is_raised_where_the_batch_is_asked_for():
    feed = make(Counting(fail_at=1))
    next(feed)
    with pytest.raises(OSError, match="the disk is gone"):
        next(feed)
    feed.close()


class Towers(Counting):
    """Questions of one length and documents of two."""

    specs = tuple({"query": {"x": ArraySpec((2,))}, "document": {"x": ArraySpec((n,))}} for n in (3, 5))
    spec = specs[-1]
    lengths = (3, 5, 4)

    def __next__(self):
        self.given += 1
        return {
            "query": {"x": np.zeros((self.size, 2), np.float32)},
            "document": {"x": np.zeros((self.size, self.lengths[self.given - 1]), np.float32)},
        }


def test_batches_may_be_nested_by_tower_and_have_one_of_several_lengths():
    experiment = SimpleNamespace(data=Towers(), objective=Objective(), batch=4, seed=7)
    feed = Feed(experiment, make_mesh({"data": 2}))
    for length in (3, 5):
        batch = next(feed)
        assert {s.data.shape for s in batch["document"]["x"].addressable_shards} == {(2, length)}
        assert batch["query"]["x"].shape == (4, 2)
    with pytest.raises(DataError, match=r"batch 2: 'document/x' is \(\(4, 4\), .* say \(\(4, 5\), .*one of `data.specs`"):
        next(feed)
    feed.close()


def test_close_ends_the_thread_even_if_nobody_took_a_batch():
    before = threading.active_count()
    make(Counting()).close()
    assert threading.active_count() == before


def test_batches_lie_on_the_devices():
    feed = make(Counting())
    x = next(feed)["x"]
    assert x.dtype == jnp.float32 and {s.data.shape for s in x.addressable_shards} == {(2, 1)}
    feed.close()
