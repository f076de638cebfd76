"""Attention on TPUs in memory linear in tokens, by the kernels that JAX ships.

- Without a bias: `splash_attention`, for every `Allow` and with a soft cap. Who is seen by place (`causal`, `window`, `prefix`) is
  computed inside, and blocks of keys that no query of a block sees are left out: the cost of a window grows with n, not n m.
- With a bias: `flash_attention`. The bias (1, h, n, m) is itself quadratic, and so is its gradient; both are held once, not once a
  row. A bias with a soft cap has no kernel.

Tokens are padded to whole blocks with keys that nobody sees. Block sizes follow what others run on TPUs; they were not tuned here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.pallas.ops.tpu import flash_attention as flash_lib
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash_lib
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as mask_lib

from jaxemb.ops.allow import Allow

BLOCKS = (512, 256, 128)
LANES = 128
NOBODY = np.iinfo(np.int32).min
"""The segment of keys that are padding."""
SINK = -1e37
"""A logit beside those of all keys, with the value 0: above a masked logit (-2e38) and below every other. It gets the weight 1 of a
query that sees nothing, whose output is then 0 as are its gradients, and no weight of any other query."""
UNSEEN = -1e30
"""What a bias is where a key is not seen: far enough, and finite when the kernel adds its own mask."""


def flash(q: Array, k: Array, v: Array, bias: Array | None, allow: Allow, *, scale: float, softcap: float | None = None) -> Array:
    """As `attention`, on one device. Without a bias a query that sees nothing gets zeros; with one it may get anything."""
    if bias is not None:
        return _with_bias(q, k, v, bias, allow, scale)
    (b, n, h, e), m = q.shape, k.shape[1]
    block = _block(n, allow.window), _block(m, allow.window)
    q, k, v = _padded(q * scale, block[0]), _padded(k, block[1]), _padded(v, block[1])
    shape = q.shape[2], k.shape[2]
    ids = _segments(allow, b, (n, m), shape)
    seen = Seen(dataclasses.replace(allow, valid=None, segments=None), n, m)
    by_place = allow.causal or allow.window is not None or (ids is None and shape[1] > m)
    mask = Blocks(seen, shape) if by_place else mask_lib.FullMask(shape)
    kernel = splash_lib.make_splash_mha_single_device(
        mask_lib.MultiHeadMask([mask] * h),
        block_sizes=_block_sizes(*block),
        attn_logits_soft_cap=softcap,
    )
    segments = None if ids is None else splash_lib.SegmentIds(*ids)
    sinks = jnp.full((h,), SINK, jnp.float32)
    out: Any = jax.vmap(lambda q, k, v, segments: kernel(q, k, v, segments, sinks))(q, k, v, segments)
    return jnp.swapaxes(out[:, :, :n, :e], 1, 2)


@dataclasses.dataclass(frozen=True)
class Seen:
    """Which of m keys are seen by which of n queries by their places alone. A value: what is traced for one serves its equals."""

    allow: Allow
    n: int
    m: int

    def __call__(self, query: Any, key: Any) -> Any:
        """By the numbers of queries and keys, padding behind the last key included."""
        near = self.allow.near(query + (self.m - self.n), key)
        return (key < self.m) if near is None else near & (key < self.m)

    def any(self, queries: slice, keys: slice) -> bool:
        """Whether some of these keys may be seen by some of these queries; never False where one is."""
        first, last = queries.start + self.m - self.n, queries.stop - 1 + self.m - self.n
        nearest, farthest = first - (keys.stop - 1), last - keys.start  # of query minus key
        if keys.start >= self.m or (self.allow.causal and farthest < 0):
            return False
        if self.allow.window is None or min(first, keys.start) < self.allow.prefix:
            return True
        return nearest <= self.allow.window and farthest >= -self.allow.window


@dataclasses.dataclass(frozen=True)
class Blocks(mask_lib.Mask):
    """A mask that the kernel computes for itself. Of a block it tells only whether it has a pair that is seen, and that it has one
    that is not: the preparation of the kernel asks for no more, and to write out all pairs of 32 768 tokens takes minutes."""

    mask_function: Seen
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size

    @property
    def q_sequence(self) -> np.ndarray:
        return np.arange(self.size[0], dtype=np.int32)

    def __getitem__(self, idx: Any) -> np.ndarray:
        return np.array([[self.mask_function.any(*idx), False]])


def _with_bias(q: Array, k: Array, v: Array, bias: Array, allow: Allow, scale: float) -> Array:
    (b, n, h, e), m = q.shape, k.shape[1]
    q, k, v = (_padded(x, LANES) for x in (q * scale, k, v))  # `sm_scale` of the kernel would scale the bias as well
    size = q.shape[2], k.shape[2]
    causal = allow.causal and n == m  # the kernel counts queries from the first key on, and leaves out what lies behind
    seen = Seen(dataclasses.replace(allow, valid=None, segments=None, causal=allow.causal and not causal), n, m)
    bias = jnp.pad(bias, ((0, 0), (0, 0), (0, size[0] - n), (0, size[1] - m)))
    visible = seen(jnp.arange(size[0])[:, None], jnp.arange(size[1])[None])
    bias = jnp.where(visible[None, None], bias, jnp.asarray(UNSEEN, bias.dtype))
    bias = jnp.broadcast_to(bias, (bias.shape[0], h, *size))
    ids = _segments(allow, b, (n, m), size)
    segments = None if ids is None else flash_lib.SegmentIds(*ids)

    def run(q: Array, k: Array, v: Array, segments: Any) -> Array:
        return flash_lib.flash_attention(q, k, v, ab=bias, segment_ids=segments, causal=causal)

    if bias.shape[0] == b:
        out = run(q, k, v, segments)
    else:  # a row at a time: the bias and its gradient are not held for every row
        rows = jax.tree.map(lambda x: x[:, None], (q, k, v, segments))
        out = jax.lax.map(lambda row: run(*row), rows)[:, 0]
    return jnp.swapaxes(out[:, :, :n, :e], 1, 2)


def _segments(allow: Allow, b: int, counts: tuple[int, int], sizes: tuple[int, int]) -> tuple[Array, Array] | None:
    """Of as many queries and keys, filled up to sizes. Padding and packed texts are told by them: a padded key is in a segment that
    nobody asks for."""
    if allow.valid is None and allow.segments is None:
        return None
    keys = jnp.zeros((b, counts[1]), jnp.int32)
    if allow.segments is not None:
        keys = keys + allow.segments.astype(jnp.int32)
    queries = keys[:, :1] if allow.segments is None else allow.of_queries(keys, counts[0])
    if allow.valid is not None:
        keys = jnp.where(allow.valid, keys, NOBODY)
    queries = jnp.broadcast_to(queries, (b, counts[0]))
    return _filled(queries, sizes[0], 0), _filled(keys, sizes[1], NOBODY)


def _block(count: int, window: int | None) -> int:
    """The largest block that wastes no more than an eighth; where few keys are seen, a smaller one."""
    sizes = BLOCKS if window is None or window >= BLOCKS[1] else BLOCKS[1:]
    return next((size for size in sizes if -count % size <= count // 8), LANES)


def _block_sizes(q: int, kv: int) -> splash_lib.BlockSizes:
    return splash_lib.BlockSizes(
        block_q=q, block_kv=kv, block_q_dkv=q, block_kv_dkv=kv, block_q_dq=q, block_kv_dq=kv
    )  # not the fused backward kernel: it holds a gradient of the queries for each block of keys


def _padded(x: Array, block: int) -> Array:
    """b n h e -> b h n e, of whole blocks of tokens, and of heads that fill lanes where they are wider than one."""
    width = -x.shape[3] % LANES if x.shape[3] > LANES else 0
    return jnp.pad(jnp.swapaxes(x, 1, 2), ((0, 0), (0, 0), (0, -x.shape[1] % block), (0, width)))


def _filled(x: Array, size: int, value: int) -> Array:
    return jnp.pad(x, ((0, 0), (0, size - x.shape[1])), constant_values=value)
