import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids, uniform
from compiled import apply
from tiny import TINY

from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block, stack_blocks
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.posemb.base import Places
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.logit_scale import LogitScale, logit_scale
from jaxemb.posemb.none import NoPos
from jaxemb.posemb.rescale import Interpolated, YaRN
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.rotary_mixed import MixedRotary
from jaxemb.posemb.seqpe import SeqPE

Q, K, V = normal(0, 3, 2, 9, 2, 4)


def attend(posemb, q=Q, k=K, v=V, pos=None, mask=None, segments=None, causal=False):
    pos, allow = jnp.arange(k.shape[1])[None] if pos is None else pos, Allow(mask, segments, causal=causal)
    shared = apply(posemb, {}, Places(pos[..., None], allow=allow), heads=2, width=4, method="prepare")
    return apply(posemb, {}, q, k, v, shared, allow, method="attend")


def test_1_up_to_the_training_length_and_2_at_its_square():
    np.testing.assert_array_equal(logit_scale(jnp.array([0, 1, 2, 12]), 12), 1)
    np.testing.assert_allclose(logit_scale(jnp.array([144, 12**3]), 12), [2, 3], rtol=1e-6)
    assert logit_scale(jnp.array([144]), 12, jnp.bfloat16).dtype == jnp.bfloat16


