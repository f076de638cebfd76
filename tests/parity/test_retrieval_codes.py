"""Codes of retrieval_codes.npz: product quantisation (faiss), with a rotation as well, RaBitQ, BM25 (bm25s), MaxSim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.contrastive import InfoNCE
from jaxemb.index import rabitq
from jaxemb.ops.maxsim import maxsim, padded_maxsim
from jaxemb.ops.product_codes import by_decoding, codes, decoded, look_up, packed, tables
from jaxemb.preprocess.bm25 import BM25, IDF

exact = np.testing.assert_array_equal

pytestmark = pytest.mark.usefixtures("wide")


@pytest.fixture
def g(load):
    return load("retrieval_codes.npz")


def near(found, expected, rtol=1e-4):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize(("name", "bits"), [("pq4", 4), ("pq8", 8), ("opq4", 4)])
def test_product_codes(g, name, bits):
    c, x, q = (np.asarray(g[a], np.float64) for a in (f"{name}_centroids", "pq_x", "pq_q"))
    if name == "opq4":
        x, q = x @ g["opq4_A"].T, q @ g["opq4_A"].T
    x = x[: len(g[f"{name}_codes"])]
    c = jnp.asarray(c)
    x, q = (jnp.asarray(y.reshape(len(y), len(c), -1)) for y in (x, q))
    j = codes(x, c)
    exact(j, g[f"{name}_codes"])
    exact(packed(j, bits), g[f"{name}_packed"])
    near(decoded(j, c), g[f"{name}_decoded"])
    stored = jnp.asarray(packed(j, bits).T)
    for squared, kind in ((False, "ip"), (True, "l2")):
        expected = g[f"{name}_adc_{kind}"] * (-1.0 if squared else 1.0)
        near(look_up(tables(q, c, squared), stored, bits), expected)
        near(by_decoding(q, c, stored, bits, squared), expected)


def test_tables_of_products(g):
    c, q, x = (jnp.asarray(np.asarray(g[a], np.float64)) for a in ("pq4_centroids", "pq_q", "pq_x"))
    near(tables(q.reshape(len(q), len(c), -1), c, True).transpose(2, 0, 1), -g["pq4_lut_l2"], 1e-9)
    of_centroids = tables(c.swapaxes(0, 1), c, True).swapaxes(1, 2)
    near(of_centroids, -g["pq4_sdc_table"], 1e-9)
    y = decoded(jnp.asarray(g["pq4_codes"]), c)
    quantised = y[: len(g["pq4_sdc"])].reshape(-1, len(c), c.shape[2])
    near(look_up(tables(quantised, c, True), jnp.asarray(g["pq4_packed"].T), 4), -g["pq4_sdc"], 1e-9)
    near(((x - y) ** 2).sum(1).mean(), g["pq4_mse"], 1e-9)


def test_rabitq(g):
    o, q = g["rb_O"], np.asarray(g["pq_q"], np.float64)
    turned, norm = rabitq.direction(o, g["rb_c"], g["rb_P"])
    code = rabitq.encode(o, g["rb_c"], g["rb_P"])
    near(turned, g["rb_rotated"], 1e-9)
    exact(code.bits, g["rb_bits"])
    stored = np.packbits(code.bits, axis=1)
    exact(stored, g["rb_packed"])
    near(norm, g["rb_norm"], 1e-9)
    near(code.factor, g["rb_factor"], 1e-9)
    near(rabitq.half_width(code.factor, o.shape[1], float(g["rb_eps0"])), g["rb_bound"], 1e-9)

    of_q, q_norm = rabitq.direction(q, g["rb_c"], g["rb_P"])
    near(of_q, g["rb_q_rotated"], 1e-9)
    near(q_norm, g["rb_q_norm"], 1e-9)
    factor, columns = jnp.asarray(code.factor), jnp.asarray(stored.T)
    found = rabitq.estimate(rabitq.signs_times(jnp.asarray(of_q), columns), factor)
    near(found, g["rb_estimate"], 1e-9)
    near(norm[None] ** 2 + q_norm[:, None] ** 2 - 2 * norm[None] * q_norm[:, None] * found, g["rb_dist2"], 1e-9)

    rounded = rabitq.rounded(jnp.asarray(of_q), int(g["rb_query_bits"]), jnp.asarray(g["rb_u"]))
    exact(rounded.codes, g["rb_q_codes"])
    inner = rabitq.signs_times(rounded.values(), columns)
    near(inner, g["rb_ip_quantised"], 1e-9)
    near(rabitq.estimate(inner, factor), g["rb_estimate_quantised"], 1e-9)


def test_rabitq_index(g):
    """The same of a whole index, with the rotation and the mean of the file."""
    index = rabitq.RaBitQ(similarity="euclidean")
    learned = {"rotation": jnp.asarray(g["rb_P"]), "centre": jnp.asarray(g["rb_c"])}
    rows = jax.tree.map(jnp.asarray, index.encode(learned, g["rb_O"]))
    near(index.scores(learned, rows, jnp.asarray(g["pq_q"], jnp.float64)), -g["rb_dist2"], 1e-9)


def test_maxsim(g):
    q, d, q_real, d_real, cotangent = (jnp.asarray(g[f"ms_{name}"]) for name in ("q", "d", "qmask", "dmask", "cotangent"))
    near(padded_maxsim(q, d, q_real, d_real), g["ms_score"], 1e-9)
    near(padded_maxsim(q, d, q_real, d_real, mean=True), g["ms_score_mean"], 1e-9)
    tokens = ([x[real] for x, real in zip(g[f"ms_{a}"], g[f"ms_{a}mask"], strict=True)] for a in "qd")
    near(maxsim(*tokens, "dot"), g["ms_score"], 1e-6)  # of the host, in 32 bits
    gradients = jax.grad(lambda q, d: (padded_maxsim(q, d, q_real, d_real) * cotangent).sum(), (0, 1))(q, d)
    for name, found in zip("qd", gradients, strict=True):
        near(found, g[f"ms_grad_{name}"], 1e-9)


def test_info_nce_of_maxsim(g):
    """As losses see it: padding is zeros."""
    q, d = (jnp.asarray(np.where(g[f"ms_{a}mask"][..., None], g[f"ms_{a}"], 0)) for a in "qd")
    loss, gradients = jax.value_and_grad(lambda q, d: InfoNCE(1.0, similarity="dot")(q, d).value, (0, 1))(q, d)
    near(loss, g["ms_infonce__loss"], 1e-9)
    for name, found in zip("qd", gradients, strict=True):
        near(found, g[f"ms_infonce__grad_{name}"], 1e-9)


def test_bm25(g):
    documents, queries = ([{t: int(n) for t, n in enumerate(row) if n} for row in g[name]] for name in ("bm25_tf", "bm25_q"))
    numbers = {name: float(g[f"bm25_{name}"]) for name in ("k1", "b", "delta")}
    given = {name.removeprefix("bm25_"): x for name, x in g.items() if name.startswith("bm25_")}
    renamed = {"bm25plus_paper": "plus_paper"}
    scores = {renamed.get(v, v): BM25(variant=v, **numbers).over_counts(documents)(queries) for v in IDF}
    assert {*scores} == {*given} - {"tf", "q", *numbers}
    for name, found in scores.items():
        near(found, given[name], 1e-9)
