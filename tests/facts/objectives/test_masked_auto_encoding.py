import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import token_ids
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.layers.norms import LayerNorm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Tokens
from jaxemb.objectives.masked_auto_encoding import MaskedAutoEncoding
from jaxemb.objectives.masked_tokens import encoder
from jaxemb.ops.draws import Draws
from jaxemb.posemb.rotary import Rotary
from jaxemb.token_masks.random_tokens import RandomTokens
from jaxemb.token_masks.whole_words import WholeWords
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))
BLOCK = Block(Attention(2), order="post")
ENCODER = encoder(stem=Tokens(24), width=16, depth=2, blocks=(BLOCK,), norm=None, stem_norm=LayerNorm())
MODEL = MaskedAutoEncoding(encoder=ENCODER, mask=20, vocabulary=20, sizes=((1, 4), (2, 16)), masks=RandomTokens(0.2))
SIZES = np.array([12, 12, 5, 9])
RAW = {"tokens": np.asarray(token_ids(0, 20, 4, 12)), "mask": np.arange(12)[None] < SIZES[:, None]}
BATCH = {k: jnp.asarray(v) for k, v in MODEL.prepare(RAW, Draws((0, 0), 4)).items()}


def hidden(drawn, name):
    found = np.zeros(drawn["tokens"].shape, bool)
    rows = np.broadcast_to(np.arange(len(found))[:, None], drawn[name].shape)[drawn[f"{name}_mask"]]
    found[rows, drawn[name][drawn[f"{name}_mask"]]] = True
    return found


@pytest.fixture(scope="module")
def params():
    return init(MODEL, jax.random.key(1), BATCH)


@pytest.mark.parametrize("masks", [RandomTokens(0.2), WholeWords(0.2)])
def test_what_the_encoder_lacks_the_decoder_lacks_too(masks):
    many = {k: np.repeat(v, 200, 0) for k, v in RAW.items()}
    many["words"] = np.arange(12)[None].repeat(800, 0) // 2
    drawn = MODEL.clone(masks=masks).prepare(many, Draws((0, 3), 800))
    own, more = hidden(drawn, "masked"), hidden(drawn, "decoder_masked")
    assert not (own & ~more).any() and not more[:, 0].any() and own.any(1).all()
    full = np.repeat(SIZES, 200) == 12
    assert more[full].sum(1).max() == 4 and own[full].sum(1).max() == 2  # of the 11 after the first
    assert (drawn["decoder_changed"] == many["tokens"])[~more].all()


def test_the_loss_is_the_mean_of_the_sizes_each_of_both_halves(params):
    out = apply(MODEL, params, BATCH, None, NOW, method="loss", rngs={"dropout": jax.random.key(0)})
    logs = {k: float(v) for k, v in out.logs.items()}
    assert set(logs) == {"mlm_1_4", "mae_1_4", "mlm_2_16", "mae_2_16"}
    assert float(out.value) == pytest.approx(np.mean(list(logs.values())), rel=1e-6)
    assert float(out.value) == pytest.approx(np.log(20), rel=0.1)


def test_a_small_size_trains_no_later_layer_and_no_later_coordinate(params):
    def loss(params):
        return MODEL.clone(sizes=((1, 4),)).apply(params, BATCH, None, NOW, method="loss").value

    small = jax.jit(jax.grad(loss))(params)["params"]
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(small["encoder"]["block_1"]))
    kernel = np.asarray(small["head"]["kernel"])
    # The decoder's own tokens are whole: the auto-encoder's predictions read all rows of the kernel, the size's vector the first.
    assert np.abs(kernel[:4]).max() > 0
    assert np.abs(np.asarray(small["encoder"]["block_0"]["norm2"]["bias"])[4:]).max() == 0
    assert np.abs(np.asarray(small["encoder"]["block_0"]["norm2"]["bias"])[:4]).max() > 0


def test_the_decoder_sees_the_vector_in_the_first_place_and_not_the_first_token(params):
    """Of another first token the auto-encoder knows by the encoder alone."""
    other = BATCH | {"decoder_changed": BATCH["decoder_changed"].at[:, 0].set(7)}
    same, changed = (apply(MODEL, params, b, None, NOW, method="loss", rngs={"dropout": jax.random.key(0)}) for b in (BATCH, other))
    np.testing.assert_array_equal(same.value, changed.value)
    other = BATCH | {"changed": BATCH["changed"].at[:, 0].set(7)}
    changed = apply(MODEL, params, other, None, NOW, method="loss", rngs={"dropout": jax.random.key(0)})
    assert float(changed.logs["mae_2_16"]) != float(same.logs["mae_2_16"])


def test_padding_changes_nothing(params):
    changed = jnp.where(BATCH["mask"], BATCH["decoder_changed"], 9)
    other = BATCH | {"decoder_changed": changed, "changed": jnp.where(BATCH["mask"], BATCH["changed"], 11)}
    a, b = (apply(MODEL, params, x, None, NOW, method="loss", rngs={"dropout": jax.random.key(0)}).value for x in (BATCH, other))
    np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sizes": ((3, 4),)},
            r"sizes=\(\(3, 4\),\) are pairs \(layers, coordinates\), with layers from 1 to the encoder's depth=2",
        ),
        ({"sizes": ((1, 17),)}, "coordinates from 1 to its width=16"),
        ({"sizes": ()}, "are pairs"),
        ({"decoder_rate": 0.1}, "decoder_rate=0.1 must be from masks.rate=0.2 to 1"),
        ({"encoder": ENCODER.clone(stem_width=8)}, "stem_width=None"),
        ({"encoder": ENCODER.clone(pos=Rotary())}, "positions of its encoder, Rotary, add nothing"),
        ({"encoder": ENCODER.clone(class_token=True)}, "class_token=False and registers=0"),
    ],
)
def test_fields_that_cannot_be_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        MODEL.clone(**fields)


def test_a_packed_row_is_refused():
    with pytest.raises(ConfigError, match=r"one vector a row, and a packed row \(segments\)"):
        MODEL.bind({}).loss({"segments": np.ones((2, 4), np.int32)}, None, NOW)
