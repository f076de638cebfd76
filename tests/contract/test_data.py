"""Every data set keeps the rules of jaxemb/data/base.py."""

import json
from collections import Counter

import numpy as np
import pytest
from photos import write_parquet, write_photos
from PIL import Image

from jaxemb.config import from_json, to_json
from jaxemb.data.augment import Flip, RandomResizedCrop
from jaxemb.data.base import DataError
from jaxemb.data.image_data import ImageData
from jaxemb.data.split import SPLITS
from jaxemb.discover import members
from jaxemb.preprocess.base import Preprocess

MEMBERS = {m.name: m.cls for m in members("data")}


def write_npz(folder, pixels):
    np.savez(folder / "own.npz", images=pixels[:30], labels=np.arange(30) % 3)
    return {"path": str(folder / "own.npz")}


def write_folder(folder, pixels):
    for i, x in enumerate(pixels[:40]):
        (folder / "photos" / f"class{i % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(folder / "photos" / f"class{i % 3}" / f"{i}.png")
    return {"path": str(folder / "photos"), "test_share": 0.25}


def write_text(folder):
    letters = np.random.default_rng(0).integers(97, 123, 2000, np.uint8)
    (folder / "own.txt").write_bytes(letters.tobytes())
    return {"path": str(folder / "own.txt"), "length": 16}


def write_pairs(folder):
    rows = [{"query": f"query {i:04}", "positive": f"answer {i:04}", "negatives": [f"no {i:04}"] * (i % 3)} for i in range(100)]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"path": str(folder / "own.jsonl"), "length": 11, "negatives": 2, "test_share": 0.2, "valid_share": 0.2}


def write_texts(folder):
    letters = np.random.default_rng(0).integers(97, 123, (100, 16), np.uint8)
    write_parquet(folder / "train.parquet", [{"text": bytes(row).decode()} for row in letters], group=20)
    return {"path": str(folder), "length": 16, "test_share": 0.2, "valid_share": 0.2, "groups": 2}


def write_vectors(folder):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(60, n)) for name, n in (("query", 5), ("positive", 5), ("old_query", 3), ("old_positive", 3))}
    np.savez(folder / "own.npz", **arrays)
    return {"path": str(folder / "own.npz"), "width": 5, "old_width": 3, "test_share": 0.2, "valid_share": 0.2}


IMAGES = np.random.default_rng(0).integers(0, 256, (40, 12, 16, 3), np.uint8)
CIFAR10 = {"size": 8, "name": "cifar10", "train": "train[:50]", "test": "test[:20]"}
FIELDS = {
    "Arrays": lambda folder, _: {"size": 8} | write_npz(folder, IMAGES),
    "Digits": lambda *_: {"size": 8},
    "Glyphs": lambda *_: {"size": 16, "classes": 5, "train_each": 10, "valid_each": 3, "test_each": 4},
    "ImageFolder": lambda folder, _: {"size": 8} | write_folder(folder, IMAGES),
    "ImageShards": lambda folder, _: {"size": 8, "test_share": 0.25, "path": write_photos(folder, "parquet")},
    "Images": lambda _, fixture: CIFAR10 | {"data_dir": str(fixture("tfds_dir"))},
    "KeyValue": lambda *_: {"length": 16, "count_train": 40, "count_valid": 15, "count_test": 20},
    "Shapes": lambda *_: {"size": 16, "count_train": 50, "count_valid": 15, "count_test": 20},
    "Textures": lambda *_: {"size": 16, "count_train": 50, "count_valid": 15, "count_test": 20},
    "Text": lambda folder, _: write_text(folder),
    "TextPairs": lambda folder, _: write_pairs(folder),
    "TextShards": lambda folder, _: write_texts(folder),
    "VectorPairs": lambda folder, _: write_vectors(folder),
}
"""How a small data set of each member is made: fields, from a folder for its files and a way to ask for a fixture."""
ITEMS = {
    "KeyValue": lambda row: row.tolist(),
    "Text": lambda row: bytes(row.astype(np.uint8)).decode(),
    "TextPairs": lambda row: bytes(row.astype(np.uint8)).decode(),
    "TextShards": lambda row: bytes(row.astype(np.uint8)).decode(),
    "VectorPairs": lambda row: row,
}
"""What a user would hand over to get this row of `arrays`, where the data are no images."""


