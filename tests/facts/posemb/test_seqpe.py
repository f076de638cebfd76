from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply, init
from tiny import TINY

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.posemb import digit_encoder
from jaxemb.posemb.base import Places, Shared
from jaxemb.posemb.seqpe import SeqPE
from jaxemb.posemb.seqpe_table import table

QUIET = TINY[SeqPE] | {"contrastive": 0.0, "transfer": 0.0, "shift": 0.0}


def encoder(pos, **fields):
    return Transformer(stem=Patches(4), pos=pos, width=16, blocks=(Block(Attention(2)),), depth=2, class_token=True, **fields)


def images(rows=4, side=16):
    return normal(1, rows, side, side, 3)


def start(model, x):
    key = jax.random.key(0)
    return {"params": init(model, {"params": key, "dropout": key}, x, train=True)["params"]}


def losses(model, variables, x, seed):
    out, new = apply(model, variables, x, train=True, rngs={"dropout": jax.random.key(seed)}, mutable=["losses"])
    return out, {name: float(value[0]) for name, value in new["losses"]["pos"].items()}


def test_an_embedding_depends_on_its_position_alone():
    posemb = SeqPE(**QUIET)
    pos = jnp.array([[3, 4], [11, 0], [3, 4], [0, 3]])
    params = init(posemb, jax.random.key(0), pos, 8, method="embeddings")
    e = apply(posemb, params, pos, 8, method="embeddings")
    np.testing.assert_array_equal(e[0], e[2])
    np.testing.assert_allclose(e[1], apply(posemb, params, pos[1:2], 8, method="embeddings")[0], rtol=1e-5, atol=1e-7)
    assert not np.allclose(e[0], e[3])
    outside = apply(posemb, params, jnp.array([[100, 0], [0, -1], [99, 99]]), 8, method="embeddings")
    assert np.isnan(outside[:2]).all() and np.isfinite(outside[2]).all()  # two digits reach up to 99


def test_every_position_has_an_embedding_of_its_own_on_the_path_of_a_gpu(monkeypatch):
    """The last block computes its last token alone: a causal mask that counts queries from the first key on would leave it the
    first digit, ten distinct embeddings of a hundred positions."""
    posemb = SeqPE(**QUIET | {"axes": 1, "limit": 100})
    pos = jnp.arange(100)[:, None]
    params = init(posemb, jax.random.key(0), pos, 8, method="embeddings")
    expected = apply(posemb, params, pos, 8, method="embeddings")
    monkeypatch.setattr(digit_encoder, "attention", partial(attention, backend="gpu"))
    e = np.asarray(jax.jit(lambda p: posemb.apply(p, pos, 8, method="embeddings"))(params))
    np.testing.assert_allclose(e, expected, rtol=1e-4, atol=1e-6)
    apart = np.abs(e[:, None] - e[None]).max(-1) + np.eye(100)
    assert apart.min() > 1e-5


def test_neutral_embeddings_leave_attention_alone():
    q, k, v = (normal(i, 2, 5, 2, 4) for i in range(3))
    plain = attention(q, k, v)
    pos = jnp.zeros((1, 5, 2), jnp.int32)
    one, nothing = jnp.ones((1, 5, 2, 4)), jnp.zeros((1, 5, 2, 4))
    multiplied = apply(SeqPE(**QUIET, project="single"), {}, q, k, v, Shared(pos, (one, one)), Allow(), method="attend")
    np.testing.assert_allclose(multiplied, plain, rtol=1e-6)
    added = apply(
        SeqPE(**QUIET, way="add", project="single"), {}, q, k, v, Shared(pos, (nothing, nothing)), Allow(), method="attend"
    )
    np.testing.assert_allclose(added, plain, rtol=1e-6)
    bias = jnp.zeros((1, 2, 5, 5))
    scalar = apply(SeqPE(**QUIET, way="scalar", project="single"), {}, q, k, v, Shared(pos, None, bias), Allow(), method="attend")
    np.testing.assert_allclose(scalar, plain, rtol=1e-6)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize(("way", "project"), [("mul", "multi"), ("scalar", "single"), ("add", "none"), ("input", "none")])
def test_a_table_gives_what_the_encoder_gave(way, project, scan):
    model, x = encoder(SeqPE(**QUIET, way=way, project=project), scan=scan), images()
    variables = start(model, x)
    fast, params = table(model, variables["params"], (4, 4))
    assert "encoder" not in params.get("pos", {})
    want, got = apply(model, variables, x), apply(fast, {"params": params}, x)
    np.testing.assert_allclose(got.tokens, want.tokens, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.prefix, want.prefix, rtol=1e-5, atol=1e-6)
    some = jnp.array([[3, 9], [0, 15], [1, 2], [7, 7]])
    want, got = apply(model, variables, x, keep=some), apply(fast, {"params": params}, x, keep=some)
    np.testing.assert_allclose(got.tokens, want.tokens, rtol=1e-5, atol=1e-6)


def test_every_layer_projects_on_its_own():
    params = start(encoder(SeqPE(**QUIET)), images())["params"]
    kernels = [params[f"block_{i}"]["attention"]["pos"]["to_qk"]["kernel"] for i in range(2)]
    assert kernels[0].shape == (16, 32) and not np.allclose(*kernels)
    assert set(params["pos"]) == {"encoder", "prefix"}


