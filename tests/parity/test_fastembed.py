"""Encodings of qdrant's fastembed (postprocess/muvera.py) with the same planes and matrices."""

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.fde import cell_bits, encode_document, encode_query

pytestmark = pytest.mark.usefixtures("wide")
R, K, WIDTH, P = 2, 3, 6, 4


@pytest.fixture
def theirs(monkeypatch):
    """Its encoder; models, which it only names as types, are left out."""
    found = importlib.util.find_spec("fastembed")
    if found is None or not found.submodule_search_locations:
        pytest.skip("fastembed is not here")
    late = ("LateInteractionTextEmbeddingBase", "LateInteractionMultimodalEmbeddingBase")
    for name in (
        "",
        ".common",
        ".common.types",
        *(f".{x}.{x}_embedding_base" for x in ("late_interaction", "late_interaction_multimodal")),
    ):
        module = ModuleType(f"fastembed{name}")
        module.__dict__.update({"NumpyArray": np.ndarray} | dict.fromkeys(late, type("Model", (), {})))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    file = Path(next(iter(found.submodule_search_locations))) / "postprocess" / "muvera.py"
    return runpy.run_path(str(file))["Muvera"](WIDTH, K, P, R)


def test_encodings_are_the_same_but_for_the_order_of_cells(theirs):
    planes = np.stack([s.simhash_vectors for s in theirs.simhash_projections])
    inner = theirs.dim_reduction_projections / np.sqrt(P)
    order = cell_bits(K) @ (1 << np.arange(K))  # it takes the first plane's bit as the lowest, and no Gray code
    x, real = np.random.default_rng(0).normal(size=(7, WIDTH)), jnp.ones(7, bool)

    def cells(z):
        return np.asarray(z).reshape(R, 2**K, P)

    query = cells(encode_query(jnp.asarray(x), real, jnp.asarray(planes), jnp.asarray(inner)))
    np.testing.assert_allclose(query, cells(theirs.process_query(x))[:, order], atol=1e-12)
    document = cells(encode_document(jnp.asarray(x), real, jnp.asarray(planes), jnp.asarray(inner)))
    other = cells(theirs.process_document(x))[:, order]
    # An empty cell is filled from the nearest cell that is not, of several the lowest; here with the first token of all of them.
    bits = np.stack([x @ p > 0 for p in planes])
    apart = (bits[:, :, None] != cell_bits(K)[None, None]).sum(-1)
    one = np.array([[len({*map(tuple, b[a == a.min()])}) == 1 for a in apart_.T] for b, apart_ in zip(bits, apart, strict=True)])
    assert one.any() and (apart.min(1) > 0).any()
    np.testing.assert_allclose(document[one], other[one], atol=1e-12)
