"""SurfaceFusion: its end points, what is normalised, where gradients go; layer attention starts as the mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.nn.fusion import LayerAttention, SourcePath, SurfaceFusion, fused
from jaxemb.ops.allow import Allow

RNG = np.random.default_rng(0)
H, TOP, SURFACE, TABLE = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((2, 3, 4), (2, 5, 4), (2, 5, 4), (7, 4)))
Z_T, Z_S = H @ TABLE.T, jnp.asarray(RNG.normal(size=(2, 3, 7)), jnp.float32)
VALID = Allow(jnp.asarray([[True] * 5, [True] * 3 + [False] * 2]))
SMALL = SurfaceFusion(gate=None)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(SMALL.init)(jax.random.key(0), H, TOP, SURFACE, TABLE, VALID)


@pytest.fixture(scope="module")
def source(variables):
    own = {"params": variables["params"]["source"]}
    return jax.jit(lambda h, top, surface, valid: SourcePath().apply(own, h, top, surface, Allow(valid)))


def test_a_hard_gate_of_one_is_the_decoder_alone_and_of_zero_the_source_alone():
    np.testing.assert_allclose(fused(Z_T, Z_S, "hard", gate=1.0), jax.nn.log_softmax(Z_T), atol=1e-6)
    np.testing.assert_allclose(fused(Z_T, Z_S, "hard", gate=0.0), jax.nn.log_softmax(Z_S), atol=1e-6)


def test_soft_is_normalised_is_post_norm_and_without_a_source_the_decoder_alone():
    soft = fused(Z_T, Z_S, "soft", temperature=5.0)
    np.testing.assert_allclose(jax.nn.logsumexp(soft, axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(fused(Z_T, Z_S, "post_norm", temperature=5.0), soft, atol=1e-5)
    np.testing.assert_allclose(fused(Z_T, jnp.ones_like(Z_T), "soft"), jax.nn.log_softmax(Z_T), atol=1e-5)


def test_hard_sums_to_at_most_one_and_to_one_where_both_agree():
    assert (jax.nn.logsumexp(fused(Z_T, Z_S, "hard", gate=0.6), axis=-1) < -1e-3).all()
    np.testing.assert_allclose(jax.nn.logsumexp(fused(Z_T, Z_T, "hard", gate=0.6), axis=-1), 0, atol=1e-5)


def test_a_source_of_one_token_is_read_whatever_the_query(variables, source):
    p = variables["params"]["source"]
    expected = SURFACE[:, :1] @ p["v"]["kernel"][:, 0] @ p["out"]["kernel"][0]  # biases start at 0
    one = source(H, TOP, SURFACE, jnp.asarray([[True] + [False] * 4] * 2))
    np.testing.assert_allclose(one, jnp.broadcast_to(expected, H.shape), atol=1e-5)


def test_padding_of_the_source_changes_nothing(source):
    other = TOP.at[1, 3:].set(9.0), SURFACE.at[1, 3:].set(-9.0)
    np.testing.assert_allclose(source(H, *other, VALID.valid), source(H, TOP, SURFACE, VALID.valid), atol=1e-5)


def test_gradients_reach_the_encoder_by_its_embedding_layer_alone(source):
    found = jax.grad(lambda h, top, surface: source(h, top, surface, VALID.valid).sum(), (0, 1, 2))(H, TOP, SURFACE)
    assert not found[0].any() and not found[1].any() and found[2].any()


def test_a_learned_gate_lies_between(variables, source):
    said = SMALL.apply(variables, H, TOP, SURFACE, TABLE, VALID)
    r = source(H, TOP, SURFACE, VALID.valid) @ TABLE.T
    ends = jnp.stack([jax.nn.log_softmax(H @ TABLE.T), jax.nn.log_softmax(r)])
    assert ((said >= ends.min(0) - 1e-5) & (said <= ends.max(0) + 1e-5)).all()


def test_layer_attention_starts_as_the_mean_of_the_layers():
    stack = jnp.stack([TOP, SURFACE, TOP * 2])
    module = LayerAttention(2, rate=0.5)
    y, _ = module.init_with_output(jax.random.key(0), stack)
    np.testing.assert_allclose(y, jnp.stack([stack.mean(0)] * 2), atol=1e-6)
    dropped = module.apply({"params": {"weights": jnp.zeros((2, 3))}}, stack, train=True, rngs={"dropout": jax.random.key(1)})
    assert not np.allclose(dropped, y)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: SurfaceFusion(mode="firm"), "hard, soft, post_norm|valid"),
        (lambda: SurfaceFusion(gate=1.5), "gate"),
        (lambda: SurfaceFusion(temperature=0.0), "temperature"),
        (lambda: LayerAttention(rate=1.0), "rate"),
        (lambda: SurfaceFusion(heads=3).init(jax.random.key(0), H, TOP, SURFACE, TABLE), "does not divide the width 4"),
    ],
)
def test_what_makes_no_sense_is_said(made, words):
    with pytest.raises(ConfigError, match=words):
        made()