def test_logits_are_multiplied():
    """9 tokens, 3 in training: twice the logits."""
    np.testing.assert_allclose(attend(LogitScale(of=NoPos(), original=3)), attention(2 * Q, K, V), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(attend(LogitScale(of=NoPos(), original=9)), attention(Q, K, V))


def test_padding_is_not_counted():
    posemb = LogitScale(of=Rotary(), original=3)
    mask = jnp.arange(9)[None] < jnp.array([[5], [2]])
    out = attend(posemb, mask=mask)
    for i, n in enumerate((5, 2)):
        alone = attend(posemb, *(x[i : i + 1, :n] for x in (Q, K, V)))
        np.testing.assert_allclose(out[i, :n], alone[0], rtol=1e-5, atol=1e-6)


def test_each_place_has_its_own():
    """What a causal model says of a token does not depend on those that follow."""
    posemb = LogitScale(of=Rotary(), original=2, each=True)
    whole = attend(posemb, causal=True)
    np.testing.assert_allclose(whole[:, :5], attend(posemb, Q[:, :5], K[:, :5], V[:, :5], causal=True), rtol=1e-5, atol=1e-6)
    factor = jnp.maximum(jnp.log(jnp.arange(1.0, 10.0)) / np.log(2), 1)[None, :, None, None]
    np.testing.assert_allclose(whole, attend(Rotary(), Q * factor, causal=True), rtol=1e-5, atol=1e-6)
    late = attend(LogitScale(of=Rotary(), original=2), causal=True)
    assert float(abs(late - whole)[:, 1:-1].max()) > 0.01
    np.testing.assert_allclose(late[:, -1], whole[:, -1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("each", [False, True])
def test_texts_packed_into_one_row_are_counted_each_on_its_own(each):
    posemb = LogitScale(of=Rotary(), original=3, each=each)
    segments, pos = jnp.array([[4] * 6 + [1] * 3] * 2), jnp.concatenate([jnp.arange(6), jnp.arange(3)])[None]
    out = attend(posemb, pos=pos, segments=segments, causal=True)
    for part in (slice(0, 6), slice(6, 9)):
        alone = attend(posemb, *(x[:, part] for x in (Q, K, V)), causal=True)
        np.testing.assert_allclose(out[:, part], alone, rtol=1e-5, atol=1e-6)
    mask = jnp.arange(9)[None] < jnp.array([[9], [5]])
    assert posemb.count(9, 9, Allow(mask, segments)).tolist()[1] == ([1, 2, 3, 4, 5, 5, 0, 0, 0] if each else [5] * 6 + [0] * 3)


@pytest.mark.parametrize("each", [False, True])
def test_the_last_queries_are_counted_as_among_all(each):
    posemb = LogitScale(of=Rotary(), original=3, each=each)
    np.testing.assert_allclose(attend(posemb, Q[:, -2:], causal=True), attend(posemb, causal=True)[:, -2:], rtol=1e-5, atol=1e-6)


# ---- wrappers of wrappers --------------------------------------------------------------------------------------------------------

NESTED = LogitScale(of=YaRN(of=Rotary(), factor=3.0, original=3), original=3)


def test_nested_wrappers_are_those_composed_by_hand():
    q, k = NESTED.of.apply(
        {}, Q, K, apply(NESTED, {}, Places(jnp.arange(9)[None, :, None]), heads=2, width=4, method="prepare"), method="rotate"
    )
    np.testing.assert_allclose(attend(NESTED), attention(2 * q, k, V), rtol=1e-5, atol=1e-6)
    assert float(abs(attend(NESTED) - attend(NESTED.of)).max()) > 0.01


def test_nested_wrappers_survive_storing():
    again = from_json(to_json(NESTED))
    assert type(again.of) is YaRN and again.of.factor == 3.0 and again.original == 3
    np.testing.assert_array_equal(attend(again), attend(NESTED))


@pytest.mark.parametrize(
    ("inner", "wrapped", "stem", "inputs"),
    [
        (Rotary(), NESTED, Tokens(5), token_ids(0, 5, 1, 9)),
        (
            Learned(shape=(9,)),
            LogitScale(of=Interpolated(of=Learned(shape=(9,)), factor=2), original=3),
            Tokens(5),
            token_ids(0, 5, 1, 9),
        ),
        (
            MixedRotary(),
            LogitScale(of=Interpolated(of=MixedRotary(), factor=2), original=3),
            Patches(2),
            uniform(0, 1, 6, 6, 1),
        ),
    ],
    ids=["rotary", "learned", "mixed"],
)
def test_nested_wrappers_have_the_parameters_of_the_innermost(inner, wrapped, stem, inputs):
    plain = Transformer(
        stem=stem,
        width=16,
        depth=2,
        blocks=(Block(Attention(2, kernel_init="xavier"), FeedForward(kernel_init="xavier")),),
        pos=inner,
    )
    params = jax.jit(plain.init)(jax.random.key(1), inputs)
    model = plain.clone(pos=wrapped)
    again = jax.jit(model.init)(jax.random.key(1), inputs)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    out = jax.jit(model.apply)(params, inputs).tokens
    assert float(abs(out - apply(plain, params, inputs).tokens).max()) > 1e-3
    scanned = jax.jit(model.clone(scan=True).apply)({"params": stack_blocks(params["params"])}, inputs).tokens
    np.testing.assert_allclose(scanned, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fields", [{"scan": True}, {"remat": "full"}], ids=str)
def test_parameters_of_a_layer_have_the_same_names_in_scan_and_remat(fields):
    images = jnp.ones((1, 4, 4, 1))

    def names(pos):
        model = Transformer(stem=Patches(2), width=16, depth=1, blocks=(Block(Attention(2)),), pos=pos, **fields)
        return jax.tree.structure(jax.eval_shape(model.init, jax.random.key(1), images))

    assert names(Interpolated(of=MixedRotary())) == names(LogitScale(of=Interpolated(of=MixedRotary()))) == names(MixedRotary())


@pytest.mark.parametrize("fields", [{}, {"remat": "full"}, {"scan": True}], ids=str)
def test_copies_of_wrappers_have_parameters_of_their_own(fields):
    """Those of what is wrapped twice: the encoder's under `pos`, each layer's under `attention/pos`, none shared."""
    seqpe = SeqPE(**TINY[SeqPE] | {"contrastive": 0.0, "transfer": 0.0, "shift": 0.0})
    images = jnp.ones((1, 4, 4, 1))

    def start(pos):
        model = Transformer(stem=Patches(2), width=16, depth=2, blocks=(Block(Attention(2)),), pos=pos, **fields)
        return jax.jit(model.init)(jax.random.key(1), images)["params"]

    params = start(LogitScale(of=LogitScale(of=seqpe, original=3), original=2))
    jax.tree.map(np.testing.assert_array_equal, params, start(seqpe))
    assert set(params["pos"]) == {"encoder"}
    if "scan" in fields:
        first, second = params["blocks"]["block_0"]["attention"]["pos"]["to_qk"]["kernel"]
    else:
        first, second = (params[f"block_{i}"]["attention"]["pos"]["to_qk"]["kernel"] for i in (0, 1))
    assert first.shape == (16, 32) and float(abs(first - second).max()) > 0.01


def test_a_training_length_of_1_is_refused():
    with pytest.raises(ConfigError, match="LogitScale.original=1 must be at least 2"):
        LogitScale(original=1)
