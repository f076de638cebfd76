"""What every encoder and every stem keeps to."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids
from compiled import apply, init
from tiny import tiny

from jaxemb.config import from_json, to_json
from jaxemb.discover import members
from jaxemb.nn.stem import Tokens
from jaxemb.ops.paths import parameter_paths

IMAGES = normal(0, 3, 8, 8, 3)


@pytest.fixture(scope="module", params=members("encoders"), ids=lambda m: m.name)
def case(request):
    encoder = tiny(request.param.cls)
    return encoder, jax.jit(encoder.init)(jax.random.key(1), IMAGES)


def test_features_are_a_row_an_example_each_by_itself(case):
    encoder, variables = case
    run = partial(apply, encoder, variables)
    out = run(IMAGES)
    assert out.tokens.ndim == 3 and out.mask.shape == out.tokens.shape[:2] and out.mask.dtype == bool and bool(out.mask.all())
    np.testing.assert_allclose(run(IMAGES[::-1]).tokens[::-1], out.tokens, rtol=1e-4, atol=1e-5)
    other = run(IMAGES.at[1:].set(7.0)).tokens
    np.testing.assert_allclose(other[0], out.tokens[0], rtol=1e-4, atol=1e-5)
    assert not np.allclose(other[1], out.tokens[1], atol=1e-3)


def test_bfloat16_is_that_of_the_features_and_finite(case):
    encoder, variables = case
    tokens = apply(encoder.clone(dtype="bfloat16"), variables, IMAGES).tokens
    assert tokens.dtype == jnp.bfloat16 and bool(jnp.isfinite(tokens).all())


def test_what_is_stored_has_the_same_parameters(case):
    encoder, variables = case
    again = from_json(to_json(encoder))
    assert parameter_paths(jax.eval_shape(again.init, jax.random.key(1), IMAGES)) == parameter_paths(variables)


@pytest.mark.parametrize("member", members("stems"), ids=lambda m: m.name)
def test_a_stem_says_what_its_tokens_are_and_where(member):
    ids = token_ids(0, 16, 3, 6)
    stem, inputs = (Tokens(16), ids) if member.cls is Tokens else (member.cls(size=4), IMAGES)
    variables = init(stem, jax.random.key(1), inputs, width=8)
    keep = jnp.array([[2, 0], [1, 3], [0, 1]])
    whole, part = (apply(stem, variables, inputs, width=8, keep=k) for k in (None, keep))
    where, there = stem.positions(inputs), stem.positions(inputs, keep)
    assert whole.shape == (3, where.shape[1], 8) and where.shape[0] in (1, 3)
    np.testing.assert_allclose(part, jnp.take_along_axis(whole, keep[:, :, None], axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        there, jnp.take_along_axis(jnp.broadcast_to(where, (3, *where.shape[1:])), keep[:, :, None], axis=1)
    )
    grid = stem.grid(inputs.shape[1:])
    assert int(np.prod(grid)) == where.shape[1] and (np.asarray(where).max((0, 1)) == np.array(grid) - 1).all()
    assert apply(stem, variables, inputs, width=8, dtype="bfloat16").dtype == jnp.bfloat16
