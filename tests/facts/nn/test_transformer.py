import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block, stack_blocks, unstack_blocks
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.posemb.alibi import ALiBi
from jaxemb.posemb.conditional import Conditional
from jaxemb.posemb.fire import FIRE
from jaxemb.posemb.none import NoPos
from jaxemb.posemb.relative import RelativeBuckets, RelativeGrid
from jaxemb.posemb.rescale import Interpolated
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.sincos import SinCos, sincos

TWO = (Block(Attention(2)),)
SMALL = {"stem": Patches(4), "width": 16, "depth": 3, "blocks": TWO}
IMAGES = normal(0, 2, 8, 8, 3)


@pytest.fixture(scope="module")
def plain():
    model = Transformer(**SMALL)
    return model, jax.jit(model.init)(jax.random.key(1), IMAGES)


def test_features(plain):
    model, params = plain
    f = apply(model, params, IMAGES, layers=(0, -1))
    assert f.tokens.shape == (2, 4, 16) and f.mask.shape == (2, 4) and bool(f.mask.all()) and f.prefix is None
    assert [x.shape for x in f.layers] == [(2, 4, 16)] * 2
    one = apply(
        Transformer(**{**SMALL, "depth": 1}),
        {"params": {k: v for k, v in params["params"].items() if k[-1] not in "12"}},
        IMAGES,
        layers=(0,),
    )
    np.testing.assert_allclose(one.layers[0], f.layers[0], rtol=1e-5, atol=1e-6)


def test_layers_are_before_the_final_norm(plain):
    model, params = plain
    f = apply(model, params, IMAGES, layers=(-1,))
    np.testing.assert_allclose(f.tokens.mean(-1), 0, atol=1e-5)  # fresh norm: scale 1, bias 0
    x = f.layers[0]
    np.testing.assert_allclose((x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True), f.tokens, rtol=1e-2, atol=1e-3)


def test_scan_and_remat_are_the_same_function(plain):
    model, params = plain
    stacked = {"params": stack_blocks(params["params"])}

    @jax.jit
    def gradients(params, stacked):
        def of(p, **fields):
            return jax.value_and_grad(lambda p: (model.clone(**fields).apply(p, IMAGES).tokens ** 3).sum())(p)

        plain = of(params), of(params, remat="full"), of(params, remat="dots")
        return *plain, of(stacked, scan=True), of(stacked, scan=True, remat="full")

    expected, *others = jax.device_get(gradients(params, stacked))
    for i, (value, g) in enumerate(others):
        g = {"params": unstack_blocks(g["params"])} if i > 1 else g
        np.testing.assert_allclose(value, expected[0], rtol=1e-4)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-4), g, expected[1])


