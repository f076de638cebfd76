"""Examples drawn one at a time."""

import json

import numpy as np
import pytest

from jaxemb.data.base import DataError
from jaxemb.data.stream import STREAMS, Drawn, drawn_split, generator, rows


def draw(rng):
    return {"x": rng.integers(2**62, size=2), "y": np.int32(rng.integers(10))}


def test_a_batch_is_the_examples_of_its_places():
    batch = [next(stream) for stream in [Drawn(draw, 3, seed=5, shard=(1, 2))] for _ in range(2)][1]
    alone = [draw(generator("batches", 5, place)) for place in (7, 9, 11)]  # the first six places were the batch before
    assert np.array_equal(batch["x"], [e["x"] for e in alone]) and batch["y"].dtype == np.int32
    assert batch["x"].shape == (3, 2) and batch["y"].shape == (3,)


def test_streams_seeds_and_places_share_nothing():
    many = [(s, seed, i) for s in STREAMS for seed in (0, 1, 2**32 - 1) for i in (0, 1, 2**32, 2**33)]
    assert len({draw(generator(*one))["x"].tobytes() for one in many}) == len(many)


def test_the_place_is_the_number_of_batches_and_the_same_in_every_process():
    one, two = Drawn(draw, 4, seed=1), Drawn(draw, 2, seed=1, shard=(1, 2))
    for stream in (one, two):
        next(stream), next(stream)
    assert one.get_state() == two.get_state() == {"seed": 1, "batch": 4, "place": 2}
    state = json.loads(json.dumps(one.get_state()))
    after = next(one)
    one.set_state(state)
    assert np.array_equal(next(one)["x"], after["x"])


def test_the_place_of_another_stream_is_refused():
    with pytest.raises(DataError, match="saved with batch=4, but this stream has batch=8"):
        Drawn(draw, 8, seed=1).set_state({"seed": 1, "batch": 4, "place": 2})
    with pytest.raises(DataError, match="a stream of another kind: {} is no number"):
        Drawn(draw, 4, seed=1).set_state({"seed": 1, "batch": 4, "workers": 0, "place": {}})


def test_a_split_draws_the_rows_that_are_asked_for():
    drawn = []
    split = drawn_split(lambda rng: drawn.append(1) or draw(rng), "test", 0, 100)
    assert len(split) == 100 and not drawn
    assert np.array_equal(split[[4, 9]]["x"][1], rows(draw, "test", 0, [9])["x"][0]) and len(drawn) == 2


def test_all_rows_of_a_batch_share_what_is_chosen_for_it():
    def longer(rng, n):
        return {"x": np.full(n, rng.integers(99))}

    def batches(size, shard=(0, 1)):
        stream = Drawn(longer, size, seed=3, shard=shard, choose=lambda rng: int(rng.integers(2, 5)))
        return [next(stream)["x"] for _ in range(12)]

    whole, parts = batches(4), [batches(2, (p, 2)) for p in (0, 1)]
    assert {x.shape[1] for x in whole} == {2, 3, 4}
    for x, *two in zip(whole, *parts):
        assert np.array_equal(x[::2], two[0]) and np.array_equal(x[1::2], two[1])


def test_bad_requests():
    for size, shard in ((0, (0, 1)), (4, (2, 2))):
        with pytest.raises(DataError, match="a batch needs size >= 1"):
            Drawn(draw, size, seed=0, shard=shard)
    for seed in (-1, 2**32):
        with pytest.raises(DataError, match="seed must lie in"):
            Drawn(draw, 4, seed=seed)
