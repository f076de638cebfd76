import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block, stack_blocks
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.posemb.alibi import ALiBi
from jaxemb.posemb.base import Places
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.none import NoPos
from jaxemb.posemb.rescale import NTK, DynamicNTK, Interpolated, YaRN
from jaxemb.posemb.reuse import Grouped, Recurrent
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.rotary_mixed import MixedRotary
from jaxemb.posemb.self_extend import SelfExtend

IMAGE = Rotary(axes=2, base=100.0)
ALL = Allow()
Q = normal(0, 1, 12, 2, 8)


def line(n):
    return jnp.arange(n)[None, :, None]


def cells(rows, columns):
    return jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), axis=-1).reshape(1, -1, 2)


def angles(posemb, pos, width=8, grid=None, prefix=0, allow=ALL):
    """Cosines and sines, n r."""
    at = Places(pos, grid=grid, allow=allow)
    at = at.at(apply(posemb, {}, at, method="locate"))
    cosine, sine = apply(posemb, {}, at, heads=2, width=width, prefix=prefix, method="prepare").angles
    return np.stack([cosine[:, :, 0], sine[:, :, 0]])


def waves(posemb, pos, width=8, axes=1):
    """Frequencies: the angles of the second token, which is 1 away from the first along every axis."""
    pos = jnp.concatenate([jnp.zeros((1, 1, axes), pos.dtype), jnp.ones((1, 1, axes), pos.dtype), pos], axis=1)
    cosine, sine = angles(posemb, pos, width)
    return np.arctan2(sine, cosine)[0, 1], np.hypot(sine, cosine)[0, 1]


# ---- Interpolated ----------------------------------------------------------------------------------------------------------------


def test_interpolation_is_dividing_positions():
    got = angles(Interpolated(of=Rotary(), factor=4.0), line(12))
    np.testing.assert_array_equal(got, angles(Rotary(), line(12) / 4))
    np.testing.assert_allclose(waves(Interpolated(of=Rotary(), factor=4), line(2))[0], waves(Rotary(), line(2))[0] / 4, rtol=1e-6)


def test_interpolation_by_1_is_the_identity():
    np.testing.assert_array_equal(angles(Interpolated(of=Rotary(), factor=1.0), line(5)), angles(Rotary(), line(5)))


def test_each_axis_of_a_grid_has_its_factor():
    pos = cells(3, 4)
    own = angles(Interpolated(of=IMAGE, factor=(2, 4)), pos)
    np.testing.assert_array_equal(own, angles(IMAGE, pos.astype(jnp.float32) / jnp.array([[[2.0, 4.0]]])))
    # From the grid: 5 rows on 4 are two times as many, 4 columns on 4 as many as in training.
    np.testing.assert_array_equal(
        angles(Interpolated(of=IMAGE, factor=None, original=(4, 4)), cells(5, 4), grid=(5, 4)),
        angles(IMAGE, cells(5, 4).astype(jnp.float32) / jnp.array([[[2.0, 1.0]]])),
    )


@pytest.mark.parametrize(
    "posemb", [Interpolated(of=Rotary(), factor=3, original=8), Interpolated(of=Rotary(), factor=None, original=8)]
)
def test_original_leaves_short_inputs_alone(posemb):
    np.testing.assert_array_equal(angles(posemb, line(8), grid=(8,)), angles(Rotary(), line(8)))
    s = 3 if posemb.factor else 2  # ceil(9 / 8)
    np.testing.assert_array_equal(angles(posemb, line(9), grid=(9,)), angles(Rotary(), line(9) / s))
    np.testing.assert_array_equal(angles(posemb, line(24), grid=(24,)), angles(Rotary(), line(24) / 3))


def add(posemb, table, pos, grid):
    at = Places(pos, grid=grid)
    at = at.at(apply(posemb, {}, at, method="locate"))
    return apply(posemb, {"params": {"table": table}}, jnp.zeros((1, pos.shape[1], table.shape[1])), at, method="add")[0]


