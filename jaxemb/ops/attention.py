"""Scaled dot-product attention, computed the way that was measured to be fastest on the backend at hand.

    out = softmax(q k^T / sqrt(e) + bias, masked keys excluded) v

- CPU: einsum with the heads moved in front (b h n e); 1.1x-1.2x faster than `jax.nn.dot_product_attention` in XLA:CPU.
- GPU: `jax.nn.dot_product_attention`, with the fused cuDNN kernel where it applies (half precision, no learned bias).
- TPU: the flash-attention kernel that JAX ships, for sequences long enough that the n x m logits matter.

The softmax runs in float32 whatever the dtype of q, k and v.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxemb.ops.dtypes import wide

FLASH_FROM = 1024
"""Tokens from which the TPU kernel pays: below, XLA's fused softmax keeps the logits on chip anyway."""


def attention(
    q: Float[Array, "b n h e"],
    k: Float[Array, "b m h e"],
    v: Float[Array, "b m h e"],
    *,
    bias: Float[Array, "#b #h n m"] | None = None,
    mask: Bool[Array, "b m"] | None = None,
    causal: bool = False,
) -> Float[Array, "b n h e"]:
    """Attention of each query over the keys where `mask` is True. Where no key is valid the output is finite, not a NaN."""
    backend = jax.default_backend()
    if backend == "gpu":
        return _fused(q, k, v, bias, mask, causal)
    if backend == "tpu" and _flash_applies(q, k):
        return _flash(q, k, v, bias, mask, causal)
    return _einsum(q, k, v, bias, mask, causal)


def _allowed(mask: Array | None, causal: bool, n: int, m: int) -> Array | None:
    """b|1 1 n|1 m, True where a query may look; None: everywhere."""
    allowed = None if mask is None else mask[:, None, None, :]
    if causal:
        order = (jnp.arange(n)[:, None] + (m - n) >= jnp.arange(m)[None, :])[None, None]
        allowed = order if allowed is None else allowed & order
    return allowed


def _einsum(q: Array, k: Array, v: Array, bias: Array | None, mask: Array | None, causal: bool) -> Array:
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    # The scale goes to q: n e products instead of n m.
    logits = jnp.einsum("bhne,bhme->bhnm", q * q.shape[-1] ** -0.5, k, preferred_element_type=wide(q))
    if bias is not None:
        logits = logits + bias.astype(logits.dtype)
    allowed = _allowed(mask, causal, q.shape[2], k.shape[2])
    if allowed is not None:
        logits = jnp.where(allowed, logits, jnp.finfo(logits.dtype).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.swapaxes(jnp.einsum("bhnm,bhme->bhne", weights, v), 1, 2)


def _fused(q: Array, k: Array, v: Array, bias: Array | None, mask: Array | None, causal: bool) -> Array:
    # cuDNN has half-precision kernels alone, and none for the gradient of a broadcast bias.
    half = q.dtype in (jnp.bfloat16, jnp.float16)
    implementation = "cudnn" if half and bias is None and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128 else "xla"
    allowed = None if mask is None else mask[:, None, None, :]
    if bias is not None:
        bias = bias.astype(q.dtype)
    with jax.numpy_dtype_promotion("standard"):  # the library mixes bfloat16 with float32 inside
        return jax.nn.dot_product_attention(q, k, v, bias, allowed, is_causal=causal, implementation=implementation)


def _flash_applies(q: Array, k: Array) -> bool:
    n, m, e = q.shape[1], k.shape[1], q.shape[-1]
    return min(n, m) >= FLASH_FROM and n % 128 == 0 and m % 128 == 0 and (e % 128 == 0 or e == 64)


def _flash(q: Array, k: Array, v: Array, bias: Array | None, mask: Array | None, causal: bool) -> Array:
    from jax.experimental.pallas.ops.tpu.flash_attention import SegmentIds, flash_attention

    b, n, h, e = q.shape
    m = k.shape[1]
    segments = None
    if mask is not None:  # queries are segment 1, as are valid keys; padded keys are segment 0
        segments = SegmentIds(jnp.ones((b, n), jnp.int32), mask.astype(jnp.int32))
    if bias is not None:
        bias = jnp.broadcast_to(bias, (b, h, n, m)).astype(q.dtype)
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    out = flash_attention(q, k, v, ab=bias, segment_ids=segments, causal=causal, sm_scale=e**-0.5)
    return jnp.swapaxes(out, 1, 2)
