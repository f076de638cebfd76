"""Every array of retrieval_bebr.npz: the recurrence, levels and numbers, products and distances, the loss of training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.index.bebr import BEBR
from jaxemb.layers.recurrent_binary import RecurrentBinary, of_variables
from jaxemb.ops.recurrent_binary import integers, inverse_norm, levels, look_up_table, numbers, sdc_distance

same = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
exact = np.testing.assert_array_equal

pytestmark = pytest.mark.usefixtures("wide")


@pytest.fixture
def g(load):
    return load("retrieval_bebr.npz")


def variables(g):
    params = {}
    for t in range(int(g["u"]) + 1):
        params[f"skip_{t}"] = {"kernel": g["W_lin"][t]}
        params[f"binarise_{t}"] = {
            "dense_0": {"kernel": g["W1"][t], "bias": g["b1"][t]},
            "out": {"kernel": g["W2"][t], "bias": g["b2"][t]},
        }
    params |= {f"reconstruct_{t}": {"out": {"kernel": r}} for t, r in enumerate(g["R"])}
    return {"params": jax.tree.map(jnp.asarray, params)}


def test_codes(g):
    held, u = variables(g), int(g["u"])
    model = RecurrentBinary(g["W_lin"].shape[2], u, (g["W1"].shape[2],), norm=False)
    assert of_variables(held) == model
    run = jax.jit(model.apply)
    of_q, of_d = (run(held, jnp.asarray(g[name])) for name in ("f", "fd"))
    for found, names in ((of_q, ("parts", "b", "code")), (of_d, ("doc_parts", "doc_b", "doc_code"))):
        exact(found.parts, g[names[0]])
        exact(found.b, g[names[1]])
        exact(numbers(found.parts), g[names[2]])
    same(of_q.reconstructed, g["recon"])


def test_products(g):
    u = int(g["u"])
    code, other = (np.asarray(g[name], np.uint8) for name in ("code", "doc_code"))
    exact(levels(u), g["levels"])
    exact(levels(u)[code], g["b"])
    exact(look_up_table(u), g["lut"])
    exact(look_up_table(u)[code[:, None], other[None]].sum(-1), g["inner"])
    q, x = integers(code, u), integers(other, u)
    exact(q @ x.T, g["inner_int"])
    exact(g["inner"] * 4**u, g["inner_int"])
    same(inverse_norm(x, u), g["doc_inv_norm"])
    same(sdc_distance(code, other, u), g["sdc_distance"])


def test_the_loss_of_training(g):
    loss = InfoNCE(float(g["nce_tau"]))(jnp.asarray(g["b"]), jnp.asarray(g["doc_b"][: len(g["b"])]))
    same(loss.value, g["nce_loss_inbatch"])


def test_index(g):
    """The same of a whole index, with the parameters of the file."""
    index, learned = BEBR(), variables(g)
    rows = jax.tree.map(jnp.asarray, index.encode(learned, g["fd"]))
    same(index.scores(learned, rows, jnp.asarray(g["f"])), 1 - g["sdc_distance"])
