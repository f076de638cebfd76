"""Scalar and binary codes, and filters, of retrieval_codes.npz (faiss, sentence-transformers and code of their own)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.index.base import Kept
from jaxemb.index.binary import Binary
from jaxemb.index.built import Built
from jaxemb.index.exact import Exact
from jaxemb.index.filtered import dropped
from jaxemb.index.filters import Contains, Equals, Range
from jaxemb.ops.bits import hamming, pack, signed_products
from jaxemb.ops.quantize import find_ranges, quantize_embeddings
from jaxemb.ops.scalar_codes import decode, encode, fit_grid, pack_nibbles, unpack_nibbles


@pytest.fixture
def g(load):
    return load("retrieval_codes.npz")


@pytest.mark.parametrize(("name", "bits", "grid"), [("sq8", 8, "range"), ("sq4", 4, "range"), ("sq8u", 8, "uniform")])
def test_scalar_codes_of_faiss(g, name, bits, grid):
    fitted = fit_grid(g["sq_train"], bits, grid)
    steps = 2**bits - 1
    near = dict(rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.step * steps, g[f"{name}_vdiff"], **near)
    np.testing.assert_allclose(fitted.offset - fitted.step / 2, g[f"{name}_vmin"], **near)
    codes = encode(g["sq_x"], fitted, bits, grid)
    off = codes.astype(int) - g[f"{name}_codes"].astype(int)
    assert np.abs(off).max() <= 1 and (off != 0).mean() < 0.02  # a number at the border of two steps
    np.testing.assert_allclose(decode(g[f"{name}_codes"], fitted), g[f"{name}_decoded"], **near)
    if bits == 4:
        packed = pack_nibbles(g["sq4_codes"])
        np.testing.assert_array_equal(packed, g["sq4_packed"])
        np.testing.assert_array_equal(unpack_nibbles(jnp.asarray(packed), codes.shape[1]), g["sq4_codes"])


@pytest.mark.parametrize("bits", [8, 4])
def test_symmetric_codes(g, bits):
    grid = fit_grid(g["sym_x"], bits, "symmetric")
    np.testing.assert_allclose(grid.step, g[f"sym{bits}_scale"], rtol=1e-12)
    codes = encode(g["sym_x"], grid, bits, "symmetric")
    np.testing.assert_array_equal(codes.astype(int) - 2 ** (bits - 1), g[f"sym{bits}_codes"])
    np.testing.assert_allclose(decode(codes, grid), g[f"sym{bits}_decoded"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_codes_of_sentence_transformers(g, precision):
    found = quantize_embeddings(g["stq_x"], precision, ranges=find_ranges(g["stq_calibration"]))
    np.testing.assert_array_equal(found, g[f"stq_{precision}"])


def test_bits(g):
    with jax.enable_x64(True):
        x, q, mean = (jnp.asarray(g[name], jnp.float64) for name in ("bin_x", "pq_q", "bin_mean"))
        words, asked = pack(x > mean[None]), pack(q > mean[None])
        for found, name in ((words, "bin_packed"), (asked, "bin_q_packed")):
            packed = np.ascontiguousarray(found).view(np.uint8)
            np.testing.assert_array_equal(packed[:, : g[name].shape[1]], g[name])
        np.testing.assert_array_equal(np.asarray(x > mean[None]), g["bin_bits"])
        np.testing.assert_array_equal(hamming(asked, words.T), g["bin_hamming"])
        every = jnp.broadcast_to(words[None], (len(q), *words.shape))
        np.testing.assert_allclose(signed_products(q - mean[None], every), g["bin_asym"], rtol=1e-9, atol=1e-12)
        index, rows = Binary("dot", query="binary"), len(g["bin_x"])
        kept = Kept({"mean": mean}, index.encode({"mean": mean}, g["bin_x"].astype(np.float64)), rows)
        found = Built(index, kept, g["bin_x"].shape[1], None, rows).search(g["pq_q"], rows)
        np.testing.assert_array_equal(found.ids, np.argsort(g["bin_hamming"], axis=1, kind="stable"))


def test_filters(g):
    with jax.enable_x64(True):
        tags = {"number": g["ft_num"], "category": g["ft_cat"], "set": g["ft_set"]}
        built = Exact("dot").build(g["ft_x"], tags)
        kinds = (
            lambda p: Range("number", float(p[0]), float(p[1])),
            lambda p: Equals("category", int(p[0])),
            lambda p: Contains("set", int(p[0])),
        )
        filters = [kinds[kind](p) for kind, p in zip(g["ft_kind"], g["ft_param"], strict=True)]
        mask = built.allowed(filters, len(filters))
        np.testing.assert_array_equal(mask, g["ft_mask"])
        np.testing.assert_allclose(mask.mean(1), g["ft_selectivity"], rtol=1e-12)
        k = int(g["ft_k"])
        found = built.search(g["ft_q"], k, filters)
        np.testing.assert_array_equal(found.ids, g["ft_ids"])
        np.testing.assert_allclose(found.scores, g["ft_scores"], rtol=1e-9, atol=1e-11)
        nearest = built.search(g["ft_q"], len(g["ft_x"]))
        for row, (fetch, truth) in enumerate(zip(g["ft_post_fetch"], g["ft_ids"], strict=True)):
            near = nearest.scores[row : row + 1, :fetch], nearest.ids[row : row + 1, :fetch]
            best, places, _ = dropped(*near, mask[row : row + 1], k)
            ids = np.where(np.isneginf(best), -1, places)[0]
            np.testing.assert_array_equal(ids, g["ft_post_ids"][row])
            passing = min(k, int(mask[row].sum()))
            recall = len(set(ids[ids >= 0]) & set(truth[truth >= 0])) / passing if passing else np.nan
            np.testing.assert_allclose(recall, g["ft_post_recall"][row])