def test_a_learned_table_is_read_between_its_rows():
    table = jnp.array([[0.0], [8.0]])
    twice = Interpolated(of=Learned(shape=(2,)), factor=None, original=2)
    np.testing.assert_array_equal(add(twice, table, line(4), (4,))[:, 0], [0, 4, 8, 8])  # e0, (e0 + e1)/2, e1, e1
    np.testing.assert_array_equal(add(twice, table, line(2), (2,))[:, 0], [0, 8])
    grid = jnp.array([[0.0], [1.0], [10.0], [11.0]])  # 2 x 2, read as 2 x 4
    got = add(Interpolated(of=Learned(shape=(2, 2)), factor=(1, 2)), grid, cells(2, 4), (2, 4))
    np.testing.assert_array_equal(got[:, 0], [0, 0.5, 1, 1, 10, 10.5, 11, 11])


# ---- NTK -------------------------------------------------------------------------------------------------------------------------


def test_ntk_changes_the_base():
    for got in (NTK(of=Rotary(base=100.0), lam=5.0), NTK(of=Rotary(base=50.0), lam=10.0)):
        np.testing.assert_allclose(angles(got, line(12)), angles(Rotary(base=500.0), line(12)), atol=1e-6)


@pytest.mark.parametrize("s", [2.0, 7.0])
def test_a_factor_stretches_the_longest_wave_exactly_that_much(s):
    plain, _ = waves(Rotary(), line(2))
    theta, factor = waves(NTK(of=Rotary(), lam=None, factor=s), line(2))
    np.testing.assert_allclose(plain / theta, s ** (np.arange(4) / 3), rtol=1e-5)  # 1 for the shortest, s for the longest
    np.testing.assert_allclose(factor, 1, rtol=1e-6)


def test_ntk_of_a_grid_has_a_factor_for_each_axis():
    """A head of 16 has 8 features an axis: four waves."""
    plain, _ = waves(IMAGE, cells(2, 2), 16, axes=2)
    theta, _ = waves(NTK(of=IMAGE, lam=None, factor=(3, 1)), cells(2, 2), 16, axes=2)
    np.testing.assert_allclose(plain / theta, [*(3 ** (np.arange(4) / 3)), 1, 1, 1, 1], rtol=1e-5)
    theta, _ = waves(NTK(of=IMAGE, lam=(1, 4)), cells(2, 2), 16, axes=2)
    np.testing.assert_allclose(plain / theta, [1, 1, 1, 1, *(4 ** (np.arange(4) / 4))], rtol=1e-5)


# ---- dynamic NTK -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 8, 9, 24])
def test_dynamic_ntk_by_the_formula(n):
    dynamic = DynamicNTK(of=Rotary(base=100.0), factor=2.0, original=8)
    base = 100 * max(2 * n / 8 - 1, 1) ** (8 / 6)
    np.testing.assert_allclose(angles(dynamic, line(n)), angles(Rotary(base=base), line(n)), atol=2e-6)


def test_dynamic_ntk_is_each_examples_own():
    dynamic = DynamicNTK(of=Rotary(), factor=2.0, original=4)
    short, long = jnp.array([[[0], [3], [1]]]), jnp.array([[[0], [9], [4]]])
    both = angles(dynamic, jnp.concatenate([short, long]))
    for i, one in enumerate((short, long)):
        np.testing.assert_array_equal(both[:, i], angles(dynamic, one)[:, 0])
    np.testing.assert_array_equal(both[:, 0], angles(Rotary(), short)[:, 0])


def test_dynamic_ntk_of_shifted_positions_is_no_longer():
    dynamic = DynamicNTK(of=Rotary(), factor=2.0, original=4)
    np.testing.assert_array_equal(angles(dynamic, line(4) + 100), angles(Rotary(), line(4) + 100))


