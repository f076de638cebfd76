import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.layers.recurrent_binary import RecurrentBinary, of_variables

X = normal(0, 6, 5)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rounds": 0, "norm": False},
        {"hidden": (), "norm": False, "skip": False},
        {"hidden": (7, 3), "back": (4,), "skip": False},
    ],
)
def test_variables_tell_the_binariser(fields):
    model = RecurrentBinary(**{"width": 8, "rounds": 2, "hidden": (7,)} | fields)
    variables = jax.eval_shape(model.init, jax.random.key(0), X)
    assert of_variables(variables) == model
    assert ("batch_stats" in variables) == model.norm


def test_a_code_does_not_depend_on_what_stands_beside_it_but_in_training_it_does():
    model = RecurrentBinary(8, 1, (16,), skip=False)
    variables = init(model, jax.random.key(0), X)
    whole = apply(model, variables, X)
    np.testing.assert_array_equal(apply(model, variables, X[:2]).parts, whole.parts[:2])
    in_training, new = apply(model, variables, X, train=True, mutable=["batch_stats"])
    assert (in_training.parts != whole.parts).any()
    assert (jax.tree.leaves(new)[0] != jax.tree.leaves(variables["batch_stats"])[0]).any()
    assert (apply(model, {**variables, **new}, X).parts != in_training.parts).any()  # running statistics, not those of this batch


def test_gradients_reach_every_part():
    model = RecurrentBinary(8, 2, (7,), back=(4,))
    variables = init(model, jax.random.key(0), X)
    factor = normal(1, 6, 8)

    @jax.jit
    def slope(params):
        return jax.grad(lambda p: (factor * model.apply({**variables, "params": p}, X).b).sum())(params)

    for path, g in jax.tree.leaves_with_path(slope(variables["params"])):
        assert (np.asarray(g) != 0).any(), path


def test_fields_out_of_range():
    for wrong in ({"rounds": 8}, {"width": 0}, {"hidden": (0,)}, {"back": (-1,)}, {"width": 40_000, "rounds": 7}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RecurrentBinary(**wrong)


def test_a_code_of_half_precision_is_made_in_32_bits_and_every_batch_norm_is_trained():
    model = RecurrentBinary(8, 1, (16,), back=(4,))
    variables = init(model, jax.random.key(0), X)
    found, new = apply(model, variables, jnp.asarray(X, jnp.bfloat16), train=True, mutable=["batch_stats"])
    assert found.b.dtype == jnp.float32 and found.parts.dtype == jnp.float32
    for (path, a), b in zip(jax.tree.leaves_with_path(new["batch_stats"]), jax.tree.leaves(variables["batch_stats"]), strict=True):
        assert (a != b).any(), path