class Make:
    """Makes the small data set of a member, with further fields as given."""

    def __init__(self, name, fields):
        self.name, self.fields, self.images = name, fields, issubclass(MEMBERS[name], ImageData)

    def __call__(self, **more):
        return MEMBERS[self.name](**self.fields | more)

    def augmented(self):
        return self(augment=(RandomResizedCrop(), Flip())) if self.images else self()

    def of_images(self):
        if not self.images:
            pytest.skip("not of images: no pixels, no epochs")
        return self()


@pytest.fixture(params=sorted(MEMBERS))
def make(request, tmp_path):
    if request.param not in FIELDS:
        pytest.fail(f"say in FIELDS how a small {request.param} is made")
    return Make(request.param, FIELDS[request.param](tmp_path, request.getfixturevalue))


def flat(arrays):
    """By path, in their order: data with towers nest their arrays."""
    found = {}
    for name, x in arrays.items():
        found |= {f"{name}/{key}": y for key, y in flat(x).items()} if isinstance(x, dict) else {name: x}
    return found


def main(data):
    """The name of the array that models read: the first of the spec."""
    return next(iter(flat(data.spec)))


def same(a, b):
    a, b = flat(a), flat(b)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def take(stream, count):
    return [next(stream) for _ in range(count)]


def test_the_seed_decides_the_batches(make):
    data = make.augmented()
    first, again, other = (take(data.batches(4, seed=s), 5) for s in (1, 1, 2))
    assert all(map(same, first, again))
    assert not any(map(same, first, other))


def test_batches_fit_the_spec(make):
    data = make.augmented()
    batch, specs = flat(next(data.batches(4, seed=0))), flat(data.spec)
    assert batch.keys() == specs.keys()
    for name, spec in specs.items():
        assert type(batch[name]) is np.ndarray
        assert (batch[name].shape, batch[name].dtype) == ((4, *spec.shape), spec.dtype)


def test_a_resumed_stream_goes_on_exactly(make):
    data = make.augmented()
    stream = data.batches(4, seed=3)
    take(stream, 7)
    state = json.loads(json.dumps(stream.get_state()))
    after = take(stream, 20)  # beyond the end of an epoch, but for Digits
    fresh = data.batches(4, seed=3)
    fresh.set_state(state)
    assert all(map(same, after, take(fresh, 20)))
    stream.set_state(state)
    assert all(map(same, after, take(stream, 20)))


def test_a_state_of_another_stream_is_refused(make):
    data = make()
    state = data.batches(4, seed=3).get_state()
    for stream, field in ((data.batches(4, seed=4), "seed"), (data.batches(2, seed=3), "batch")):
        with pytest.raises(DataError, match=f"saved with {field}="):
            stream.set_state(state)
    with pytest.raises(DataError, match="a stream of another kind: {} is no number"):
        data.batches(4, seed=3).set_state(state | {"place": {}})