def test_dynamic_ntk_of_a_grid_that_is_not_square():
    dynamic = DynamicNTK(of=IMAGE, factor=2.0, original=4)
    got = angles(dynamic, cells(4, 8), 16)  # rows as in training, columns twice as many: base 100 * 3^(8/6)
    rows, columns = cells(4, 8)[..., :1], cells(4, 8)[..., 1:]
    np.testing.assert_allclose(got[..., :4], angles(Rotary(base=100.0), rows, 8), atol=1e-6)
    np.testing.assert_allclose(got[..., 4:], angles(Rotary(base=100 * 3 ** (8 / 6)), columns, 8), atol=2e-6)


def test_the_length_of_a_text_is_its_own():
    """Neither padding nor what else is packed into the row makes it longer."""
    dynamic = DynamicNTK(of=Rotary(), factor=2.0, original=4)
    valid = jnp.arange(12)[None] < 6
    padded = angles(dynamic, line(12), allow=Allow(valid))
    np.testing.assert_array_equal(padded[:, 0, :6], angles(dynamic, line(6))[:, 0])
    pos = jnp.concatenate([line(6), line(3)], axis=1)
    packed = angles(dynamic, pos, allow=Allow(segments=jnp.array([[1] * 6 + [0] * 3])))
    np.testing.assert_array_equal(packed[:, 0, :6], angles(dynamic, line(6))[:, 0])
    np.testing.assert_array_equal(packed[:, 0, 6:], angles(dynamic, line(3))[:, 0])
    np.testing.assert_array_equal(
        angles(dynamic, line(5), allow=Allow(jnp.zeros((1, 5), bool)))[:, 0, 0], angles(Rotary(), line(1))[:, 0, 0]
    )


def near(got, expected):
    """XLA divides by a number that it knows by multiplying."""
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [3, None])
def test_short_texts_are_left_alone_in_long_rows(factor):
    posemb = Interpolated(of=Rotary(), factor=factor, original=4)
    alone = {n: angles(posemb, line(n), grid=(n,)) for n in (4, 7)}
    assert not np.allclose(alone[7][:, :, :4], alone[4])
    packed = angles(posemb, jnp.concatenate([line(7), line(4)], axis=1), allow=Allow(segments=jnp.array([[0] * 7 + [1] * 4])))
    near(packed[:, :, :7], alone[7])
    near(packed[:, :, 7:], alone[4])
    padded = angles(posemb, line(7), grid=(7,), allow=Allow(jnp.arange(7)[None] < jnp.array([[7], [4]])))
    near(padded[:, 0], alone[7][:, 0])
    near(padded[:, 1, :4], alone[4][:, 0])


def test_padding_of_a_short_text_needs_no_row_of_a_table():
    at = Places(line(8), grid=(8,), allow=Allow(jnp.arange(8)[None] < 3))
    posemb = Interpolated(of=Learned(shape=(4,)), factor=2, original=4)
    where = apply(posemb, {}, at, method="locate")
    np.testing.assert_array_equal(where[0, :3, 0], [0, 1, 2])
    table = {"params": {"table": jnp.ones((4, 2))}}
    assert bool(jnp.isfinite(apply(posemb, table, jnp.zeros((1, 8, 2)), at.at(where), method="add")).all())


# ---- YaRN ------------------------------------------------------------------------------------------------------------------------


def test_yarn_by_1_is_the_identity():
    yarn = YaRN(of=Rotary(), factor=1.0, original=64)
    np.testing.assert_array_equal(angles(yarn, line(12)), angles(Rotary(), line(12)))
    assert yarn.attention_factor() == 1.0


def test_yarn_by_hand():
    """d = 8, base 10^4, Lo = 1000: cd(32) = 0.70 and cd(1) = 2.20, so the ramp goes from 0 to 3: 0, 1/3, 2/3, 1."""
    yarn = YaRN(of=Rotary(), factor=4.0, original=1000)
    assert yarn.bounds(8) == (0, 3)
    theta, factor = waves(yarn, line(2))
    np.testing.assert_allclose(theta, 10.0 ** -np.arange(4) * [1, 3 / 4, 1 / 2, 1 / 4], rtol=1e-5)
    np.testing.assert_allclose(factor, 0.1 * np.log(4) + 1, rtol=1e-6)


