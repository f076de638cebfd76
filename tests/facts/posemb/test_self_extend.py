import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.rescale import Interpolated, YaRN
from jaxemb.posemb.rotary import Rotary, turn
from jaxemb.posemb.self_extend import SelfExtend, relative_positions

Q, K, V = normal(0, 3, 2, 10, 2, 8)
DIRECTIONS = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])


def line(n):
    return jnp.arange(n)[None, :, None]


def attend(posemb, q=Q, k=K, v=V, pos=None, mask=None, causal=False, prefix=0, **more):
    pos = line(k.shape[1] - prefix) if pos is None else pos
    how = {name: more.pop(name) for name in ("scale", "softcap") if name in more}
    shared = apply(posemb, {}, Places(pos), heads=2, width=8, prefix=prefix, method="prepare")
    return apply(posemb, {}, q, k, v, shared, Allow(mask, causal=causal, **more), **how, method="attend")


def by_definition(pos, group, window, q=Q, k=K, v=V, mask=None, causal=False):
    """q turned by the relative position of every pair, against k as it is."""
    rel = relative_positions(pos, pos, group, window)
    n = len(pos)
    turned = turn(jnp.repeat(q, n, axis=1), *Rotary().angles(Places(rel.reshape(1, -1, 1)), 8)).reshape(len(q), n, n, *q.shape[2:])
    logits = jnp.einsum("bnmhe,bmhe->bhnm", turned, k) / 8**0.5
    allowed = jnp.ones((1, 1, n, n), bool) if mask is None else mask[:, None, None]
    allowed = allowed & jnp.tril(jnp.ones((n, n), bool))[None, None] if causal else allowed
    return jnp.einsum("bhnm,bmhe->bnhe", jax.nn.softmax(jnp.where(allowed, logits, -1e30), axis=-1), v)


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_the_worked_example():
    """w = 4, g = 2, n = 10, key minus query."""
    ids = jnp.arange(10)
    forward = -relative_positions(ids, ids, 2, 4)
    np.testing.assert_array_equal(forward[0], [0, 1, 2, 3, 4, 4, 5, 5, 6, 6])
    np.testing.assert_array_equal(forward[4], [-4, -3, -2, -1, 0, 1, 2, 3, 4, 4])


def test_relative_positions_are_odd_and_depend_on_more_than_the_distance():
    ids = jnp.arange(10)
    rel = relative_positions(ids, ids, 2, 4)
    np.testing.assert_array_equal(rel, -rel.T)
    assert rel[5, 0] == 4 and rel[6, 1] == 5  # both 5 apart
    np.testing.assert_array_equal(relative_positions(ids, ids, 1, 4), ids[:, None] - ids[None, :])
    np.testing.assert_array_equal(relative_positions(ids, ids, 5, 10), ids[:, None] - ids[None, :])


@DIRECTIONS
@pytest.mark.parametrize(("group", "window"), [(1, 1), (1, 4), (3, 10), (4, 64)])
def test_groups_of_1_or_a_window_over_everything_are_plain_rotary(group, window, causal):
    close(attend(SelfExtend(group=group, window=window), causal=causal), attend(Rotary(), causal=causal))


@DIRECTIONS
@pytest.mark.parametrize(("group", "window"), [(2, 4), (3, 2), (4, 1)])
def test_attention_is_that_of_the_relative_positions(group, window, causal):
    posemb = SelfExtend(group=group, window=window)
    expected = by_definition(jnp.arange(10), group, window, causal=causal)
    close(attend(posemb, causal=causal), expected)
    assert float(abs(expected - attend(Rotary(), causal=causal)).max()) > 0.01
    mask = jnp.arange(10)[None] < jnp.array([[10], [6]])
    expected = by_definition(jnp.arange(10), group, window, mask=mask, causal=causal)
    close(attend(posemb, mask=mask, causal=causal), expected)


def test_positions_may_be_in_any_order():
    order = jnp.array([3, 9, 0, 7, 1, 2, 8, 6, 5, 4])
    posemb = SelfExtend(group=2, window=4)
    close(attend(posemb, *(x[:, order] for x in (Q, K, V)), pos=line(10)[:, order]), attend(posemb)[:, order])


def test_a_class_token_is_at_position_0():
    posemb = SelfExtend(group=2, window=4)
    pos = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.arange(9)])
    close(attend(posemb, prefix=1), by_definition(pos, 2, 4))


@DIRECTIONS
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 64])
def test_chunks_of_queries_give_the_same(chunk, causal):
    """Also where the last chunk is not full."""
    mask = jnp.arange(10)[None] < jnp.array([[10], [6]])
    for fields in ({}, {"original": 6}):
        whole = SelfExtend(group=2, window=3, chunk=0, **fields)
        cut = SelfExtend(group=2, window=3, chunk=chunk, **fields)
        close(attend(cut, mask=mask, causal=causal), attend(whole, mask=mask, causal=causal))


@DIRECTIONS
def test_gradients_are_finite_and_the_same_in_chunks(causal):
    mask = jnp.arange(10)[None] < jnp.array([[10], [0]])  # the second example is padding alone

    def grads(chunk):
        posemb = SelfExtend(group=2, window=3, chunk=chunk)
        return jax.jit(jax.grad(lambda qkv: (attend(posemb, *qkv, mask=mask, causal=causal) ** 2).sum()))((Q, K, V))

    for whole, cut in zip(grads(0), grads(4), strict=True):
        assert bool(jnp.isfinite(whole).all()) and float(abs(whole[0]).max()) > 0.01
        close(cut, whole)


