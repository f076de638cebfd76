import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places
from jaxemb.posemb.rotary import Rotary, half_from_interleaved

Q, K = normal(0, 2, 2, 5, 2, 8)
LINE = jnp.array([[[0], [1], [2], [5], [9]]])
CELLS = jnp.array([[[0, 0], [0, 3], [1, 2], [4, 0], [2, 7]]])
KINDS = [
    (Rotary(), LINE),
    (Rotary(layout="interleaved", base=100.0), LINE),
    (Rotary(share=0.5), LINE),
    (Rotary(axes=2, base=100.0), CELLS),
    (Rotary(axes=2, base=100.0, layout="interleaved"), CELLS),
]


def rotate(posemb, pos, q=Q, k=K, prefix=0):
    shared = posemb.prepare(Places(pos), heads=q.shape[2], width=q.shape[3], prefix=prefix)
    return posemb.rotate(q, k, shared)


def logits(q, k):
    return jnp.einsum("bnhe,bmhe->bhnm", q, k)


def test_one_pair_turns_by_the_position():
    """In a head of 2 theta_0 = 1: one pair, one radian a position."""
    x = jnp.tile(jnp.array([1.0, 0.0]), (1, 4, 1, 1))
    out, _ = rotate(Rotary(), jnp.array([[[0.0], [1.0], [-2.0], [0.25]]]), x, x)
    np.testing.assert_allclose(out[0, :, 0], [[np.cos(p), np.sin(p)] for p in (0, 1, -2, 0.25)], atol=1e-6)


def test_waves_fall_from_1_to_almost_1_over_the_base():
    cosine, sine = Rotary(base=256.0).angles(Places(jnp.array([[[1]]])), 8)
    np.testing.assert_allclose(jnp.arctan2(sine, cosine)[0, 0, 0], [1, 1 / 4, 1 / 16, 1 / 64], rtol=1e-6)


def test_axial_turns_one_half_by_rows_and_one_by_columns():
    both = Rotary(axes=2, base=100.0).angles(Places(CELLS), 8)
    rows, columns = (Rotary(base=100.0).angles(Places(CELLS[..., i : i + 1]), 4) for i in (0, 1))
    for two, row, column in zip(both, rows, columns, strict=True):
        np.testing.assert_array_equal(two, jnp.concatenate([row, column], axis=-1))


@pytest.mark.parametrize(("posemb", "pos"), KINDS)
def test_logits_depend_on_distances_alone(posemb, pos):
    expected = logits(*rotate(posemb, pos))
    move = jnp.array([7, -30][: pos.shape[-1]])[None, None]
    np.testing.assert_allclose(logits(*rotate(posemb, pos + move)), expected, atol=1e-4)
    assert float(abs(logits(*rotate(posemb, 2 * pos)) - expected).max()) > 0.1


@settings(max_examples=10, deadline=None)
@given(st.floats(-50, 50), st.sampled_from(KINDS))
def test_also_by_part_of_a_position(move, kind):
    posemb, pos = kind
    pos = pos.astype(jnp.float32)
    np.testing.assert_allclose(logits(*rotate(posemb, pos + move)), logits(*rotate(posemb, pos)), atol=2e-4)


@pytest.mark.parametrize(("posemb", "pos"), KINDS)
def test_every_pair_keeps_its_length(posemb, pos):
    def lengths(x):
        r = posemb.turned(x.shape[-1]) // 2
        pairs = (x[..., : 2 * r : 2], x[..., 1 : 2 * r : 2]) if posemb.layout == "interleaved" else (x[..., :r], x[..., r : 2 * r])
        return jnp.hypot(*pairs)

    for before, after in zip((Q, K), rotate(posemb, pos), strict=True):
        np.testing.assert_allclose(lengths(after), lengths(before), rtol=1e-5)
        assert float(abs(after - before).max()) > 0.1


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_partial_rotary_is_that_of_a_smaller_head_and_leaves_the_rest(layout):
    part, _ = rotate(Rotary(share=0.5, layout=layout), LINE)
    np.testing.assert_array_equal(part[..., 4:], Q[..., 4:])
    np.testing.assert_array_equal(part[..., :4], rotate(Rotary(layout=layout), LINE, Q[..., :4], K[..., :4])[0])