def test_losses_are_sown_and_reach_the_digits():
    model = encoder(SeqPE(**TINY[SeqPE] | {"shift": 0.0, "dropout": 0.0}))
    x = images()
    variables = start(model, x)
    _, sown = losses(model, variables, x, 0)
    assert sown["seqpe_contrastive"] == pytest.approx(0.1 * np.log(3), rel=0.2)  # small vectors: every candidate alike
    assert sown["seqpe_transfer"] >= 0
    assert losses(model, variables, x, 0)[1] == sown != losses(model, variables, x, 1)[1]

    def total(params):
        _, new = apply(model, {"params": params}, x, train=True, rngs={"dropout": jax.random.key(0)}, mutable=["losses"])
        return sum(jax.tree.leaves(new["losses"]))

    grads = jax.jit(jax.grad(total))(variables["params"])
    assert np.any(grads["pos"]["encoder"]["digit"]) and not np.any(grads["block_0"]["attention"]["q"]["kernel"])


def test_shifted_steps_see_other_positions_and_rest_the_distillation():
    settings = TINY[SeqPE] | {"dropout": 0.0, "origins": 2, "way": "input"}
    x = jnp.concatenate([images(1)] * 4)
    model = {chance: encoder(SeqPE(**settings | {"shift": chance})) for chance in (0.0, 1.0)}
    variables = start(model[0.0], x)
    still, sown = losses(model[0.0], variables, x, 0)
    moved, sown_moved = losses(model[1.0], variables, x, 0)
    np.testing.assert_allclose(still.tokens[0], still.tokens[1], atol=1e-6)  # the same image at the same place
    assert sown["seqpe_transfer"] > 0 == sown_moved["seqpe_transfer"]
    np.testing.assert_allclose(moved.tokens[0], moved.tokens[2], atol=1e-6)  # image i has origin i mod 2
    assert not np.allclose(moved.tokens[0], moved.tokens[1], atol=1e-6)
    assert not np.allclose(moved.tokens[0], still.tokens[0], atol=1e-6)
    evaluated = [apply(model[chance], variables, x).tokens for chance in (0.0, 1.0)]
    np.testing.assert_array_equal(*evaluated)  # evaluation shifts nothing


def test_weights_of_the_losses_rise():
    model = encoder(SeqPE(**TINY[SeqPE] | {"warmup": 4, "shift": 0.0, "dropout": 0.0, "transfer": 0.0}))
    x, key = images(), jax.random.key(0)
    variables = {"params": start(model, x)["params"], "counters": {"pos": {"rise": {"step": jnp.zeros((), jnp.int32)}}}}
    values = []
    for _ in range(5):
        _, new = apply(model, variables, x, train=True, rngs={"dropout": key}, mutable=["losses", "counters"])
        variables |= {"counters": new["counters"]}
        values.append(float(new["losses"]["pos"]["seqpe_contrastive"][0]))
    np.testing.assert_allclose(np.array(values) / values[-1], [0.25, 0.5, 0.75, 1, 1], rtol=1e-5)


def test_sequences():
    pos = SeqPE(**QUIET | {"axes": 1, "limit": 40, "way": "scalar", "project": "single"})
    model = Transformer(stem=Tokens(7), pos=pos, width=16, blocks=(Block(Attention(2)),), depth=1, causal=True)
    ids = jnp.zeros((2, 9), jnp.int32)
    params = init(model, jax.random.key(0), ids)
    assert apply(model, params, ids).tokens.shape == (2, 9, 16)
    long = jnp.zeros((1, 101), jnp.int32)
    with pytest.raises(ConfigError, match=r"SeqPE\(limit=40\) was built for 2 digits; the input has 101 positions"):
        apply(model, params, long)


def test_without_a_grid_the_losses_are_refused():
    posemb = SeqPE(**TINY[SeqPE])
    pos = jnp.zeros((1, 3, 2), jnp.int32)
    with pytest.raises(ConfigError, match="need an encoder that knows its grid"):
        init(posemb, jax.random.key(0), Places(pos, train=True), heads=2, width=8, method="prepare")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"way": "times"}, "SeqPE.way='times'"),
        ({"project": "both"}, "SeqPE.project='both'"),
        ({"kind": "l1"}, "SeqPE.kind='l1'"),
        ({"depth": 0}, "SeqPE.depth=0 must be at least 1"),
        ({"width": 10, "heads": 3}, "SeqPE.width=10 is not divisible by heads=3"),
        ({"shift": 1.5}, "shift and beta in"),
        ({"limit": 5}, "has 25 positions: fewer than pivots=32"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigError, match=message):
        SeqPE(**fields)


def test_bad_positions():
    posemb = SeqPE(**QUIET)
    with pytest.raises(ConfigError, match=r"SeqPE\(axes=2\) was given positions of 1 numbers"):
        apply(posemb, {}, Places(jnp.zeros((1, 3, 1), jnp.int32)), method="locate")
    with pytest.raises(ConfigError, match="digits of whole positions, not of float32"):
        apply(posemb, {}, Places(jnp.zeros((1, 3, 2))), method="locate")
    with pytest.raises(ConfigError, match="which makes the parameters as well"):
        stored = SeqPE(**QUIET, stored=(2, 2), project="single")
        apply(stored, {}, Places(jnp.zeros((1, 4, 2), jnp.int32)), heads=1, width=4, method="prepare")
    small = encoder(SeqPE(**TINY[SeqPE] | {"limit": 4, "shift": 0.0}))
    with pytest.raises(ConfigError, match=r"SeqPE.limit=4 leaves no window of \(4, 4\) outside of the grid"):
        start(small, images())
