"""The unit facts of MUVERA's encodings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.fde import (
    carve,
    cell,
    cell_bits,
    count_sketch,
    draw_dense,
    draw_planes,
    draw_sparse,
    encode_document,
    encode_query,
    sides,
)
from jaxemb.ops.similarity import unit

RNG = np.random.default_rng(0)
D = 6
QUERY, DOCUMENT = (jnp.asarray(unit(RNG.normal(size=(n, D)).astype(np.float32))) for n in (5, 7))
ALL = np.ones(7, bool)
PLANES = jnp.asarray(draw_planes(np.random.default_rng(1), 2, D, 3).astype(np.float32))
near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


@jax.jit
def query(x, real=None, planes=PLANES, inner=None):
    return encode_query(x, jnp.ones(len(x), bool) if real is None else real, planes, inner)


@functools.partial(jax.jit, static_argnames="fill")
def document(x, real=None, planes=PLANES, inner=None, fill=True):
    return encode_document(x, jnp.ones(len(x), bool) if real is None else real, planes, inner, fill)


def chamfer(q, d):
    return float((q @ d.T).max(1).sum())


@pytest.mark.parametrize(("k", "order"), [(3, [0, 1, 3, 2, 7, 6, 4, 5]), (2, [0, 1, 3, 2])])
def test_gray_order(k, order):
    """Cells of the plain numbers 0, 1, ..., and back by g xor g / 2."""
    plain = (np.arange(2**k)[:, None] >> np.arange(k)[::-1] & 1).astype(bool)
    np.testing.assert_array_equal(cell(jnp.asarray(plain)), order)
    np.testing.assert_array_equal(cell_bits(k)[order], plain)
    assert (np.abs(np.diff(cell_bits(k).astype(int), axis=0)).sum(1) == 1).all()  # neighbours differ in a bit


def test_a_document_of_one_token_gives_chamfer():
    one = document(DOCUMENT[:1])
    near(one.reshape(16, D), np.repeat(DOCUMENT[:1], 16, axis=0))
    assert np.isclose(float(query(QUERY) @ one) / 2, chamfer(QUERY, DOCUMENT[:1]), rtol=1e-5)


def test_tokens_apart_give_chamfer():
    """Every document token in a cell of its own, every query token in the cell of its best match."""
    x = jnp.asarray(np.where(cell_bits(3), 1.0, -1.0).astype(np.float32))
    axes = jnp.asarray(np.eye(3, dtype=np.float32)[None])
    q = 0.9 * x[jnp.asarray([1, 1, 6])]
    assert np.isclose(float(query(q, planes=axes) @ document(x, planes=axes)), chamfer(q, x), rtol=1e-5)


def test_order_and_copies_of_tokens():
    shuffled = DOCUMENT[np.random.default_rng(3).permutation(7)]
    near(document(shuffled, fill=False), document(DOCUMENT, fill=False))
    twice = jnp.concatenate([DOCUMENT, DOCUMENT])
    near(document(twice), document(DOCUMENT))
    near(query(jnp.concatenate([QUERY, QUERY])), 2 * query(QUERY))


def test_queries_add_and_documents_do_not():
    near(query(QUERY[:2]) + query(QUERY[2:]), query(QUERY))
    assert np.abs(document(DOCUMENT[:3]) + document(DOCUMENT[3:]) - document(DOCUMENT)).max() > 0.1


def test_a_filled_score_is_never_above_chamfer():
    for seed in range(8):
        planes = jnp.asarray(draw_planes(np.random.default_rng(seed), 2, D, 3).astype(np.float32))
        assert float(query(QUERY, planes=planes) @ document(DOCUMENT, planes=planes)) / 2 <= chamfer(QUERY, DOCUMENT) + 1e-5
    away = -jnp.abs(QUERY[:1])  # all products are negative, so that zeros of an empty cell are above the largest
    towards = jnp.abs(DOCUMENT)
    empty = [float(query(away, planes=PLANES[i : i + 1]) @ document(towards, planes=PLANES[i : i + 1], fill=False)) for i in (0, 1)]
    assert max(empty) == 0 > chamfer(away, towards)


def test_a_fill_is_the_first_token_of_the_fewest_bits_apart():
    """Cell 11 from tokens in 00, 01, 10, 10: the second and the third are a bit apart, and the second comes first."""
    axes = jnp.asarray(np.eye(2, dtype=np.float32)[None])
    x = jnp.asarray([[-1.0, -2.0], [-3.0, 4.0], [5.0, -6.0], [7.0, -8.0]])
    blocks = document(x, planes=axes).reshape(4, 2)
    at = int(cell(jnp.asarray([True, True])))
    near(blocks[at], x[1])
    near(blocks[int(cell(jnp.asarray([True, False])))], (x[2] + x[3]) / 2)
    assert not document(x, planes=axes, fill=False).reshape(4, 2)[at].any()


def test_lengths():
    rng = np.random.default_rng(0)
    planes, inner = draw_planes(rng, 20, D, 4), draw_dense(rng, 20, D, 8)
    real = jnp.ones(5, bool)
    assert jax.eval_shape(encode_query, QUERY, real, jnp.asarray(planes), jnp.asarray(inner)).shape == (2560,)
    assert jax.eval_shape(encode_query, QUERY, real, jnp.asarray(draw_planes(rng, 2, D, 3))).shape == (2 * 8 * D,)


@pytest.mark.parametrize("fill", [True, False])
def test_padding_is_in_no_cell(fill):
    """A vector of zeros lies in cell 0, and so it would be in its mean."""
    real = jnp.asarray(np.arange(9) < 7)
    for rest in (0.0, 5.0):
        longer = jnp.concatenate([DOCUMENT, jnp.full((2, D), rest)])
        near(document(longer, real, fill=fill), document(DOCUMENT, fill=fill))
        near(query(longer, real), query(DOCUMENT))


def test_no_planes_are_one_cell():
    none = PLANES[..., :0]
    near(query(QUERY, planes=none), np.tile(QUERY.sum(0), 2))
    near(document(DOCUMENT, planes=none), np.tile(DOCUMENT.mean(0), 2))


def test_projections_keep_products_on_average():
    rng = np.random.default_rng(0)
    exact = float(QUERY[0] @ DOCUMENT[0])
    for draw in (draw_dense, draw_sparse):
        m = draw(rng, 4000, D, 3)
        q, d = (np.einsum("d,rdp->rp", x[0], m) for x in (QUERY, DOCUMENT))
        assert abs((q * d).sum(1).mean() - exact) < 0.05
    np.testing.assert_allclose(np.abs(draw_dense(rng, 2, D, 4)), 0.5)
    sparse = draw_sparse(rng, 3, D, 4)
    np.testing.assert_array_equal(np.abs(sparse).sum(-1), 1)
    assert len(np.unique(sparse, axis=0)) == 3  # drawn anew for every repetition
    inner = jnp.asarray(sparse[:2].astype(np.float32))
    y = [encode_query(QUERY @ inner[r], jnp.ones(5, bool), jnp.zeros((1, 4, 0))) for r in (0, 1)]
    near(query(QUERY, planes=PLANES[..., :0], inner=inner), jnp.concatenate(y))


def test_count_sketch_by_hand():
    x = jnp.asarray([[1.0, 2.0, 4.0, 8.0], [1.0, 0.0, 0.0, 0.0]])
    found = count_sketch(x, jnp.asarray([2, 0, 2, 1]), jnp.asarray([1.0, -1.0, -1.0, 1.0]), 3)
    np.testing.assert_array_equal(found, [[-2, 8, -3], [0, 0, 1]])


def test_carving_sums_what_is_close():
    x = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8], [9.0, 9.0]])
    sums, some = carve(x, jnp.asarray([True] * 4 + [False]), 0.7)
    near(sums, [[1.8, 0.6], [0.6, 1.8], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(some, [True, True, False, False, False])
    alone, some = carve(0.1 * x, jnp.ones(5, bool), 5.0)  # short tokens are not close to themselves
    near(alone, 0.1 * x)
    assert some.all()


def test_carved_queries_keep_chamfer_where_they_agree():
    """Tokens with the same best match: Chamfer is of their sum."""
    q = jnp.asarray([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    d = jnp.asarray([[0.9, 0.3], [-1.0, 1.0]])
    sums, _ = carve(q, jnp.ones(3, bool), 0.7)
    assert np.isclose(chamfer(sums[:2], d), chamfer(q, d))


def test_sides_are_strict():
    assert not sides(jnp.zeros((1, D)), PLANES).any()