def test_yarn_leaves_short_waves_and_interpolates_long_ones():
    yarn = YaRN(of=Rotary(), factor=8.0, original=2048)
    plain, (theta, _) = waves(Rotary(), line(2), 64)[0], waves(yarn, line(2), 64)
    turns = 2048 * plain / (2 * np.pi)
    np.testing.assert_allclose(theta[turns > 32 * 1.4], plain[turns > 32 * 1.4], rtol=1e-5)
    np.testing.assert_allclose(theta[turns < 1 / 1.4], plain[turns < 1 / 1.4] / 8, rtol=1e-5)
    assert (np.diff(plain / theta) > -1e-4).all()


def test_yarn_bounds_stay_among_the_features():
    """Along 4 patches even the shortest wave turns less than once: all but the first are interpolated."""
    yarn = YaRN(of=IMAGE, factor=2.0, original=(4, 4))
    assert yarn.bounds(8) == (0, 0)
    plain, (theta, _) = waves(IMAGE, cells(2, 2), 16, axes=2)[0], waves(yarn, cells(2, 2), 16, axes=2)
    np.testing.assert_allclose(plain / theta, [1, 2, 2, 2] * 2, rtol=1e-5)
    assert YaRN(of=Rotary(base=2.0), original=10**6).bounds(8) == (7, 7)


def test_yarn_of_a_grid_has_factors_for_each_axis():
    """Also that on cosines and sines."""
    _, factor = waves(YaRN(of=IMAGE, factor=(4, 1), original=(16, 32)), cells(2, 2), 16, axes=2)
    np.testing.assert_allclose(factor, [0.1 * np.log(4) + 1] * 4 + [1.0] * 4, rtol=1e-6)
    theta, _ = waves(YaRN(of=IMAGE, factor=(1, 4), original=16), cells(2, 2), 16, axes=2)
    plain, _ = waves(IMAGE, cells(2, 2), 16, axes=2)
    np.testing.assert_allclose(theta[:4], plain[:4], rtol=1e-6)
    assert theta[7] == pytest.approx(plain[7] / 4, rel=1e-5)


# ---- all of them -----------------------------------------------------------------------------------------------------------------

OTHERS = [
    Interpolated(of=Rotary(), factor=2.5),
    NTK(of=Rotary(), lam=3.0),
    DynamicNTK(of=Rotary(), factor=2.0, original=8),
    YaRN(of=Rotary(), factor=2.0, original=8),
    Grouped(of=Rotary(), factor=2),
    Recurrent(of=Rotary(), original=4),
    SelfExtend(of=Rotary(), group=2, window=3),
]


@pytest.mark.parametrize("posemb", OTHERS[:4], ids=lambda p: type(p).__name__)
def test_logits_depend_on_distances_alone(posemb):
    def logits(pos):
        pos = apply(posemb, {}, Places(pos), method="locate")
        shared = apply(posemb, {}, Places(pos), heads=2, width=8, method="prepare")
        return jnp.einsum("bnhe,bmhe->bhnm", *apply(posemb, {}, Q, Q, shared, method="rotate"))

    np.testing.assert_allclose(logits(line(12) + 40), logits(line(12)), atol=1e-4)


@pytest.fixture(scope="module")
def trained():
    """A model with plain rotary positions, and what it makes of 12 tokens."""
    ids = jnp.arange(12)[None] % 7
    encoder = Transformer(
        stem=Tokens(7),
        width=16,
        depth=2,
        blocks=(Block(Attention(2, kernel_init="xavier"), FeedForward(kernel_init="xavier")),),
        pos=Rotary(),
    )
    params = jax.jit(encoder.init)(jax.random.key(3), ids)
    return encoder, params, ids, apply(encoder, params, ids).tokens


