import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError
from jaxemb.ops.tract import conv_moment, dense_moment, realised_cosine, tract_conv, tract_dense, weight_gradient


def normal(seed, *shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def grads(layer, x, w, g):
    """(z, dL/dx, what stands for dL/dW) of a layer z = layer(x, w) with dL/dz = g."""
    z, pull = jax.vjp(layer, x, w)
    return z, *pull(g)


def solve(x, g, lam):
    """(X^T X / r + lambda I)^-1 X^T G in float64."""
    x, g = np.asarray(x, np.float64), np.asarray(g, np.float64)
    return np.linalg.solve(x.T @ x / len(x) + lam * np.eye(x.shape[1]), x.T @ g)


# ---- the formula -----------------------------------------------------------------------------------------------------------------


def test_by_hand():
    x, g = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[1.0], [1.0]])
    np.testing.assert_allclose(weight_gradient(x, g, 0.5), [[1.0], [0.8]], rtol=1e-6)


def test_limits():
    x, g = normal(0, 12, 3), normal(1, 12, 2)
    np.testing.assert_allclose(1e6 * weight_gradient(x, g, 1e6), x.T @ g, rtol=1e-4, atol=1e-4)
    white = jnp.eye(4) * 2 * 1.5**0.5  # four rows, X^T X / 4 = 1.5 I
    np.testing.assert_allclose(weight_gradient(white, g[:4], 0.5), white.T @ g[:4] / 2, rtol=1e-5, atol=1e-6)


def test_one_hot_inputs_learn_as_an_embedding():
    g = normal(0, 5, 3)
    np.testing.assert_allclose(weight_gradient(jnp.eye(5), g, 1e-7), 5 * g, rtol=1e-4)


def test_order_and_copies_of_rows_do_not_matter():
    x, g = normal(0, 9, 4), normal(1, 9, 2)
    once = weight_gradient(x, g, 0.1)
    np.testing.assert_allclose(weight_gradient(x[::-1], g[::-1], 0.1), once, rtol=1e-4, atol=1e-5)
    twice = weight_gradient(jnp.tile(x, (2, 1)), jnp.tile(g / 2, (2, 1)), 0.1)
    np.testing.assert_allclose(twice, once, rtol=1e-4, atol=1e-5)


def test_preactivations_move_alike_whatever_the_scale_of_the_inputs():
    x, g = normal(0, 9, 3), normal(1, 9, 2)
    moves = [c * x @ weight_gradient(c * x, g, 1e-6) for c in (1.0, 4.0)]
    np.testing.assert_allclose(moves[1], moves[0], rtol=1e-3, atol=1e-4)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.sampled_from([0.02, 0.1, 1.0]), st.integers(0, 99))
def test_both_branches_are_the_formula_and_descend(rows, n, m, lam, seed):
    x, g = normal(seed, rows, n), normal(seed + 1, rows, m)
    got = np.asarray(weight_gradient(x, g, lam), np.float64)
    np.testing.assert_allclose(got, solve(x, g, lam), rtol=1e-3, atol=1e-4)
    assert (got * np.asarray(x.T @ g)).sum() > 0


def test_no_gradient_stays_none():
    assert (np.asarray(weight_gradient(normal(0, 6, 3), jnp.zeros((6, 2)), 0.1)) == 0).all()


def test_realised_cosine():
    x, g = normal(0, 40, 6) * 10.0 ** jnp.arange(-2.0, 1.0, 0.5)[None], normal(1, 40, 3)
    found = [float(realised_cosine(x, weight_gradient(x, g, lam), g)) for lam in (1e-7, 0.1, 1e5)]
    basis = np.linalg.qr(np.asarray(x, np.float64))[0]
    best = np.linalg.norm(basis.T @ np.asarray(g)) / np.linalg.norm(g)
    assert found[0] == pytest.approx(best, rel=1e-3) and found[0] > found[1] > found[2]
    assert found[2] == pytest.approx(float(realised_cosine(x, x.T @ g, g)), rel=1e-3), "a large lambda is the plain gradient"
    few = weight_gradient(x[:4], g[:4], 1e-7)
    assert float(realised_cosine(x[:4], few, g[:4])) == pytest.approx(1, abs=1e-3), "as many weights as rows: it can be realised"


# ---- layers ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dense_is_plain_but_for_the_weights(dtype):
    x, w, g = normal(0, 3, 5, 4, dtype=dtype), normal(1, 4, 2), normal(2, 3, 5, 2, dtype=dtype)
    plain = grads(lambda x, w: (x.reshape(-1, 4) @ w.astype(dtype)).reshape(3, 5, 2), x, w, g)
    ours = grads(lambda x, w: tract_dense(x, w, 0.1), x, w, g)
    for a, b in zip(ours[:2], plain[:2], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))
    assert ours[2].dtype == w.dtype
    # In float32 even where the layer computes in bfloat16: the rounding is that of the inputs alone.
    np.testing.assert_allclose(ours[2], solve(x.reshape(-1, 4), g.reshape(-1, 2), 0.1), rtol=1e-4, atol=1e-4)