def test_scan_returns_the_asked_for_layers(plain):
    model, params = plain
    f = apply(model, params, IMAGES, layers=(2, 0))
    g = apply(model.clone(scan=True), {"params": stack_blocks(params["params"])}, IMAGES, layers=(2, 0))
    for a, b in zip(f.layers, g.layers, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def attention_of(model, params, images=IMAGES):
    """Weights of all layers, b n h n each, by the parameters without scan."""
    left = apply(model, params, images, mutable=["intermediates"])[1]["intermediates"]
    if "blocks" in left:
        return list(left["blocks"]["block_0"]["attention"]["weights"][0])
    return [left[f"block_{i}"]["attention"]["weights"][0] for i in range(model.depth)]


def test_attention_weights_are_left_where_they_are_asked_for(plain):
    """They are the softmax of the logits, a row of 1 for each query, and with them the values give what attention gave."""
    model, params = plain
    first = attention_of(model, params)[0]
    p = params["params"]["block_0"]["attention"]
    x = model.stem.apply({"params": params["params"]["stem"]}, IMAGES, width=16)
    x = x + sincos(model.stem.positions(IMAGES), 16)
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
    q, k = (jnp.einsum("bnd,dhe->bnhe", x, p[name]["kernel"]) for name in ("q", "k"))
    np.testing.assert_allclose(first, jax.nn.softmax(jnp.einsum("bnhe,bmhe->bnhm", q, k) / 8**0.5, -1), rtol=1e-4, atol=1e-6)
    assert "intermediates" not in jax.eval_shape(model.init, jax.random.key(1), IMAGES)


@pytest.mark.parametrize(
    "fields",
    [
        {"pos": ALiBi()},
        {"pos": Rotary(axes=2)},
        {"causal": True},
        {"pos": RelativeGrid(shape=(2, 2))},
        {"blocks": (Block(Attention(8)),)},
    ],
)
def test_attention_weights_of_every_scheme(fields):
    model = Transformer(**{**SMALL, **fields})
    params = init(model, jax.random.key(1), IMAGES)
    for weights in attention_of(model, params):
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
        assert not fields.get("causal") or float(jnp.abs(jnp.triu(weights[:, :, 0], 1)).max()) == 0


def test_attention_weights_with_scan(plain):
    model, params = plain
    stacked = {"params": stack_blocks(params["params"])}
    for a, b in zip(attention_of(model, params), attention_of(model.clone(scan=True), stacked), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_stacking_and_unstacking_are_inverse(plain):
    _, params = plain
    back = unstack_blocks(stack_blocks(params["params"]))
    jax.tree.map(np.testing.assert_array_equal, back, params["params"])


def test_masked_tokens_do_not_touch_the_others(plain):
    model, params = plain
    mask = jnp.array([[True, True, True, False]] * 2)
    keep = jnp.array([[0, 1, 2, 3]] * 2)
    with_padding = apply(model, params, IMAGES, keep=keep, allow=Allow(mask)).tokens[:, :3]
    without = apply(model, params, IMAGES, keep=keep[:, :3]).tokens
    np.testing.assert_allclose(with_padding, without, rtol=1e-4, atol=1e-5)
    g = jax.grad(lambda x: apply(model, params, x, keep=keep, allow=Allow(mask)).tokens[:, :3].sum())(IMAGES)
    assert (np.asarray(g[:, 4:, 4:]) == 0).all() and (np.asarray(g[:, :4, :4]) != 0).any()


def test_without_positions_patches_are_a_set(plain):
    _, params = plain
    model = Transformer(**{**SMALL, "pos": NoPos()})
    keep = jnp.array([[2, 0, 3]] * 2)
    a = apply(model, params, IMAGES, keep=keep).tokens
    moved = IMAGES[:, ::-1, ::-1].reshape(2, 2, 4, 2, 4, 3)[:, :, ::-1, :, ::-1].reshape(2, 8, 8, 3)  # patch i goes to 3 - i
    b = apply(model, params, moved, keep=3 - keep).tokens
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_class_token_and_registers():
    model = Transformer(**SMALL, class_token=True, registers=2)
    params = jax.jit(model.init)(jax.random.key(1), IMAGES)
    assert params["params"]["class_token"].shape == (1, 1, 16) and params["params"]["registers"].shape == (1, 2, 16)
    f = apply(model, params, IMAGES)
    assert f.tokens.shape == (2, 4, 16) and f.prefix.shape == (2, 3, 16)
    # The class token is first: moving its parameter moves prefix row 0 more than it moves the registers' rows.
    params["params"]["class_token"] += normal(2, 1, 1, 16)
    moved = jnp.abs(apply(model, params, IMAGES).prefix - f.prefix).mean((0, 2))
    assert moved[0] > 3 * moved[1]


def test_text_with_one_axis():
    model = Transformer(stem=Tokens(10), width=16, depth=1, blocks=(Block(Attention(2)),), pos=SinCos(axes=1), causal=True)
    ids = jnp.array([[1, 2, 3, 4]])
    params = init(model, jax.random.key(0), ids)
    changed = apply(model, params, ids.at[0, 3].set(9)).tokens
    np.testing.assert_allclose(apply(model, params, ids).tokens[:, :3], changed[:, :3], rtol=1e-6)  # causal


def test_the_first_vectors_may_be_normed_and_projected():
    """Extra tokens and positions included; `first` is what the first block gets."""
    small = {"width": 16, "depth": 1, "blocks": TWO, "class_token": True}
    model = Transformer(stem=Tokens(10), pos=SinCos(axes=1), stem_norm=LayerNorm(0.1), stem_width=8, **small)
    ids = jnp.array([[1, 2, 3, 4]])
    params = jax.tree.map(lambda x: x + 0.5, init(model, jax.random.key(0), ids))
    _, left = apply(model, params, ids, mutable=["intermediates"])
    p = params["params"]
    x = p["stem"]["embedding"][ids] + sincos(jnp.arange(4.0)[:, None], 8)[None]
    x = jnp.concatenate([p["class_token"], x], axis=1)
    assert x.shape == (1, 5, 8) and p["stem_proj"]["kernel"].shape == (8, 16)
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 0.1)
    x = x * p["stem_norm"]["scale"][None, None] + p["stem_norm"]["bias"][None, None]
    expected = x @ p["stem_proj"]["kernel"] + p["stem_proj"]["bias"][None, None]
    np.testing.assert_allclose(left["intermediates"]["first"][0], expected, rtol=1e-4, atol=1e-5)


def test_a_block_locates_tokens_by_its_own_scheme(plain):
    """Half as far apart in the block alone is half as far apart in the encoder, and twice located is not once."""
    params = jax.jit(Transformer(**SMALL, registers=1).init)(jax.random.key(1), IMAGES)
    params = jax.tree.map(lambda x: 10 * x if x.ndim == 3 else x, params)  # fresh attention hardly looks at positions
    half, rotary = Interpolated(of=Rotary(axes=2), factor=2), Rotary(axes=2)

    def tokens(pos, own, **fields):
        blocks = (Block(Attention(2, pos=own)),)
        return apply(Transformer(**{**SMALL, "registers": 1, "pos": pos, "blocks": blocks, **fields}), params, IMAGES).tokens

    expected = tokens(half, None)
    np.testing.assert_allclose(tokens(NoPos(), half), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(tokens(Interpolated(of=NoPos(), factor=4), half), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(tokens(half, rotary), tokens(rotary, None), rtol=1e-4, atol=1e-4)
    assert not np.allclose(expected, tokens(rotary, None), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("own", [SinCos(), Interpolated(of=SinCos()), Conditional()])
def test_what_changes_tokens_is_no_scheme_of_a_block(own):
    model = Transformer(**{**SMALL, "blocks": (Block(Attention(2)), Block(Attention(2, pos=own))), "depth": 2})
    with pytest.raises(ConfigError, match=rf"blocks\[1\].attention.pos: {type(own).__name__} changes tokens before or between"):
        jax.eval_shape(model.init, jax.random.key(0), IMAGES)


def test_dropout_and_stochastic_depth_act_in_training_alone():
    model = Transformer(
        **SMALL
        | {
            "blocks": (
                Block(Attention(2, qk_norm=LayerNorm(), dropout=0.2), FeedForward(dropout=0.2), layer_scale=0.1, drop_path=0.5),
            )
        }
    )
    params = jax.jit(model.init)(jax.random.key(1), IMAGES)
    assert params["params"]["block_0"]["scale1"].tolist() == pytest.approx([0.1] * 16)
    quiet = apply(model, params, IMAGES).tokens
    np.testing.assert_array_equal(quiet, apply(model, params, IMAGES, rngs={"dropout": jax.random.key(0)}).tokens)
    a, b = (apply(model, params, IMAGES, train=True, rngs={"dropout": jax.random.key(i)}).tokens for i in (0, 1))
    assert not np.allclose(a, b)


def test_stochastic_depth_of_one_skips_the_last_layer():
    """Rates rise linearly to drop_path: with 1 - tiny, the last layer is skipped and the first never."""
    model = Transformer(**{**SMALL, "depth": 2, "blocks": (Block(Attention(2), drop_path=1 - 1e-6),)})
    params = jax.jit(model.init)(jax.random.key(1), IMAGES)
    f = apply(model, params, IMAGES, train=True, layers=(0, 1), rngs={"dropout": jax.random.key(3)})
    np.testing.assert_array_equal(f.layers[0], f.layers[1])


def test_half_precision(plain):
    model, params = plain
    half = apply(model.clone(dtype="bfloat16"), params, IMAGES).tokens
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(half, np.float32), apply(model, params, IMAGES).tokens, atol=0.15)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blocks": (Block(Attention(3)),)}, "width 16 is not divisible by heads 3"),
        ({"blocks": ()}, "blocks must name at least one"),
        ({"depth": 0}, "depth must be at least 1, is 0"),
        ({"width": -16}, "width must be at least 1, is -16"),
        ({"stem_width": 0}, "stem_width must be at least 1, is 0"),
        ({"registers": -1}, "registers must not be negative, is -1"),
        ({"dtype": "fp16"}, "dtype='fp16'.*float16"),
        ({"scan": True, "blocks": TWO * 2}, "depth=3 is not a multiple of the 2 blocks"),
        ({"remat": "some"}, "remat='some'.*dots, dots_no_batch, full"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Transformer(**{**SMALL, **fields})


def test_layers_beyond_the_depth_are_named(plain):
    model, params = plain
    with pytest.raises(ConfigError, match="layer 3 was asked for; with depth 3, valid are -4 to 2"):
        apply(model, params, IMAGES, layers=(3,))


def test_layers_are_what_the_next_layer_gets():
    """Where a scheme works between the layers, after it did."""
    model = Transformer(**{**SMALL, "depth": 2, "pos": Conditional(), "norm": None})
    params = jax.jit(model.init)(jax.random.key(1), IMAGES)
    f = apply(model, params, IMAGES, layers=(0, -1))
    np.testing.assert_array_equal(f.layers[1], f.tokens)
    np.testing.assert_array_equal(f.layers[0], apply(model.clone(depth=1), params, IMAGES).tokens)


def test_a_class_token_that_sees_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"class_token=True\) with causal=True.*Token\(last=True\)"):
        Transformer(causal=True, class_token=True)
    Transformer(causal=True, registers=2)  # the tokens look at them
    with pytest.raises(ConfigError, match=r"class_token=True\) with causal=True, its own or of the `allow` it is given"):
        jax.eval_shape(Transformer(**SMALL, class_token=True).init, jax.random.key(0), IMAGES, allow=Allow(causal=True))


def test_class_and_register_tokens_see_all_and_are_seen_under_a_window():
    """In the one layer a patch sees itself and them alone."""
    fields = {"depth": 1, "blocks": (Block(Attention(2, window=0)),)}
    model = Transformer(**SMALL | fields, class_token=True, registers=1)
    params = jax.jit(model.init)(jax.random.key(1), IMAGES)
    (weights,) = attention_of(model, params)
    front = np.arange(6) < 2
    np.testing.assert_array_equal(np.asarray(weights[0, :, 0]) > 0, np.eye(6, dtype=bool) | front | front[:, None])


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["scale", "softcap"])
def test_scale_and_softcap_are_finite_and_above_0(name, value):
    with pytest.raises(ConfigError, match=f"Attention.{name} must be finite and above 0, is {value}"):
        Attention(**{name: value})


@pytest.mark.parametrize("pos", [RelativeBuckets(), FIRE()])
def test_blocks_of_other_heads_cannot_share_a_table_of_heads(pos):
    ids = jnp.zeros((1, 4), jnp.int32)
    model = Transformer(stem=Tokens(9), width=16, depth=2, blocks=(Block(Attention(2)), Block(Attention(4))), pos=pos)
    with pytest.raises(ConfigError, match=rf"Transformer.blocks have heads=\[2, 4\].*{type(pos).__name__} has parameters by head"):
        jax.eval_shape(model.init, jax.random.key(0), ids)
    jax.eval_shape(model.clone(pos=ALiBi()).init, jax.random.key(0), ids)  # nothing that has a shape