@pytest.mark.parametrize("posemb", OTHERS, ids=lambda p: type(p).__name__)
def test_a_trained_model_takes_any_of_them(posemb, trained):
    encoder, params, ids, plain = trained
    longer = encoder.clone(pos=posemb)
    assert jax.tree.structure(jax.eval_shape(longer.init, jax.random.key(0), ids)) == jax.tree.structure(params)
    out = jax.jit(longer.apply)(params, ids).tokens
    assert float(abs(out - plain).max()) > 1e-3
    scanned = jax.jit(longer.clone(scan=True).apply)({"params": stack_blocks(params["params"])}, ids).tokens
    np.testing.assert_allclose(scanned, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interpolated(factor=0.5), "Interpolated.factor=0.5 must be at least 1"),
        (lambda: Interpolated(factor=(2, 0)), r"Interpolated.factor=\(2, 0\) must be at least 1"),
        (lambda: Interpolated(factor=None), "Interpolated: factor=None takes the factor from `original`, which is not given"),
        (lambda: Interpolated(original=0), "Interpolated.original=0 must be at least 1"),
        (lambda: NTK(lam=3.0, factor=2.0), "NTK takes lam or factor, not both or none: lam=3.0, factor=2.0"),
        (lambda: NTK(lam=None), "lam=None, factor=None"),
        (lambda: NTK(lam=0.5), "NTK.lam=0.5 must be at least 1"),
        (lambda: NTK(lam=None, factor=0.5), "NTK.factor=0.5 must be at least 1"),
        (lambda: NTK(of=Learned()), "NTK changes the frequencies of Rotary, it cannot wrap Learned"),
        (lambda: NTK(of=IMAGE, lam=(2, 3, 4)), r"NTK.lam=\(2, 3, 4\) has 3 numbers, positions have 2"),
        (lambda: DynamicNTK(factor=0), "DynamicNTK.factor=0 must be at least 1"),
        (lambda: DynamicNTK(original=0), "DynamicNTK.original=0 must be at least 1"),
        (lambda: DynamicNTK(of=MixedRotary()), "DynamicNTK changes the frequencies of Rotary, it cannot wrap MixedRotary"),
        (lambda: DynamicNTK(original=(4, 4)), r"DynamicNTK.original=\(4, 4\) has 2 numbers, positions have 1"),
        (lambda: YaRN(factor=0.9), "YaRN.factor=0.9 must be at least 1"),
        (lambda: YaRN(of=IMAGE, original=(8, 0)), r"YaRN.original=\(8, 0\) must be at least 1"),
        (lambda: YaRN(of=YaRN()), "YaRN changes the frequencies of Rotary, it cannot wrap YaRN"),
        (lambda: YaRN(of=ALiBi()), "it cannot wrap ALiBi"),
        (lambda: YaRN(fast=1.0, slow=2.0), "YaRN needs 0 < slow < fast, not slow=2.0, fast=1.0"),
        (lambda: YaRN(slow=0.0), "not slow=0.0, fast=32.0"),
        (lambda: YaRN(of=IMAGE, factor=(2,)), r"YaRN.factor=\(2,\) has 1 numbers, positions have 2"),
    ],
)
def test_bad_fields(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_inputs_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match=r"factor=\(2, 3\) has 2 numbers, positions have 1"):
        apply(Interpolated(of=NoPos(), factor=(2, 3)), {}, Places(line(4)), method="locate")
    with pytest.raises(ConfigError, match=r"original=\(4, 4\) has 2 numbers, positions have 1"):
        apply(Interpolated(of=NoPos(), original=(4, 4)), {}, Places(line(4), grid=(4,)), method="locate")
    with pytest.raises(ConfigError, match="factor=None needs an encoder that knows the size of its input; name a factor"):
        apply(Interpolated(of=NoPos(), factor=None, original=4), {}, Places(line(4)), method="locate")
    with pytest.raises(ConfigError, match=r"Rotary\(axes=1\) was given positions of 2 numbers"):
        apply(YaRN(), {}, Places(cells(2, 2)), heads=2, width=8, method="prepare")
