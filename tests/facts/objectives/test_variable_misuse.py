import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import token_ids
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.masked_tokens import encoder
from jaxemb.objectives.variable_misuse import VariableMisuse
from jaxemb.ops.draws import Draws
from jaxemb.preprocess.base import DataError
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))
ENCODER = encoder(stem=Tokens(16), width=16, depth=1, blocks=(Block(Attention(2)),))
MODEL = VariableMisuse(encoder=ENCODER)
PLACES = np.arange(8)[None]
BATCH = {
    "tokens": token_ids(0, 16, 3, 8),
    "mask": jnp.asarray(np.array([[8], [6], [8]]) > PLACES),
    "candidates": jnp.asarray((PLACES % 2 == 0) & (np.array([[8], [6], [8]]) > PLACES)),
    "error": jnp.asarray([4, 0, 6]),
    "repairs": jnp.asarray(
        np.isin(PLACES, [2, 6]) & np.array([[True], [False], [False]]) | ((PLACES == 2) & (np.arange(3) == 2)[:, None])
    ),
}


@pytest.fixture(scope="module")
def params():
    params = init(MODEL, jax.random.key(1), BATCH)
    kernel = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    return {"params": params["params"] | {"head": {"kernel": jnp.asarray(kernel)}}}


def test_loss_and_shares_by_hand(params):
    p = np.exp(np.asarray(apply(MODEL, params, BATCH, method="log_probs"), np.float64))
    assert (p[:, :, 1::2] == 0).all()
    out = apply(MODEL, params, BATCH, None, NOW, method="loss", rngs={"dropout": jax.random.key(0)})
    rows = [-np.log(p[0, 0, 4] * p[0, 1, 2] * p[0, 1, 6]), -np.log(p[1, 0, 0]), -np.log(p[2, 0, 6] * p[2, 1, 2])]
    assert float(out.value) == pytest.approx(np.mean(rows), rel=1e-5) and float(out.weight) == 3
    where, repair = p[:, 0].argmax(-1), p[:, 1].argmax(-1)
    located = where == np.array([4, 0, 6])
    assert float(out.logs["located"].value) == located[[0, 2]].mean() and float(out.logs["clean"].value) == located[1]
    answers = apply(MODEL, params, BATCH, method="answers")
    assert np.asarray(answers["repaired"]).tolist() == [
        located[0] and repair[0] in (2, 6),
        located[1],
        located[2] and repair[2] == 2,
    ]


def test_what_is_missing_or_cannot_be_is_named(params):
    with pytest.raises(ConfigError, match="reads candidates, repairs, not in the batch, which holds error, tokens"):
        apply(MODEL, params, {k: BATCH[k] for k in ("tokens", "error")}, None, NOW, method="loss")
    with pytest.raises(ConfigError, match="masking"):
        VariableMisuse(encoder=ENCODER, masking="drop")
    with pytest.raises(ConfigError, match="needs an encoder of token ids, its stem is Patches"):
        VariableMisuse(encoder=Transformer(stem=Patches(4)))


@pytest.mark.parametrize("name", ["error", "repairs"])
def test_a_place_that_is_no_candidate_is_named(name):
    """It would cost an endless loss; where the logits of such places are multiplied by 0 instead, it may stand there."""
    other = {"error": np.array([4, 0, 5]), "repairs": np.array(BATCH["repairs"]) | (PLACES == 3)}[name]
    assert set(MODEL.prepare(dict(BATCH), Draws((0,), 3))) == set(BATCH)
    with pytest.raises(DataError, match=r"VariableMisuse: row [02] of the batch has an error \([46]?5?\) or a repair"):
        MODEL.prepare(BATCH | {name: other}, Draws((0,), 3))
    MODEL.clone(masking="multiply").prepare(BATCH | {name: other}, Draws((0,), 3))
