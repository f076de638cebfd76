"""Codes of a binariser, in an index."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.bebr import BEBR, read_binariser, renewed, write_binariser
from jaxemb.index.exact import Exact
from jaxemb.index.files import load_index
from jaxemb.layers.recurrent_binary import RecurrentBinary
from jaxemb.ops.recurrent_binary import numbers, sdc_distance
from jaxemb.preprocess.base import DataError

D = 12
R = np.random.default_rng(0)
X, Q = (R.normal(size=(n, D)).astype(np.float32) for n in (90, 4))
UNIT, UNIT_Q = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (X, Q))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Files of binarisers as of an experiment, by name: what belongs to an objective, among other arrays."""
    folder, found = tmp_path_factory.mktemp("binarisers"), {}
    made = {
        "old": RecurrentBinary(40, 1, (7,)),
        "wide": RecurrentBinary(64, 1, (), norm=False),
        "plain": RecurrentBinary(40, 0, (), norm=False),
        "deep": RecurrentBinary(40, 2, (), norm=False),
    }
    for i, (name, model) in enumerate(made.items()):
        variables = jax.jit(model.init)(jax.random.key(i), X)
        if "batch_stats" in variables:  # other than those of the start, which do nothing
            moved = jax.tree.map(lambda x: x + 0.3, variables["batch_stats"])
            variables = {**variables, "batch_stats": moved}
        parts = {collection: {"binariser": tree} for collection, tree in variables.items()}
        write_binariser(folder / name, {**parts, "other": {"x": np.zeros(3)}})
        found[name] = (
            str(folder / name),
            lambda x, model=model, v=variables: np.asarray(numbers(model.apply(v, jax.numpy.asarray(x)).parts)),
        )
    return found


@pytest.mark.parametrize(("name", "rounds"), [("old", 1), ("plain", 0), ("deep", 2)])
def test_scores_are_cosines_of_codes_by_running_statistics(trained, name, rounds):
    path, codes = trained[name]
    expected = 1 - np.asarray(sdc_distance(codes(UNIT_Q), codes(UNIT), rounds))
    built = BEBR(path=path).build(X)
    found = built.search(Q, 90)
    np.testing.assert_allclose(found.scores, np.take_along_axis(expected, found.ids, 1), rtol=1e-5, atol=1e-6)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    planes = (rounds + 1) * 2 * 4  # words of 32 of the 40 numbers
    learned = sum(a.nbytes for a in jax.tree.leaves(read_binariser(path)))
    assert built.nbytes() == 90 * (planes + 4 * (rounds > 0)) + learned
    if rounds == 0:
        differ = (codes(UNIT_Q)[:, None] != codes(UNIT)[None]).mean(-1)
        np.testing.assert_allclose(found.scores, -np.sort(2 * differ - 1, axis=1), rtol=1e-5, atol=1e-6)


def test_a_saved_index_needs_no_file_of_parameters(trained, tmp_path):
    path, _ = trained["old"]
    copy = Path(shutil.copy(path, tmp_path / "copy"))
    built = BEBR(path=str(copy)).build(X).remove([3])
    wanted = built.search(Q, 5)
    built.save(tmp_path / "index")
    copy.unlink()
    loaded = load_index(tmp_path / "index")
    for a, b in zip(wanted, loaded.search(Q, 5), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.add(X[3:4]).search(X[3:4], 1).ids == 90


def test_without_a_file_codes_are_the_signs_of_coordinates_and_of_what_they_leave():
    plain, more = (BEBR(rounds=rounds).build(X).search(Q, 90) for rounds in (0, 1))
    signs = np.where(Q > 0, 1, -1) @ np.where(X > 0, 1, -1).T / D
    np.testing.assert_allclose(plain.scores, -np.sort(-signs, axis=1), rtol=1e-5, atol=1e-6)
    exact, recall = Exact().build(X).search(Q, 20).ids, []
    for found in (plain, more):
        recall.append(np.mean([len({*a} & {*b}) / 20 for a, b in zip(exact, found.ids[:, :20], strict=True)]))
    assert recall[1] > recall[0]


def test_queries_of_a_newer_binariser_search_old_codes(trained):
    (old, old_codes), (wide, wide_codes) = trained["old"], trained["wide"]
    built = renewed(BEBR(path=old).build(X), wide)
    expected = 1 - np.asarray(sdc_distance(wide_codes(UNIT_Q)[:, :40], old_codes(UNIT), 1))
    found = built.search(Q, 90)
    np.testing.assert_allclose(found.scores, np.take_along_axis(expected, found.ids, 1), rtol=1e-5, atol=1e-6)
    more = built.add(Q)
    np.testing.assert_array_equal(more.search(Q, 1).ids[:, 0], np.arange(90, 94))  # a new row is a code of the new one
    with pytest.raises(DataError, match="makes 40 numbers of 3 bits.* have 40 of 2 bits"):
        renewed(built, trained["deep"][0])
    with pytest.raises(DataError, match="makes 40 numbers of 2 bits.* have 64 of 2 bits"):
        renewed(BEBR(path=wide).build(X), old)
    with pytest.raises(ConfigError, match="not Exact"):
        renewed(Exact().build(X), wide)


def test_over_devices_as_on_one(trained):
    index = BEBR(path=trained["old"][0])
    one, many = index.build(X), index.build(X, mesh=jax.make_mesh((8,), ("data",)))
    for a, b in zip(one.search(Q, 5), many.search(Q, 5), strict=True):
        np.testing.assert_array_equal(a, b)
    assert renewed(many, trained["wide"][0]).search(Q, 2).ids.shape == (4, 2)


def test_what_is_no_binariser(trained, tmp_path):
    with pytest.raises(DataError, match="rows of 11 numbers, and the binariser of .* takes 12"):
        BEBR(path=trained["old"][0]).build(X[:, 1:])
    with pytest.raises(DataError, match="no binariser can be read from .*nowhere"):
        BEBR(path=str(tmp_path / "nowhere")).build(X)
    write_binariser(tmp_path / "other", {"params": {"x": np.zeros(3)}})
    with pytest.raises(DataError, match="holds 0 binarisers"):
        BEBR(path=str(tmp_path / "other")).build(X)
    (tmp_path / "damaged").write_bytes(b"no tensors")
    with pytest.raises(DataError, match="no safetensors file"):
        BEBR(path=str(tmp_path / "damaged")).build(X)
    for wrong in ({"similarity": "dot"}, {"rounds": 8}, {"width": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            BEBR(**wrong)
    with pytest.raises(ConfigError, match="BEBR.width=99: the codes have 12 numbers"):
        BEBR(width=99).build(X)