def test_layouts_are_the_same_up_to_the_permutation():
    perm = half_from_interleaved(8)
    np.testing.assert_array_equal(perm, [0, 2, 4, 6, 1, 3, 5, 7])
    interleaved = rotate(Rotary(layout="interleaved"), LINE)
    half = rotate(Rotary(), LINE, Q[..., perm], K[..., perm])
    for a, b in zip(interleaved, half, strict=True):
        np.testing.assert_allclose(a[..., perm], b, rtol=1e-6)
    assert float(abs(interleaved[0] - rotate(Rotary(), LINE)[0]).max()) > 0.1  # not interchangeable


def test_angles_are_float32_whatever_the_tokens_are():
    """In bfloat16 positions 1000 and 1001 would be the same."""
    pos = jnp.array([[[1000], [1001]]])
    q = jnp.ones((1, 2, 1, 8), jnp.bfloat16)
    shared = Rotary().prepare(Places(pos), heads=1, width=8)
    assert shared.angles[0].dtype == jnp.float32
    out, _ = Rotary().rotate(q, q, shared)
    assert out.dtype == jnp.bfloat16
    exact, _ = rotate(Rotary(), pos, jnp.ones((1, 2, 1, 8)), jnp.ones((1, 2, 1, 8)))
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))
    assert float(abs(out[0, 0] - out[0, 1]).max()) > 0.5


@pytest.mark.parametrize(("posemb", "pos"), [(Rotary(), LINE[:, :3]), (Rotary(axes=2), CELLS[:, :3])])
def test_class_and_register_tokens_are_not_turned(posemb, pos):
    pos = pos + 3
    turned, _ = rotate(posemb, pos, prefix=2)
    np.testing.assert_array_equal(turned[:, :2], Q[:, :2])
    np.testing.assert_allclose(turned[:, 2:], rotate(posemb, pos, Q[:, 2:], K[:, 2:])[0], rtol=1e-6)


def test_every_example_has_its_own_positions():
    pos = jnp.concatenate([LINE, LINE[:, ::-1]])
    both, _ = rotate(Rotary(), pos)
    for i in range(2):
        np.testing.assert_allclose(both[i], rotate(Rotary(), pos[i : i + 1], Q[i : i + 1], K[i : i + 1])[0][0], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": "gptj"}, "Rotary.layout='gptj'; valid: half, interleaved"),
        ({"axes": 0}, r"axes >= 1, base > 0 and share in \(0, 1\], not 0, 10000.0, 1.0"),
        ({"base": 0.0}, "not 1, 0.0, 1.0"),
        ({"share": 0.0}, "not 1, 10000.0, 0.0"),
        ({"share": 1.5}, "not 1, 10000.0, 1.5"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigError, match=message):
        Rotary(**fields)


def test_heads_and_positions_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match=r"Rotary\(axes=1\) was given positions of 2 numbers"):
        Rotary().angles(Places(CELLS), 8)
    with pytest.raises(ConfigError, match=r"Rotary\(axes=2\) was given positions of 1 numbers"):
        Rotary(axes=2).angles(Places(LINE), 8)
    with pytest.raises(ConfigError, match=r"5 rotated features \(share=1.0 of a head of 5\) .* a multiple of 2"):
        Rotary().angles(Places(LINE), 5)
    with pytest.raises(ConfigError, match=r"6 rotated features .* a multiple of 4"):
        Rotary(axes=2).angles(Places(CELLS), 6)
    with pytest.raises(ConfigError, match=r"0 rotated features \(share=0.1 of a head of 8\)"):
        Rotary(share=0.1).angles(Places(LINE), 8)
