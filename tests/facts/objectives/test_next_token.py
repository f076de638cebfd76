import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import token_ids
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.data.packing import pack
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.next_token import NextToken, decoder
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))

ENCODER = decoder(stem=Tokens(16), width=16, depth=1, blocks=(Block(Attention(2)),))
MODEL = NextToken(encoder=ENCODER)
TOKENS = token_ids(0, 16, 3, 8)
BATCH = {"tokens": TOKENS}


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(jax.random.key(1), BATCH)


def loss(model, params, batch=BATCH):
    return apply(model, params, batch, None, NOW, method="loss")


def test_loss_by_hand_from_the_table(params):
    """softmax(E z), with E the table of the stem; the last token's prediction has nothing to be compared with."""
    z = np.asarray(apply(MODEL, params, BATCH, method="features").tokens, np.float64)
    logits = z @ np.asarray(params["params"]["encoder"]["stem"]["embedding"], np.float64).T
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = np.array([[-log_p[i, t, TOKENS[i, t + 1]] for t in range(7)] for i in range(3)])
    np.testing.assert_allclose(apply(MODEL, params, BATCH, method="logits"), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(apply(MODEL, params, BATCH, method="nll"), nll, rtol=1e-5)
    out = loss(MODEL, params)
    assert float(out.value) == pytest.approx(nll.mean(), rel=1e-5)
    assert float(out.logs["bits_per_token"]) == pytest.approx(nll.mean() / np.log(2), rel=1e-5)


def test_a_table_of_zeros_knows_nothing(params):
    blank = jax.tree.map(jnp.zeros_like, params)
    assert float(loss(MODEL, blank).value) == pytest.approx(np.log(16), rel=1e-6)
    assert float(loss(MODEL, blank).logs["bits_per_token"]) == pytest.approx(4, rel=1e-6)


def test_tied_has_no_head_of_its_own_and_trains_the_table_from_both_ends(params):
    assert set(params["params"]) == {"encoder"}
    untied = MODEL.clone(tied=False)
    own = jax.jit(untied.init)(jax.random.key(1), BATCH)
    assert own["params"]["head"]["kernel"].shape == (16, 16)
    once = {"tokens": jnp.full((3, 8), 1).at[:, -1].set(2)}  # id 2 is predicted, and nothing is predicted from it
    for model, variables, reached in ((MODEL, params, True), (untied, own, False)):
        grad = jax.grad(lambda p, m=model: loss(m, p, once).value)(variables)["params"]["encoder"]["stem"]["embedding"]
        assert bool(jnp.abs(grad[2]).max() > 0) == reached


def test_scanned_layers_have_the_table_in_the_same_place(params):
    model = MODEL.clone(encoder=ENCODER.clone(scan=True, depth=2))
    assert np.isfinite(loss(model, jax.jit(model.init)(jax.random.key(1), BATCH)).value)


def test_nothing_looks_ahead(params):
    later = {"tokens": TOKENS.at[:, 5:].set((TOKENS[:, 5:] + 1) % 16)}
    a, b = (apply(MODEL, params, x, method="logits") for x in (BATCH, later))
    np.testing.assert_allclose(a[:, :5], b[:, :5], rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(a[:, 5:] - b[:, 5:])).max() > 1e-3


def test_padding_is_neither_seen_nor_predicted(params):
    mask = jnp.arange(8)[None] < jnp.array([8, 5, 3])[:, None]
    a = {"tokens": jnp.where(mask, TOKENS, 0), "mask": mask}
    b = {"tokens": jnp.where(mask, TOKENS, 7), "mask": mask}
    nll = np.asarray(apply(MODEL, params, a, method="nll"))
    assert (nll[~np.asarray(mask[:, 1:])] == 0).all() and (nll[np.asarray(mask[:, 1:])] > 0).all()
    assert float(loss(MODEL, params, a).value) == pytest.approx(nll.sum() / (7 + 4 + 2), rel=1e-5)
    for method in ("nll", "encode"):
        np.testing.assert_allclose(*(apply(MODEL, params, x, method=method) for x in (a, b)), rtol=1e-5, atol=1e-6)
    cut = apply(MODEL, params, {"tokens": TOKENS[1:2, :5]}, method="encode")  # the embedding is that of the last real token
    np.testing.assert_allclose(apply(MODEL, params, a, method="encode")[1], cut[0], rtol=1e-4, atol=1e-5)


def test_a_packed_row_has_the_loss_of_its_texts_in_rows_of_their_own(params):
    """Positions are those of the batch: shifted ones give the loss of texts that are shifted."""
    texts = [TOKENS[0, :3], TOKENS[1, :4], TOKENS[2, :6]]
    rows = [pack([np.asarray(t) for t in row], 8) for row in (texts[:2], texts[2:])]  # one place and two are padding
    packed = {name: jnp.stack([r[name] for r in rows]) for name in rows[0]}
    alone = {name: jnp.zeros((3, 8), jnp.int32) for name in ("tokens", "positions")} | {"mask": jnp.zeros((3, 8), bool)}
    for i, text in enumerate(texts):
        n = len(text)
        alone["tokens"] = alone["tokens"].at[i, :n].set(text)
        alone["mask"] = alone["mask"].at[i, :n].set(True)
        alone["positions"] = alone["positions"].at[i, :n].set(jnp.arange(n))
    for shift in (0, 5):
        together, apart = (loss(MODEL, params, {**x, "positions": x["positions"] + shift}) for x in (packed, alone))
        assert float(together.weight) == float(apart.weight) == 2 + 3 + 5
        np.testing.assert_allclose(together.value, apart.value, rtol=1e-5)
        if shift == 0:
            unshifted = together.value
    assert abs(float(unshifted - together.value)) > 1e-4
    other = {**packed, "tokens": jnp.where(packed["segments"] > 0, packed["tokens"], 9)}
    np.testing.assert_allclose(loss(MODEL, params, other).value, unshifted, rtol=1e-6)
    nll = np.asarray(apply(MODEL, params, packed, method="nll"))
    assert (nll > 0).tolist() == [[True] * 2 + [False] + [True] * 3 + [False], [True] * 5 + [False] * 2]


def test_a_packed_row_has_no_embedding(params):
    with pytest.raises(ConfigError, match=r"encode gives one embedding a row, and a packed row \(segments\) holds several texts"):
        apply(MODEL, params, {**BATCH, "segments": jnp.ones((3, 8), jnp.int32)}, method="encode")


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (ENCODER.clone(causal=False), "needs an encoder with causal=True"),
        (Transformer(stem=Patches(4), causal=True), "needs an encoder of token ids, its stem is Patches"),
    ],
)
def test_encoders_that_cannot_be_are_named(encoder, message):
    with pytest.raises(ConfigError, match=message):
        NextToken(encoder=encoder)


def test_a_batch_without_tokens_is_named():
    with pytest.raises(ConfigError, match="reads 'tokens', which are not in the batch; it holds images"):
        init(MODEL, jax.random.key(0), {"images": jnp.zeros((1, 8, 8, 3))})
