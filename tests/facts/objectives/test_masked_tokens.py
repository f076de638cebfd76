import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.masked_tokens import MaskedTokens, encoder
from jaxemb.ops.draws import Draws
from jaxemb.posemb.learned import Learned
from jaxemb.preprocess.base import DataError
from jaxemb.token_masks.random_tokens import RandomTokens
from jaxemb.token_masks.whole_words import WholeWords
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))
CLS, SEP, MASK, PAD = 1, 2, 3, 0
ENCODER = encoder(stem=Tokens(24), pos=Learned(shape=(10,)), width=16, depth=1, blocks=(Block(Attention(2)),))
MODEL = MaskedTokens(encoder=ENCODER, masks=RandomTokens(0.3), mask=MASK, special=(PAD, CLS, SEP), vocabulary=20)
SIZES = np.array([10, 8, 5, 3])


def rows(pad=PAD):
    tokens = np.random.default_rng(0).integers(4, 20, (4, 10)).astype(np.int32)
    tokens[:, 0] = CLS
    tokens[np.arange(4), SIZES - 1] = SEP
    mask = np.arange(10)[None] < SIZES[:, None]
    return {"tokens": np.where(mask, tokens, pad).astype(np.int32), "mask": mask}


BATCH = MODEL.prepare(rows(), Draws((0, 0), 4))


@pytest.fixture(scope="module")
def params():
    return init(MODEL, jax.random.key(1), {k: jnp.asarray(v) for k, v in BATCH.items()})


def loss(params, batch=BATCH, model=MODEL):
    batch = {k: jnp.asarray(v) for k, v in batch.items()}
    return apply(model, params, batch, None, NOW, method="loss", rngs={"dropout": jax.random.key(0)})


# ---- what the host draws -----------------------------------------------------------------------------------------------------


def test_special_tokens_and_padding_are_never_hidden():
    many = {k: np.repeat(v, 500, 0) for k, v in rows().items()}
    drawn = MODEL.prepare(many, Draws((0, 1), 2000))
    own = np.take_along_axis(many["tokens"], drawn["masked"], 1)[drawn["masked_mask"]]
    assert not np.isin(own, [PAD, CLS, SEP, MASK]).any()
    touched = drawn["changed"] != many["tokens"]
    assert not touched[np.isin(many["tokens"], [PAD, CLS, SEP])].any()
    assert set(np.unique(drawn["changed"])) <= set(range(20))  # rows beyond the vocabulary are never put in
    assert not np.isin(drawn["changed"][touched], [PAD, CLS, SEP]).any()


def test_of_the_hidden_80_percent_are_masked_10_random_and_10_as_they_are():
    many = {k: np.repeat(v, 2000, 0) for k, v in rows().items()}
    drawn = MODEL.prepare(many, Draws((0, 2), 8000))
    places, kept = drawn["masked"], drawn["masked_mask"]
    own, new = (np.take_along_axis(x, places, 1)[kept] for x in (many["tokens"], drawn["changed"]))
    # A random one of 16 ids is the token itself once in 16.
    shares = {"mask": ((new == MASK).mean(), 0.8), "same": ((new == own).mean(), 0.1 + 0.1 / 16)}
    for got, wanted in shares.values():
        assert abs(got - wanted) < 4 * (wanted * (1 - wanted) / len(own)) ** 0.5
    everything = MODEL.clone(replace=(1.0, 0.0)).prepare(many, Draws((0, 2), 8000))
    assert (np.take_along_axis(everything["changed"], everything["masked"], 1)[kept] == MASK).all()


def test_masks_differ_between_epochs_and_are_equal_on_resume():
    first, again, later = (MODEL.prepare(rows(), Draws((0, step), 4)) for step in (5, 5, 6))
    assert all((first[k] == again[k]).all() for k in first)
    assert (first["changed"] != later["changed"]).any()


def test_whole_words_go_together():
    words = np.arange(10)[None].repeat(4, 0) // 2
    drawn = MODEL.clone(masks=WholeWords(0.5), replace=(1.0, 0.0)).prepare({**rows(), "words": words}, Draws((0,), 4))
    hidden = drawn["changed"][0, 2:8].reshape(3, 2) == MASK  # of the longest row, between its special tokens
    assert (hidden.all(1) == hidden.any(1)).all() and hidden.any()


# ---- the loss ----------------------------------------------------------------------------------------------------------------


