"""Rows go in by blocks, come and go, and what is no row is refused."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index import base
from jaxemb.index.binary import Binary
from jaxemb.index.exact import Exact
from jaxemb.index.files import load_index
from jaxemb.index.filtered import Filtered
from jaxemb.index.ivf import IVF
from jaxemb.index.late_interaction import LateInteraction
from jaxemb.index.scalar import Scalar
from jaxemb.preprocess.base import DataError

R = np.random.default_rng(0)
X, Q = R.normal(size=(60, 6)).astype(np.float32), R.normal(size=(5, 6)).astype(np.float32)


def same(a, b):
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_allclose(a.scores, b.scores, rtol=1e-6)


@pytest.mark.parametrize("index", [Exact(), Binary(), Scalar()], ids=lambda i: type(i).__name__)
def test_queries_in_pieces_that_fit_memory_find_the_same(index, monkeypatch):
    built = index.build(X)
    each = R.random((5, 60)) < 0.5
    whole = built.search(Q, 4), built.search(Q, 4, each)
    monkeypatch.setattr(base, "SCORES", 60 * 3)
    monkeypatch.setattr(base, "NUMBERS", 6 * 16)
    jax.clear_caches()
    for a, b in zip(whole, (built.search(Q, 4), built.search(Q, 4, each)), strict=True):
        same(a, b)


def test_what_is_learned_comes_from_a_sample_and_from_the_first_of_blocks(monkeypatch):
    seen = []
    monkeypatch.setattr(Scalar, "learn", lambda self, x, learn=Scalar.learn: seen.append(x) or learn(self, x))
    Scalar("dot", sample=7).build(X)
    Scalar("dot", sample=7).build(X[i : i + 4] for i in range(0, 60, 4))
    Scalar("dot").build([X])
    drawn, first, every = seen
    assert (
        len(drawn) == 7
        and any((row == X[7:]).all(1).any() for row in drawn)
        and len(np.unique(drawn, axis=0)) == 7
        and all((row == X).all(1).any() for row in drawn)
    )
    np.testing.assert_array_equal(first, X[:7])
    np.testing.assert_array_equal(every, X)


def test_an_array_that_is_mapped_is_read_block_by_block(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr(base, "ROWS", 16)
    blocks = []
    monkeypatch.setattr(
        Exact, "encode", lambda self, learned, x, encode=Exact.encode: blocks.append(len(x)) or encode(self, learned, x)
    )
    built = Exact().build(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert blocks == [16, 16, 16, 12]
    same(built.search(Q, 3), Exact().build(X).search(Q, 3))


def test_over_devices_rows_come_and_go_and_are_stored(tmp_path):
    mesh = jax.make_mesh((4, 2), ("data", "model"))
    many, one = Exact().build(X, mesh=mesh), Exact().build(X)
    assert many.kept.rows["x"].shape == (64, 6) and many.nbytes() == 64 * 6 * 4
    many, one = (b.remove(range(5)).add(Q) for b in (many, one))
    many.save(tmp_path)
    for built in (many, load_index(tmp_path), load_index(tmp_path, mesh=mesh)):
        same(built.search(Q, 3), one.search(Q, 3))
    assert load_index(tmp_path, mesh=mesh).kept.mesh == many.kept.mesh


def test_what_fills_up_the_last_device_is_never_found():
    x = -np.abs(X[:13])  # below the 0 of what fills up
    found = Exact("dot").build(x, mesh=jax.make_mesh((8,), ("data",))).search(np.abs(Q), 13)
    same(found, Exact("dot").build(x).search(np.abs(Q), 13))


def test_the_bytes_are_those_of_ids_and_names_too():
    built = Exact().build(X[:3], {"name": ["a", "bcd", "a"], "set": [[1], [], [1, 2]]})
    sets = built.tags["set"]
    tags = 3 + 4 + sets.values.nbytes + 4 * 8  # codes and names, values and starts
    assert built.nbytes() == X[:3].nbytes + tags
    assert built.remove([1]).nbytes() == X[:2].nbytes + 2 * 8 + tags - 1 - 8


def test_half_precision_halves_the_bytes():
    built = Exact("dot", dtype="bfloat16").build(X)
    assert built.nbytes() == X.nbytes // 2
    found = built.search(Q, 3)
    np.testing.assert_allclose(found.scores, Exact("dot").build(X).search(Q, 3).scores, rtol=0.02)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (X[0], r"shape \(6,\)"),
        (X.astype(str), "type <U"),
        ("words", "not a str"),
        (np.float32(1), "not a single number"),
        (7, "not a int"),
        ([X[:3], X[:3, 1:]], "rows from 3 on have 5 numbers, those before 6"),
        (np.zeros((30, 6)), "0, 1, 2, .* and 20 more"),
    ],
)
def test_what_is_no_rows(x, says):
    with pytest.raises(DataError, match=says):
        Exact().build(x)


def test_what_can_be_searched_and_removed():
    built = Exact().build(X)
    assert built.search(Q[:0], 3).ids.shape == (0, 3)
    with pytest.raises(DataError, match="query rows .* not finite: 1"):
        built.search(np.where(np.arange(5)[:, None] == 1, np.nan, Q), 3)
    with pytest.raises(ConfigError, match="ids 60, 99"):
        built.remove([3, 60, 99])
    for no_ids in (np.arange(60) < 2, [1.7, 2.9], {1, 2}):
        with pytest.raises(ConfigError, match=f"whole numbers, .*type {np.asarray(no_ids).dtype}"):
            built.remove(no_ids)
    assert len(built.remove([])) == 60
    with pytest.raises(DataError, match="all 60 rows"):
        built.remove(range(60))
    assert Exact("euclidean").build(np.zeros((3, 2), np.float32)).search(np.zeros((1, 2), np.float32), 2).ids.tolist() == [[0, 1]]
    with pytest.raises(ConfigError, match="similarity='manhattan'"):
        Exact("manhattan")


# ---- memory ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 4, 7])
@pytest.mark.parametrize("index", [Exact(), IVF(lists=4), Filtered(), LateInteraction()], ids=lambda i: type(i).__name__)
def test_what_keeps_vectors_takes_a_tenth_more_at_most(index, tokens):
    x = R.normal(size=(200, tokens, 32) if index.texts else (200 * tokens, 32)).astype(np.float32)
    assert x.nbytes <= index.build(x).nbytes() <= 1.1 * x.nbytes


GROWS = """
import resource, sys
import jax, jax.numpy as jnp, numpy as np
from jaxemb.index import {name}
BLOCK, COUNT = {shape}, 32
def blocks(count):
    for i in range(count):
        yield np.random.default_rng(i).random(BLOCK, np.float32) + 0.1
index = {name}()
index.build(blocks(2)).search(next(blocks(1))[:1], 1)
now = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
built = index.build(blocks(COUNT))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(peak - now, built.nbytes() + 4 * np.prod(BLOCK), 4 * np.prod(BLOCK) * COUNT)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux tells it")
@pytest.mark.parametrize(("name", "shape"), [("Exact", (16384, 256)), ("LateInteraction", (512, 30, 256))])
def test_building_from_blocks_takes_the_memory_of_the_rows_and_of_a_block(name, shape):
    code = GROWS.replace("{name}", name).replace("{shape}", repr(shape))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown, wanted, vectors = map(int, run.stdout.split())
    assert grown <= wanted + 0.1 * vectors
