"""Every array of retrieval_muvera.npz: cells, encodings, fills, projections, the final sketch, ball carving."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.fde import carve, cell, cell_bits, count_sketch, encode_document, encode_query, sides
from jaxemb.ops.maxsim import maxsim

same = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
exact = np.testing.assert_array_equal

pytestmark = pytest.mark.usefixtures("wide")


@pytest.fixture
def g(load):
    return load("retrieval_muvera.npz")


def real(x, lengths):
    return np.arange(x.shape[1])[None] < lengths[:, None]


def encoded(g, inner=None):
    """Encodings of all queries, of all documents filled and not. Padding holds numbers that would show."""
    planes, inner = jnp.asarray(g["simhash"]), None if inner is None else jnp.asarray(g[inner])
    queries, documents = g["queries"].copy(), g["docs"].copy()
    of_q, of_d = real(queries, g["query_len"]), real(documents, g["doc_len"])
    queries[~of_q], documents[~of_d] = 7.0, 7.0
    query = jax.jit(jax.vmap(lambda x, m: encode_query(x, m, planes, inner)))
    document = [jax.jit(jax.vmap(lambda x, m, fill=fill: encode_document(x, m, planes, inner, fill))) for fill in (True, False)]
    return query(queries, of_q), *(f(documents, of_d) for f in document)


def test_cells(g):
    k = g["simhash"].shape[-1]
    bits = sides(jnp.asarray(g["docs"][1]), jnp.asarray(g["simhash"][:1]))[0]
    exact(bits[: g["doc_len"][1]], g["doc0_bits"])
    exact(cell(bits)[: g["doc_len"][1]], g["doc0_partition_gray"])
    exact(g["doc0_bits"].astype(int) @ (1 << np.arange(k)[::-1]), g["doc0_partition_plain"])
    exact(cell(jnp.asarray(np.arange(2**k)[:, None] >> np.arange(k)[::-1] & 1, bool)), g["partition_perm_gray_of_plain"])
    exact(np.argsort(g["partition_perm_gray_of_plain"]), cell_bits(k).astype(int) @ (1 << np.arange(k)[::-1]))


@pytest.mark.parametrize("inner", ["identity", "dense", "sparse"])
def test_encodings(g, inner):
    query, filled, empty = encoded(g, None if inner == "identity" else f"inner_{inner}")
    same(query, g[f"qfde_{inner}"])
    same(filled, g[f"dfde_{inner}_fill"])
    same(empty, g[f"dfde_{inner}_nofill"])
    if inner != "identity":
        return
    r, order = len(g["simhash"]), g["partition_perm_gray_of_plain"]
    for found, name in ((query, "qfde_identity_plain"), (filled, "dfde_identity_fill_plain")):
        same(found.reshape(len(found), r, len(order), -1)[:, :, order].reshape(len(found), -1), g[name])
    same(query @ filled.T / r, g["dot_identity_fill"])
    same(query @ empty.T / r, g["dot_identity_nofill"])
    length = g["qfde_final"].shape[1]
    for found, name in ((query, "qfde_final"), (filled, "dfde_final")):
        same(count_sketch(found, jnp.asarray(g["final_index"]), jnp.asarray(g["final_sign"]), length), g[name])


def test_chamfer(g):
    queries, documents = (
        [t[:n] for t, n in zip(g[x], g[n], strict=True)] for x, n in (("queries", "query_len"), ("docs", "doc_len"))
    )
    np.testing.assert_allclose(maxsim(queries, documents, "dot"), g["chamfer"], rtol=1e-5)


def test_carving(g):
    sums, some = carve(jnp.asarray(g["carve_in"]), jnp.ones(len(g["carve_in"]), bool), float(g["carve_tau"]))
    assert some.sum() == len(g["carve_out"]) and some[: some.sum()].all()
    same(sums[: len(g["carve_out"])], g["carve_out"])
    exact(sums[len(g["carve_out"]) :], 0)