def test_shards_are_disjoint_and_together_one_epoch(make):
    data = make.of_images()
    whole = Counter(x.tobytes() for x in data.split("train")[:]["images"])
    count = whole.total()
    seen = Counter()
    for process in (0, 1):
        mine = len(range(process, count, 2))  # places of the first epoch
        images = [x for b in take(data.batches(4, seed=0, shard=(process, 2)), -(-mine // 4)) for x in b["images"]]
        seen += Counter(x.tobytes() for x in images[:mine])
    assert seen == whole


def test_a_global_batch_is_the_same_on_any_number_of_processes(make):
    data = make.augmented()
    one = take(data.batches(4, seed=5), 6)
    two = [take(data.batches(2, seed=5, shard=(p, 2)), 6) for p in (0, 1)]
    for whole, *parts in zip(*(map(flat, batches) for batches in (one, *two))):
        for k in whole:
            assert np.array_equal(whole[k], np.stack([p[k] for p in parts], 1).reshape(whole[k].shape))


def test_epochs_differ_in_order(make):
    data = make.of_images()
    count = len(data.split("train")[:]["images"])
    stream = data.batches(1, seed=0)
    first, second = (np.concatenate([b["images"] for b in take(stream, count)]) for _ in range(2))
    assert Counter(x.tobytes() for x in first) == Counter(x.tobytes() for x in second)
    assert not np.array_equal(first, second)


def test_splits_are_deterministic_and_disjoint(make):
    data = make()
    splits = {name: flat(data.split(name)[:]) for name in SPLITS}
    seen = [{x.tobytes() for x in arrays[main(data)]} for arrays in splits.values()]
    assert all(seen) and not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    for name, arrays in splits.items():
        assert same(arrays, make().split(name)[:])
        for key, spec in flat(data.spec).items():
            assert (arrays[key].shape[1:], arrays[key].dtype) == (spec.shape, spec.dtype)


def test_training_draws_from_the_training_split_alone(make):
    data = make()
    held = {x.tobytes() for name in ("valid", "test") for x in flat(data.split(name)[:])[main(data)]}
    drawn = {x.tobytes() for b in take(data.batches(4, seed=0), 60) for x in flat(b)[main(data)]}
    assert not drawn & held


def test_a_split_has_random_access(make):
    split = make().split("train")
    every = flat(split[:])
    assert len(split) == len(every[next(iter(every))])
    assert same(split[2:5], {name: x[2:5] for name, x in every.items()})
    assert same(split[3], {name: x[3] for name, x in every.items()}) and same(split[-1], {name: x[-1] for name, x in every.items()})
    assert same(split[np.array([4, 1])], {name: x[[4, 1]] for name, x in every.items()})
    assert {name: x.shape for name, x in flat(split[:0]).items()} == {name: (0, *x.shape[1:]) for name, x in every.items()}
    for name in set(split.names) & every.keys():  # not the towers
        assert np.array_equal(split.column(name), every[name])


def test_samples_of_a_split(make):
    split = make().split("train")
    few, again, other = (split.sample(8, seed=s)[:] for s in (0, 0, 1))
    assert len(split.sample(8)) == 8 and same(few, again) and not same(few, other)
    for limit in (None, len(split), 10**6):  # a limit is an upper one
        assert same(split.sample(limit)[:], split[:])
    with pytest.raises(DataError, match="limit=0: at least 1"):
        split.sample(0)


def test_preprocess_gives_what_a_split_gives(make):
    data = make()
    if not make.images:
        rows, name = flat(data.split("test")[:3])[main(data)], main(data).rpartition("/")[2]
        assert np.array_equal(data.preprocess([ITEMS[make.name](row) for row in rows])[name], rows)
        return
    for raw, row in zip((data.examples("test")[i] for i in range(3)), data.split("test")[:3]["images"]):
        pixels = np.asarray(raw["images"])
        for item in (pixels, pixels / 255, (pixels / np.float32(255))):
            assert np.array_equal(data.preprocess([item])["images"][0], row)


def test_preprocess_comes_back_from_a_folder(make, tmp_path):
    data = make()
    data.preprocess.save(tmp_path / "assets")
    assert Preprocess.load(tmp_path / "assets") == data.preprocess


def test_label_names_count_the_labels(make):
    data = make()
    for name in data.spec.keys() - {main(data)}:
        assert data.label_names(name) == () or len(data.label_names(name)) > data.split("train")[:][name].max()
    assert data.label_names("no such label") == ()


def test_json_round_trip(make):
    data = make(augment=(RandomResizedCrop((0.3, 1.0)), Flip()), mean=None) if make.images else make()
    assert from_json(json.loads(json.dumps(to_json(data)))) == data


def test_bad_requests(make):
    data = make()
    with pytest.raises(DataError, match="no split 'validation'; valid: train, valid, test"):
        data.split("validation")
    if make.images:
        with pytest.raises(DataError, match="a batch of 100000 is larger than the"):
            data.batches(50_000, seed=0, shard=(0, 2))
    for size, shard in ((0, (0, 1)), (4, (2, 2))):
        with pytest.raises(DataError, match="a batch needs size >= 1"):
            data.batches(size, seed=0, shard=shard)
    with pytest.raises(DataError, match="seed must lie in"):
        data.batches(4, seed=-1)