def test_masked_keys_cannot_change_the_result():
    mask = jnp.arange(10)[None] < jnp.array([[7], [4]])
    away = mask[:, :, None, None]
    posemb = SelfExtend(group=2, window=3)
    other = attend(posemb, Q, jnp.where(away, K, 1e3), jnp.where(away, V, -1e3), mask=mask)
    for i, n in enumerate((7, 4)):
        np.testing.assert_array_equal(other[i, :n], attend(posemb, mask=mask)[i, :n])


@DIRECTIONS
def test_original_leaves_short_inputs_alone(causal):
    plain, longer = attend(Rotary(), causal=causal), attend(SelfExtend(group=2, window=3), causal=causal)
    close(attend(SelfExtend(group=2, window=3, original=10), causal=causal), plain)
    close(attend(SelfExtend(group=2, window=3, original=9), causal=causal), longer)
    shifted = attend(SelfExtend(group=2, window=3, original=10), pos=line(10) + 50, causal=causal)
    close(shifted, attend(Rotary(), pos=line(10) + 50, causal=causal))


def test_padding_does_not_make_an_input_longer():
    mask = jnp.arange(10)[None] < jnp.array([[10], [6]])
    posemb = SelfExtend(group=2, window=3, original=6)
    out = attend(posemb, mask=mask)
    close(out[0], attend(SelfExtend(group=2, window=3))[0])
    close(out[1, :6], attend(posemb, Q[1:, :6], K[1:, :6], V[1:, :6])[0])
    close(out[1], attend(Rotary(), mask=mask)[1])


def test_layout_and_share_are_those_of_the_wrapped():
    of = Rotary(layout="interleaved", share=0.5, base=100.0)
    close(attend(SelfExtend(of=of, group=3, window=10)), attend(of))


def test_half_precision_stays_half():
    half = [x.astype(jnp.bfloat16) for x in (Q, K, V)]
    out = attend(SelfExtend(group=2, window=3, chunk=5), *half)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), attend(SelfExtend(group=2, window=3)), atol=0.05)


# ---- the whole of Allow ----------------------------------------------------------------------------------------------------------


@DIRECTIONS
@pytest.mark.parametrize("chunk", [0, 3])
def test_texts_packed_into_one_row_are_those_of_rows_of_their_own(chunk, causal):
    """Also in what is short: the text of 4 is attended to plainly, that of 6 is not."""
    segments = jnp.array([[5] * 6 + [3] * 4])
    pos = jnp.concatenate([jnp.arange(6), jnp.arange(4)])[None, :, None]
    posemb = SelfExtend(group=2, window=2, chunk=chunk, original=5)
    q, k, v = (x[:1] for x in (Q, K, V))
    out = attend(posemb, q, k, v, pos=pos, segments=segments, causal=causal)
    close(out[:, :6], attend(posemb, *(x[:, :6] for x in (q, k, v)), causal=causal))
    close(out[:, 6:], attend(posemb, *(x[:, 6:] for x in (q, k, v)), causal=causal))
    close(out[:, 6:], attend(Rotary(), *(x[:, 6:] for x in (q, k, v)), causal=causal))


@DIRECTIONS
def test_a_window_scale_and_softcap_are_those_of_attention(causal):
    everything = SelfExtend(group=3, window=64, chunk=4)  # exact everywhere: plain rotary attention
    how = {"window": 2, "scale": 0.7, "softcap": 1.5, "causal": causal, "mask": jnp.arange(10)[None] < jnp.array([[10], [6]])}
    close(attend(everything, **how), attend(Rotary(), **how))
    plain = attend(Rotary())
    for name in ("window", "scale", "softcap"):
        assert float(abs(attend(everything, **{name: how[name]}) - plain).max()) > 1e-3


@DIRECTIONS
@pytest.mark.parametrize("chunk", [0, 2])
def test_queries_may_be_the_last_of_the_tokens(chunk, causal):
    posemb = SelfExtend(group=2, window=3, chunk=chunk)
    how = {"causal": causal, "window": 7, "mask": jnp.arange(10)[None] < jnp.array([[10], [8]])}
    close(attend(posemb, Q[:, -3:], **how), attend(posemb, **how)[:, -3:])
    with pytest.raises(ConfigError, match="10 queries are more than the 4 tokens"):
        attend(posemb, Q, K[:, :4], V[:, :4])


def test_a_query_that_may_look_at_nothing_gets_zeros():
    mask = jnp.arange(10)[None] < jnp.array([[10], [0]])
    np.testing.assert_array_equal(attend(SelfExtend(group=2, window=3, chunk=4), mask=mask)[1], 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelfExtend(group=0), "SelfExtend needs group >= 1, window >= 1 and chunk >= 0, not group=0, window=64, chunk=128"),
        (lambda: SelfExtend(window=0), "not group=4, window=0, chunk=128"),
        (lambda: SelfExtend(chunk=-1), "not group=4, window=64, chunk=-1"),
        (lambda: SelfExtend(original=0), "SelfExtend.original=0 must be at least 1"),
        (lambda: SelfExtend(of=Learned()), "it cannot wrap Learned, only Rotary"),
        (lambda: SelfExtend(of=YaRN()), "it cannot wrap YaRN, only Rotary"),
    ],
)
def test_bad_fields(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_positions_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match="SelfExtend groups whole positions of one number, not int32 positions of 2"):
        apply(SelfExtend(), {}, Places(jnp.zeros((1, 4, 2), jnp.int32)), heads=2, width=8, method="prepare")
    with pytest.raises(ConfigError, match="not float32 positions of 1"):
        attend(Interpolated(of=SelfExtend(), factor=2), pos=line(10) / 2)