def test_sixty_four_bits_stay():
    with jax.enable_x64(True):
        x, g = normal(0, 9, 4, dtype="float64"), normal(1, 9, 2, dtype="float64")
        np.testing.assert_allclose(weight_gradient(x, g, 1e-3), solve(x, g, 1e-3), rtol=1e-11)


@st.composite
def geometries(draw):
    pair = st.tuples(st.integers(1, 2), st.integers(1, 3))
    low_high = st.tuples(st.integers(0, 2), st.integers(0, 2))
    padding = st.one_of(st.sampled_from(["SAME", "VALID"]), st.integers(0, 2), st.tuples(low_high, low_high))
    return {"strides": draw(pair), "padding": draw(padding), "dilation": draw(st.one_of(st.just(1), pair))}


@settings(max_examples=6, deadline=None)
@given(geometries(), st.tuples(st.integers(1, 3), st.integers(1, 2)), st.integers(1, 2), st.sampled_from(["float32", "bfloat16"]))
def test_convolution_is_plain_but_for_the_weights(how, size, c, dtype):
    """With the patches that JAX cuts as the reference: (X^T X / r + lambda I) times ours is the plain gradient."""
    x, w = normal(0, 2, 6, 7, c, dtype=dtype), normal(1, *size, c, 2)
    pads = ((how["padding"],) * 2,) * 2 if isinstance(how["padding"], int) else how["padding"]
    dilation = (how["dilation"],) * 2 if isinstance(how["dilation"], int) else how["dilation"]
    geometry = {"rhs_dilation": dilation, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    conv = functools.partial(jax.lax.conv_general_dilated, window_strides=how["strides"], padding=pads, **geometry)
    z = conv(x, w.astype(dtype))
    g = normal(2, *z.shape, dtype=dtype)
    plain, ours = grads(lambda x, w: conv(x, w.astype(dtype)), x, w, g), grads(lambda x, w: tract_conv(x, w, 0.1, **how), x, w, g)
    for a, b in zip(ours[:2], plain[:2], strict=True):
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))
    patches = jax.lax.conv_general_dilated_patches(x, size, how["strides"], pads, **geometry)
    columns = patches.reshape(-1, c, size[0] * size[1]).swapaxes(1, 2).reshape(-1, w[..., 0].size)
    expected = solve(np.asarray(columns, np.float32), np.asarray(g, np.float32).reshape(-1, 2), 0.1)
    np.testing.assert_allclose(ours[2].reshape(-1, 2), expected, rtol=1e-3, atol=1e-3)


# ---- devices ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [24, 8], ids=["many-rows", "few-rows"])
@pytest.mark.parametrize("kernel", [P(), P("fsdp"), P("model", None), P("fsdp", "model")], ids=str)
def test_the_moment_is_that_of_the_global_batch(kernel, rows):
    x, w, g = normal(0, rows, 12), normal(1, 12, 4), normal(2, rows, 4)
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2, 2), ("data", "fsdp", "model"), axis_types=(AxisType.Auto,) * 3)
    f = functools.partial(grads, lambda x, w: tract_dense(x, w, 0.1))
    where = [NamedSharding(mesh, spec) for spec in (P(("data", "fsdp")), kernel, P(("data", "fsdp")))]
    spread = jax.jit(f, in_shardings=tuple(where))(x, w, g)
    for a, b in zip(spread, f(x, w, g), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# ---- bad input -------------------------------------------------------------------------------------------------------------------


def test_integers_are_refused():
    with pytest.raises(ConfigError, match="floating-point numbers, best standardised .* not uint8"):
        tract_dense(jnp.ones((2, 3), jnp.uint8), jnp.ones((3, 1)), 0.1)
    with pytest.raises(ConfigError, match="not int32"):
        tract_conv(jnp.ones((1, 3, 3, 1), jnp.int32), jnp.ones((2, 2, 1, 1)), 0.1)
    with pytest.raises(ConfigError, match="not uint8"):
        dense_moment(jnp.ones((2, 3), jnp.uint8), 0.1, dtype="float32")
    with pytest.raises(ConfigError, match="not int32"):
        conv_moment(jnp.ones((1, 3, 3, 1), jnp.int32), (2, 2), 0.1, dtype="float32")


def test_grouped_convolutions_and_other_paddings_are_refused():
    with pytest.raises(ConfigError, match="a kernel for 1 of 2 channels is a grouped convolution.*groups=1"):
        tract_conv(jnp.ones((1, 3, 3, 2)), jnp.ones((2, 2, 1, 4)), 0.1)
    with pytest.raises(ConfigError, match="padding='CIRCULAR'; valid: SAME, VALID"):
        tract_conv(jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1, 1)), 0.1, padding="CIRCULAR")


@pytest.mark.parametrize("rows", [2, 9])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_moment_that_is_not_finite_gives_nan_and_no_garbage(value, rows):
    x = normal(0, rows, 3).at[1, 1].set(value)
    assert np.isnan(weight_gradient(x, normal(1, rows, 2), 0.1)).all()
