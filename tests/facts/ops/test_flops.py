"""The FLOP counter against closed forms, and against XLA's own count where that is right."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxemb.ops.attention import attention
from jaxemb.ops.flops import flops_of


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def dense(x, w):
    return jnp.tanh(x @ w)


LAYER = 2 * 3 * 8 * 8
X, W = array(3, 8), array(8, 8)


def stack(w, x, body=dense):
    return jax.lax.scan(lambda x, w: (body(x, w), None), x, w)[0].sum()


CONV = 2 * (2 * 7 * 7 * 8) * (4 * 4 * 3)


def conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def depthwise(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", feature_group_count=8, dimension_numbers=("NHWC", "HWIO", "NHWC"))


DEPTHWISE = (array(2, 16, 16, 8), array(3, 3, 1, 8))
IMAGES, KERNEL = array(2, 16, 16, 3), array(4, 4, 3, 8)
QKV = (array(2, 16, 4, 8),) * 3
ATTENTION = 2 * 2 * (2 * 4 * 16 * 16 * 8)

CASES = {
    "dense": (dense, (X, W), LAYER),
    "batched": (jax.vmap(dense, in_axes=(0, None)), (array(5, 3, 8), W), 5 * LAYER),
    "gradient": (jax.grad(lambda x, w: dense(x, w).sum(), (0, 1)), (X, W), 3 * LAYER),
    "scan": (stack, (array(7, 8, 8), X), 7 * LAYER),
    "gradient of a scan": (jax.grad(stack, (0, 1)), (array(7, 8, 8), X), 7 * 3 * LAYER),
    "remat in a scan": (jax.grad(lambda w, x: stack(w, x, jax.checkpoint(dense)), (0, 1)), (array(7, 8, 8), X), 7 * 4 * LAYER),
    "jit": (jax.jit(dense), (X, W), LAYER),
    "known loop": (lambda x, w: jax.lax.fori_loop(0, 5, lambda i, x: dense(x, w), x), (X, W), 5 * LAYER),
    "cond": (lambda p, x, w: jax.lax.cond(p, dense, lambda x, w: x, x, w), (array(dtype=bool), X, W), LAYER),
    "result that nobody needs": (lambda x, w: (dense(x, w), x)[1], (X, W), 0),
    "conv": (conv, (IMAGES, KERNEL), CONV),
    "gradient of a strided conv's kernel": (jax.grad(lambda w, x: conv(x, w).sum()), (KERNEL, IMAGES), CONV),
    "depthwise": (depthwise, DEPTHWISE, 2 * (2 * 16 * 16 * 8) * 9),
    "gradient of a depthwise conv": (jax.grad(lambda *a: (depthwise(*a) ** 2).sum(), (0, 1)), DEPTHWISE, 6 * 4096 * 9),
    "attention": (attention, QKV, ATTENTION),
    "gradient of attention": (jax.grad(lambda *qkv: attention(*qkv).sum(), (0, 1, 2)), QKV, 3 * ATTENTION),
    "cholesky": (jnp.linalg.cholesky, (array(2, 6, 6),), 2 * 6**3 / 3),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_closed_forms(case):
    f, shapes, expected = CASES[case]
    found = flops_of(f, *shapes)
    assert found.count == expected and not found.loops


def test_the_gradient_of_a_strided_convolution_counts_no_zeros():
    """Its output is 16 x 16 where the forward pass has 7 x 7 of twice the stride: 1.3 of it, not 5.2."""
    found = flops_of(jax.grad(lambda x, w: (conv(x, w) ** 2).sum()), IMAGES, KERNEL)
    assert found.count == CONV + CONV * (16 * 16 / 4) / (7 * 7)


def test_a_loop_of_unknown_length_is_one_turn_and_says_so():
    found = flops_of(lambda n, x, w: jax.lax.fori_loop(0, n, lambda i, x: dense(x, w), x), array(dtype=jnp.int32), X, W)
    assert found.count == LAYER and found.loops


def test_every_device_of_a_shard_map_counts():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    cut = jax.shard_map(dense, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    assert flops_of(cut, array(12, 8), W).count == 4 * LAYER


def test_a_kernel_counts_what_it_does_again():
    """Two products forward; the two kernels of the gradient make the weights again: 2 + 3 + 4."""
    from jax.experimental.pallas.ops.tpu.flash_attention import flash_attention

    q = array(1, 2, 256, 128, dtype=jnp.bfloat16)
    product = 2 * 2 * 256 * 256 * 128
    assert flops_of(lambda q: flash_attention(q, q, q), q).count == 2 * product
    assert flops_of(jax.grad(lambda q: flash_attention(q, q, q).astype(jnp.float32).sum()), q).count == 9 * product


def test_as_xla_counts_where_there_is_no_loop():
    """XLA counts elementwise operations as well: at most a few per cent in products of this size."""

    def f(w, x):
        for _ in range(3):
            x = dense(x, w)
        return x.sum()

    shapes = (array(256, 256), array(128, 256))
    ours = flops_of(jax.grad(f), *shapes).count
    cost = jax.jit(jax.grad(f)).lower(*shapes).cost_analysis()
    assert ours == pytest.approx(cost["flops"], rel=0.02) and ours < cost["flops"]
