"""MaxSim by hand and by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops import maxsim as module
from jaxemb.ops.maxsim import Matrices, maxsim, maxsim_row_by_row, padded_maxsim, ragged

Q = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
D = [np.array([[3.0, 4.0]], np.float32), np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32)]


def test_by_hand():
    np.testing.assert_allclose(maxsim([Q], D), [[0.6 + 0.8, 0 + 1]], rtol=1e-6)
    np.testing.assert_allclose(maxsim([Q], D, "dot"), [[3 + 8, 0 + 2]], rtol=1e-6)
    np.testing.assert_allclose(maxsim([Q], D, over="max"), [[0.8, 1]], rtol=1e-6)
    np.testing.assert_allclose(maxsim_row_by_row([Q, D[1]], D), [1.4, 2], rtol=1e-6)
    np.testing.assert_allclose(maxsim([jnp.asarray(Q)], [jnp.asarray(d) for d in D], "dot"), [[11, 2]], rtol=1e-6)


def test_padding_never_counts():
    """A row of zeros would be nearer than any row with a negative product."""
    away = np.array([[-1.0, 0.0], [0.0, 0.0]], np.float32)
    assert maxsim([Q[:1]], [away], "dot")[0, 0] == -1
    assert maxsim([np.concatenate([Q[:1], away[1:]])], [away], over="max")[0, 0] == -1
    np.testing.assert_array_equal(maxsim([Q, Q[:0]], [away[1:]]), [[0], [0]])
    assert maxsim([], D).shape == (0, 2) and maxsim_row_by_row([], []).shape == (0,)


@pytest.mark.parametrize("over", ["sum", "max"])
def test_blocks_are_the_whole(over, monkeypatch):
    rng = np.random.default_rng(0)
    a, b = ([rng.normal(size=(n, 3)).astype(np.float32) for n in rng.integers(1, 6, size)] for size in (7, 9))
    reduce = np.sum if over == "sum" else np.max
    wanted = [[reduce((q @ d.T).max(1)) for d in b] for q in a]
    for rows, block in ((2048, 2**22), (4, 6), (1, 1)):
        monkeypatch.setattr(module, "ROWS", rows)
        monkeypatch.setattr(module, "BLOCK", block)
        np.testing.assert_allclose(maxsim(a, b, "dot", over), wanted, rtol=1e-5)


def test_padded_as_ragged_with_a_gradient_of_what_is_real_alone():
    """Rows of zeros are no tokens, nor are those that a mask leaves out; a text without any has 0 with all, and no NaN."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(n, 4, 3)).astype(np.float32) for n in (3, 4))
    a[0, 1], a[2], b[1, 2:], b[3] = 0, 0, 0, 0
    np.testing.assert_allclose(padded_maxsim(a, b), maxsim(a, b, "dot"), rtol=1e-5)
    whole, real = np.where(b == 0, np.float32(9), b), (b != 0).any(2)
    value = jax.jit(jax.value_and_grad(lambda d: padded_maxsim(jnp.asarray(a), d, d_real=jnp.asarray(real), mean=True).sum()))
    found, gradient = value(jnp.asarray(whole))
    counts = np.maximum((a != 0).any(2).sum(1), 1)
    np.testing.assert_allclose(found, (maxsim(a, b, "dot") / counts[:, None]).sum(), rtol=1e-5)
    assert (gradient[~real] == 0).all() and (np.abs(gradient).sum(2) > 0).sum() >= 3 and np.isfinite(gradient).all()


def test_what_is_a_matrix_a_text():
    assert ragged(D) and ragged(np.zeros((2, 3, 4))) and not ragged([Q[0], Q[1]]) and not ragged(Q) and not ragged([])
    some = Matrices([Q, *D], "max")
    assert len(some[1:]) == 2 and some[[2, 0]].each[1] is Q and some[:1].over == "max"


def test_refused():
    with pytest.raises(ConfigError, match="compared by cosine or dot, not by 'euclidean'"):
        maxsim([Q], D, "euclidean")
    with pytest.raises(ConfigError, match="over='mean'; valid: sum, max"):
        maxsim([Q], D, over="mean")
    with pytest.raises(ConfigError, match="embeddings of 2 and of 5 numbers cannot be compared"):
        maxsim([Q], [np.ones((1, 5), np.float32)])
    with pytest.raises(ConfigError, match="rows are compared one by one, and there are 1 and 2"):
        maxsim_row_by_row([Q], D)
    with pytest.raises(ConfigError, match="a matrix with a row a token, not an array of shape"):
        maxsim([Q[None]], D)
