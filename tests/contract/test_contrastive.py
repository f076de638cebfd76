"""What every contrastive loss keeps to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE, NTXent
from jaxemb.contrastive.base import matched
from jaxemb.discover import members
from jaxemb.train.sharding import batch_sharding, make_mesh, on_mesh, shardings

B, M = 8, 16
SYMMETRIC = {"directions": ("q2d", "d2q"), "partition": "each"}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def rows(dtype="float32"):
    """Pairs that are alike, candidates beyond them, places of the positives, and a `keep` with False in it."""
    rng = np.random.default_rng(0)
    q, c, order = rng.normal(size=(B, 6)), rng.normal(size=(M, 6)), rng.permutation(M)
    c[:B] += q
    places = np.argsort(order)[:B].astype(np.int32)
    return jnp.asarray(q, dtype), jnp.asarray(c[order], dtype), jnp.asarray(places), jnp.asarray(rng.random((B, M)) < 0.8)


def permuted(loss):
    """(a loss, the same of permuted queries and candidates)."""
    q, c, places, keep = map(np.asarray, rows())
    weights = np.arange(1.0, B + 1, dtype=np.float32)
    i, j = (np.random.default_rng(n).permutation(size) for n, size in ((4, B), (5, M)))
    value = jax.jit(lambda *arrays: loss(*arrays).value)
    moved = np.argsort(j).astype(np.int32)[places[i]]
    return value(q, c, places, weights, keep), value(q[i], c[j], moved, weights[i], keep[i][:, j])


@pytest.fixture(params=members("contrastive"), ids=lambda m: m.name)
def loss(request):
    return request.param.cls()


def test_the_order_of_pairs_and_candidates_does_not_matter(loss):
    np.testing.assert_allclose(*permuted(loss), **CLOSE)


def test_a_loss_that_takes_the_diagonal_for_the_positives_is_found():
    """The planted fault."""
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(*permuted(lambda q, c, p, w, k: InfoNCE()(q, c, None, w, k)), **CLOSE)


def placed(loss):
    """(a loss with the positives anywhere, the same with them moved to the front), both with a `keep`."""
    q, c, places, keep = map(np.asarray, rows())
    order = np.concatenate([places, np.setdiff1d(np.arange(M), places)])
    first, front = jax.jit(lambda *a: loss(*a[:3], keep=a[3]).value), jax.jit(lambda q, c, keep: loss(q, c, keep=keep).value)
    return first(q, c, places, keep), front(q, c[order], keep[:, order])


@pytest.mark.parametrize("loss", [*(m.cls() for m in members("contrastive")), InfoNCE(**SYMMETRIC)], ids=str)
def test_keep_is_looked_at_where_the_positives_are(loss):
    np.testing.assert_allclose(*placed(loss), **CLOSE)


@pytest.mark.parametrize("loss", [InfoNCE(**SYMMETRIC), NTXent()], ids=lambda x: type(x).__name__)
def test_a_keep_that_is_taken_of_the_first_candidates_is_found(loss, monkeypatch):
    """The planted fault."""
    for module in ("info_nce", "nt_xent", "softmax"):
        monkeypatch.setattr(f"jaxemb.contrastive.{module}.matched", first_of_keep)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(*placed(loss), **CLOSE)


@pytest.mark.parametrize("wrong", [-1, M])
def test_a_positive_that_is_no_candidate_is_refused_and_where_it_is_not_known_the_loss_is_nan(loss, wrong):
    q, c, places, _ = rows()
    gradient = jax.jit(jax.value_and_grad(lambda q, *rest: loss(q, c, *rest).value))
    outside, weights = places.at[2].set(wrong), jnp.ones(B)
    with pytest.raises(ConfigError, match=rf"{type(loss).__name__}: positives must lie in 0 to {M - 1}, .* not {wrong}"):
        loss(q, c, outside, weights)
    with pytest.raises(ConfigError, match="positives must lie in"):
        loss(q, c, outside, weights.at[2].set(-1))
    with pytest.raises(ConfigError, match="there are no queries to compare"):
        loss(q[:0], c, places[:0])
    value, grads = gradient(q, outside, weights)
    assert np.isnan(value) and np.isnan(grads).any()
    uncounted = weights.at[2].set(0)  # padding may have any
    np.testing.assert_array_equal(
        gradient(q, outside, uncounted)[0], gradient(q, places.at[2].set(0 if wrong < 0 else M - 1), uncounted)[0]
    )
    assert np.isfinite(gradient(q, outside, uncounted)[0])


def first_of_keep(x, positives, b, axis=0):
    return x[:, :b] if x.dtype == bool else matched(x, positives, b, axis)


def test_finite_in_bfloat16_at_a_low_temperature(loss):
    if hasattr(loss, "temperature"):
        loss = dataclasses.replace(loss, temperature=0.01)
    q, c, places, keep = rows("bfloat16")
    gradient = jax.jit(jax.value_and_grad(lambda x, y: loss(x, y, places, keep=keep).value, (0, 1)))
    for scale in (1, 100, 0):
        out, grads = gradient(*(jnp.asarray(scale, x.dtype) * x for x in (q, c)))
        assert out.dtype == jnp.float32 and bool(jnp.isfinite(out)) and all(bool(jnp.isfinite(g).all()) for g in grads)


def test_padding_changes_nothing_and_where_all_is_padding_the_loss_is_zero(loss):
    q, c = rows()[0], rows()[1][:B]
    real = jnp.arange(B) < 5
    weights, keep = real.astype(jnp.float32), jnp.broadcast_to(real[None], (B, B))

    def padded(q, c, weights):
        return loss(jnp.where(real[:, None], q, 7), jnp.where(real[:, None], c, -3), weights=weights, keep=keep)

    out, short = jax.jit(padded)(q, c, weights), jax.jit(loss)(q[:5], c[:5])
    np.testing.assert_allclose(out.value, short.value, **CLOSE)
    assert float(out.weight) == float(short.weight) == 5
    value, grads = jax.jit(jax.value_and_grad(lambda q, c: padded(q, c, 0 * weights).value, (0, 1)))(q, c)
    assert float(value) == 0 and all((np.asarray(g) == 0).all() for g in grads)


def test_gradients_are_equal_on_any_number_of_devices_with_rows_and_parameters_cut(loss):
    """Of pairs that a matrix embeds, which lies over the devices of fsdp as the preset says."""
    q, c, places, keep = rows()
    params = {"kernel": np.random.default_rng(6).normal(size=(6, 8)).astype(np.float32)}

    def of(params, q, c):
        return loss(q @ params["kernel"], c @ params["kernel"], places, keep=keep).value

    found = []
    for axes in ({"data": 1}, {"fsdp": 2}, {"data": 2, "fsdp": 4}):
        mesh = make_mesh(axes)
        placed, cut = shardings(params, "fsdp", mesh), batch_sharding(mesh)
        assert mesh.size == 1 or placed["kernel"].spec == P(None, "fsdp")
        gradient = jax.jit(on_mesh(jax.value_and_grad(of, (0, 1, 2)), mesh), out_shardings=(None, (placed, cut, cut)))
        found.append(jax.device_get(gradient(*jax.device_put((params, q, c), (placed, cut, cut)))))
    for other in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), found[0], other)