def test_loss_by_hand_over_hidden_positions_alone(params):
    """softmax over the first 20 of 24 rows of the table, at the places that were drawn."""
    given = {k: jnp.asarray(v) for k, v in BATCH.items()}
    z = apply(MODEL, params, {**given, "tokens": given["changed"]}, method="features").tokens
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    t = np.asarray(z, np.float64) @ p["head"]["kernel"] + p["head"]["bias"]
    t = np.asarray(jax.nn.gelu(jnp.asarray(t), approximate=False), np.float64)
    t = (t - t.mean(-1, keepdims=True)) / np.sqrt(t.var(-1, keepdims=True) + 1e-12) * p["head"]["scale"] + p["head"]["shift"]
    logits = t @ p["encoder"]["stem"]["embedding"][:20].T + p["head"]["out_bias"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    places = [(i, j) for i in range(4) for j in BATCH["masked"][i][BATCH["masked_mask"][i]]]
    nll = [-log_p[i, j, BATCH["tokens"][i, j]] for i, j in places]
    out = loss(params)
    assert float(out.weight) == len(places) == 2 + 2 + 1 + 1
    assert float(out.value) == pytest.approx(np.mean(nll), rel=1e-4)
    assert float(out.logs["accuracy"]) == np.mean([log_p[i, j].argmax() == BATCH["tokens"][i, j] for i, j in places])
    assert float(out.value) == pytest.approx(np.log(20), rel=0.1)  # nothing is known at the start


def test_padding_changes_nothing(params):
    """Neither other ids there nor more of it."""
    more = {k: np.pad(v[1:], ((0, 0), (0, 0))) for k, v in BATCH.items()}
    cut = {k: v[:, :8] if k in ("tokens", "mask", "changed") else v for k, v in more.items()}
    other = {**more, "changed": np.where(more["mask"], more["changed"], 9).astype(np.int32)}
    whole = loss(params, more)
    for batch in (cut, other):
        np.testing.assert_allclose(loss(params, batch).value, whole.value, rtol=1e-5)


def test_tied_trains_the_table_and_untied_has_a_matrix_of_its_own(params):
    assert "out" not in params["params"]["head"] and params["params"]["head"]["out_bias"].shape == (20,)
    own = jax.eval_shape(MODEL.clone(tied=False).init, jax.random.key(1), BATCH)["params"]["head"]
    assert own["out"].shape == (20, 16)


def test_narrow_tables_as_in_electra():
    model = MODEL.clone(encoder=ENCODER.clone(stem_width=6))
    shapes = jax.eval_shape(model.init, jax.random.key(1), BATCH)["params"]
    assert shapes["head"]["kernel"].shape == (16, 6) and shapes["encoder"]["stem"]["embedding"].shape == (24, 6)


def test_every_token_is_recovered_once_and_alone_where_passes_is_none(params):
    """With passes=None each token is predicted from the row in which it alone is the mask token."""
    given = {k: jnp.asarray(v) for k, v in rows().items()}
    model = MODEL.clone(passes=None)
    found = apply(model, params, given, method="recovered")
    counted = np.asarray(found["counted"]) > 0
    assert (counted == (rows()["mask"] & (rows()["tokens"] >= 4))).all()
    alone = {k: np.repeat(v[1:2], 10, 0) for k, v in rows().items()}
    eye = np.eye(10, dtype=bool)
    places = {"masked": np.arange(10, dtype=np.int32)[:, None], "masked_mask": counted[1][:, None]}
    batch = {**alone, **places, "changed": np.where(eye, MASK, alone["tokens"]).astype(np.int32)}
    assert float(loss(params, batch).value) == pytest.approx(np.asarray(found["nll"])[1].sum() / 6, rel=1e-5)
    several = apply(MODEL.clone(passes=2), params, given, method="recovered")
    assert ((np.asarray(several["nll"]) > 0) == counted).all()


# ---- what cannot be ---------------------------------------------------------------------------------------------------------


def test_a_text_with_nothing_to_hide_is_named():
    empty = rows()
    empty["tokens"][2, 1:4] = SEP
    with pytest.raises(DataError, match="row 2 of the batch has no token that can be masked"):
        MODEL.prepare(empty, Draws((0,), 4))


def test_a_text_longer_than_the_positions_is_refused():
    long = {k: np.repeat(v, 2, 1) for k, v in rows().items()}
    with pytest.raises(ConfigError, match=r"Learned\(shape=\(10,\)\) has no rows for an input of 20 positions"):
        jax.eval_shape(MODEL.init, jax.random.key(0), MODEL.prepare(long, Draws((0,), 4)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder": ENCODER.clone(causal=True)}, "needs an encoder with causal=False"),
        ({"encoder": Transformer(stem=Patches(4))}, "needs an encoder of token ids, its stem is Patches"),
        ({"mask": 24}, "mask=24 is no row of the stem's table, which has vocabulary=24"),
        ({"vocabulary": 25}, "vocabulary=25 must be from 1 to the 24 rows"),
        ({"replace": (0.8, 0.3)}, "are two shares of at least 0 and together at most 1"),
        ({"passes": 0}, "passes must be at least 1, or None"),
    ],
)
def test_fields_that_cannot_be_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        MaskedTokens(**{"encoder": ENCODER, "mask": MASK} | fields)


def test_a_batch_without_tokens_and_ids_of_another_tokenizer_are_named():
    with pytest.raises(ConfigError, match="reads 'tokens', which are not in the batch; it holds images"):
        MODEL.prepare({"images": np.zeros((1, 2))}, Draws((0,), 1))
    with pytest.raises(DataError, match=r"MaskedTokens predicts the ids 0 to 9 and the batch has 4 to 19: .*another tokenizer"):
        MODEL.clone(vocabulary=10).prepare(rows(), Draws((0,), 4))
