"""What every positional embedding keeps to."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, uniform
from flax import linen as nn
from tiny import tiny

from jaxemb.config import ConfigError
from jaxemb.discover import members
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places
from jaxemb.train.compilations import no_compilation

B, N, H, D, PREFIX = 2, 6, 2, 16, 1
CELLS = jnp.array([[0, 5, 3, 15, 8, 6], [1, 2, 14, 7, 4, 9]])
"""The tokens of two examples on a 4 x 4 grid, or in a sequence of 16."""


def build(member):
    return tiny(member.cls)


def position_axes(module):
    """How many numbers a position may have: those of what it wraps; of a member that does not say, one and two."""
    if hasattr(module, "of") and not hasattr(module, "axes"):
        return position_axes(module.of)
    given = getattr(module, "axes", None) or len(getattr(module, "shape", ()))
    return (given,) if given else (1, 2)


def places(axes, cells=CELLS):
    return cells[..., None] if axes == 1 else jnp.stack([cells // 4, cells % 4], axis=-1)


def hooks(module, x, pos, picture, mask):
    """All hooks, as an encoder with a class token and its first layer use them: (tokens, attention's output, tokens)."""
    grid = (16 if mask.shape[1] == N else mask.shape[1],) if pos.shape[-1] == 1 else (4, 4)
    at = Places(pos, grid=grid, picture=picture, allow=Allow(mask), rows=len(x))
    at = at.at(module.locate(at))
    x = module.add(x, at)
    shared = module.prepare(at, heads=H, width=D // H, prefix=PREFIX)
    tokens = jnp.pad(x, ((0, 0), (PREFIX, 0), (0, 0)), constant_values=0.5)
    q, k, v = heads(tokens)
    mask = jnp.pad(mask, ((0, 0), (PREFIX, 0)), constant_values=False)
    return x, module.attend(q, k, v, shared, Allow(mask)), module.after_block(x, 0, at)


def heads(x):
    return (s * x.reshape(len(x), -1, H, D // H) for s in (1.0, 0.7, -0.3))


def packed(module, x, pos, valid, segments):
    """All hooks for causal rows of several texts: (tokens, attention's output, that of the last queries alone)."""
    allow = Allow(valid, segments, causal=True)
    at = Places(pos, allow=allow, rows=len(x))
    at = at.at(module.locate(at))
    x = module.add(x, at)
    shared = module.prepare(at, heads=H, width=D // H)
    q, k, v = heads(x)
    how = {"scale": 0.9, "softcap": 2.0}
    last = module.attend(q[:, -2:], k, v, shared, allow, **how)
    return module.after_block(x, 0, at), module.attend(q, k, v, shared, allow, **how), last


class Case(NamedTuple):
    module: Any
    params: Any
    x: jax.Array
    pos: jax.Array
    picture: Any
    axes: int

    def run(self, x=None, pos=None, mask=None):
        x = self.x if x is None else x
        mask = jnp.ones(x.shape[:2], bool) if mask is None else mask
        return RUN(self.module, self.params, x, self.pos if pos is None else pos, self.picture, mask)


RUN = jax.jit(lambda module, params, *arrays: nn.apply(hooks, module)(params, *arrays), static_argnums=0)
PACKED = jax.jit(lambda module, params, *arrays: nn.apply(packed, module)(params, *arrays), static_argnums=0)
CANNOT = {
    "Conditional": r"Conditional cannot do texts packed into one row \(segments\)",
    "Curve": "Curve needs the grid of the input",
    "RotaryCentred": "RotaryCentred needs the grid of the input",
    "LOOPE": r"LOOPE cannot do texts packed into one row \(segments\)",
}
CASES = [(m, axes) for m in members("posemb") for axes in position_axes(build(m))]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[0].name}-{c[1]}d")
def case(request):
    member, axes = request.param
    module = build(member)
    x, pos = normal(1, B, N, D), places(axes)
    picture = uniform(2, B, 8, 8, 3) if axes == 2 else None
    params = jax.jit(nn.init(hooks, module))(jax.random.key(3), x, pos, picture, jnp.ones((B, N), bool))
    params.pop("losses", None)
    return Case(module, params, x, pos, picture, axes)


def close(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_shapes_and_dtypes_and_finite_in_half_precision(case):
    for dtype in (jnp.float32, jnp.bfloat16):
        out = case.run(case.x.astype(dtype))
        assert [y.shape for y in out] == [(B, N, D), (B, N + PREFIX, H, D // H), (B, N, D)]
        assert all(y.dtype == dtype and bool(jnp.isfinite(y).all()) for y in out)


def test_permuting_tokens_with_their_positions_permutes_the_result(case):
    order = jnp.array([3, 0, 5, 1, 4, 2])
    added, attended, after = case.run()
    expected = (added[:, order], attended[:, jnp.pad(order + PREFIX, (PREFIX, 0))], after[:, order])
    close(case.run(case.x[:, order], case.pos[:, order]), expected)


def test_padding_may_stand_anywhere(case):
    order, mask = jnp.array([3, 0, 5, 1, 4, 2]), jnp.arange(N)[None] < jnp.array([[6], [4]])
    added, attended, after = case.run(mask=mask)
    moved = case.run(case.x[:, order], case.pos[:, order], mask[:, order])
    seen = mask[:, order][..., None]
    for a, b in (
        (added, moved[0]),
        (attended[:, PREFIX:].reshape(B, N, D), moved[1][:, PREFIX:].reshape(B, N, D)),
        (after, moved[2]),
    ):
        np.testing.assert_allclose(jnp.where(seen, b, 0), jnp.where(seen, a[:, order], 0), rtol=1e-5, atol=1e-5)


def test_packed_rows_are_separate_rows_or_refused(case):
    """Two texts of 4 and 2 tokens, each with positions of its own, in a row and in a row each; also that no token sees a later one,
    and that queries may be the last of the tokens."""
    segments = jnp.array([[7, 7, 7, 7, 2, 2]] * B)
    pos = case.pos.at[:, 4:].set(case.pos[:, :2])
    if (name := type(case.module).__name__) in CANNOT:
        with pytest.raises(ConfigError, match=CANNOT[name]):
            PACKED(case.module, case.params, case.x, pos, jnp.ones((B, N), bool), segments)
        return
    run = lambda x, valid, segments: PACKED(case.module, case.params, x, pos, valid, segments)  # noqa: E731
    together = run(case.x, jnp.ones((B, N), bool), segments)
    for text in (7, 2):
        own = segments[0] == text
        apart = run(case.x, segments == text, jnp.zeros_like(segments))
        close([y[:, own] for y in together[:2]], [y[:, own] for y in apart[:2]])
    close([together[2]], [together[1][:, -2:]])
    later = run(case.x.at[:, 3].add(3.0), jnp.ones((B, N), bool), segments)
    np.testing.assert_array_equal(later[1][:, jnp.array([0, 1, 2, 4, 5])], together[1][:, jnp.array([0, 1, 2, 4, 5])])
    assert float(abs(later[1][:, 3] - together[1][:, 3]).max()) > 1e-3


def test_positions_given_once_are_those_of_every_example(case):
    once = case.pos[:1]
    close(case.run(pos=once), case.run(pos=jnp.broadcast_to(once, case.pos.shape)))


def test_a_text_padded_further_beside_a_longer_one_stays_what_it_is(case):
    if case.axes != 1:
        pytest.skip("pictures are not padded")
    x, pos = normal(4, B, 16, D), jnp.arange(16)[None, :, None]
    valid = jnp.arange(16)[None] < jnp.array([[3], [16]])
    alone = case.run(x[:1, :4], pos[:, :4], valid[:1, :4])
    beside = case.run(x, pos, valid)
    own = [0, PREFIX, 0]  # tokens, behind the class token in the attention's output
    assert all(bool(jnp.isfinite(y[0, : p + 3]).all()) for y, p in zip(beside, own))
    close([y[0, : p + 3] for y, p in zip(beside, own)], [y[0, : p + 3] for y, p in zip(alone, own)])


def test_masked_keys_cannot_change_the_result_and_none_at_all_is_finite(case):
    mask = jnp.arange(N)[None] < jnp.array([[4], [0]])
    out = case.run(mask=mask)
    assert all(bool(jnp.isfinite(y).all()) for y in out)
    other = case.run(jnp.where(mask[:, :, None], case.x, 1e3), mask=mask)
    np.testing.assert_allclose(out[1][0, : PREFIX + 4], other[1][0, : PREFIX + 4], rtol=1e-5, atol=1e-5)


def test_positions_are_data_and_other_ones_do_not_recompile(case):
    case.run()
    other = case.pos[::-1]
    with no_compilation():
        case.run(pos=other)


def test_fits_the_encoder_whatever_the_order_of_patches(case):
    if case.axes != 2:
        pytest.skip("images have two axes")
    encoder = Transformer(stem=Patches(2), width=D, depth=1, blocks=(Block(Attention(H)),), pos=case.module, class_token=True)
    params = jax.jit(encoder.init)(jax.random.key(0), case.picture)
    params.pop("losses", None)
    tokens = jax.jit(lambda params, images, keep: encoder.apply(params, images, keep=keep).tokens)
    keep = CELLS[:, :3]
    first = tokens(params, case.picture, keep)
    assert first.shape == (B, 3, D) and bool(jnp.isfinite(first).all())
    np.testing.assert_allclose(first[:, ::-1], tokens(params, case.picture, keep[:, ::-1]), rtol=1e-4, atol=1e-5)
