"""`encode`: any number of rows, one compilation, the same rows on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.base import ArraySpec
from jaxemb.objectives.base import Objective
from jaxemb.train.encode import Encoder, bind
from jaxemb.train.sharding import make_mesh
from jaxemb.types import Features

traced = []


class Scale(Objective):
    """x -> w x; counts how often it is traced."""

    def setup(self):
        self.w = self.param("w", lambda _: jnp.ones((3,)))

    def encode(self, batch):
        traced.append(1)
        return (batch["x"] * self.w[None]).astype(jnp.bfloat16)

    def features(self, batch):
        tokens = batch["x"][:, None] * self.w[None, None]
        return Features(tokens, jnp.ones(tokens.shape[:2], bool))


def variables(w):
    return {"params": {"w": jnp.full(3, w)}}


@pytest.mark.parametrize("rows", [0, 1, 8, 9, 21])
@pytest.mark.parametrize("axes", [{"data": 1}, {"data": 2, "fsdp": 2, "model": 2}])
def test_any_number_of_rows(rows, axes):
    x = np.arange(3.0 * rows, dtype=np.float32).reshape(rows, 3)
    out = bind(Scale(), variables(2.0), make_mesh(axes), 8)({"x": x, "labels": np.arange(rows)})
    assert out.dtype == np.float32 and out.shape == (rows, 3)
    np.testing.assert_array_equal(out, 2 * x)


def test_new_variables_and_other_numbers_of_rows_do_not_recompile():
    encoder = Encoder(Scale(), make_mesh({"data": 4}), 8)
    x = np.ones((5, 3), np.float32)
    traced.clear()
    results = [encoder.bind(variables(w))({"x": x[:n]}) for w, n in ((1.0, 5), (2.0, 3))]
    np.testing.assert_array_equal(results[1], np.full((3, 3), 2.0))
    assert len(traced) == 1


def test_a_batch_that_does_not_divide_is_rounded_up():
    assert Encoder(Scale(), make_mesh({"data": 8}), 12).batch == 16


def test_features_keep_their_structure():
    out = Encoder(Scale(), make_mesh({"data": 2}), 4).bind(variables(1.0), "features")({"x": np.ones((5, 3), np.float32)})
    assert isinstance(out, Features) and out.tokens.shape == (5, 1, 3) and out.mask.shape == (5, 1)
    assert all(isinstance(a, np.ndarray) for a in jax.tree.leaves(out))


def test_larger_examples_come_in_smaller_batches():
    """Twice the size, a quarter of the rows: attention logits take no more memory. Of unknown arrays nothing is assumed."""
    encoder = Encoder(Grown(), make_mesh({"data": 2}), 16, {"x": ArraySpec((3,))})
    for width, rows in ((3, 16), (1, 16), (6, 4), (12, 2), (300, 2)):
        traced.clear()
        out = encoder.bind({})({"x": np.ones((5, width), np.float32)})
        assert traced == [rows] and out.tolist() == [[width]] * 5
    assert Encoder(Grown(), make_mesh({"data": 2}), 16).bind({})({"x": np.ones((5, 6), np.float32)}).shape == (5, 1)
    assert traced[-1] == 16


class Grown(Objective):
    """The sum of each row; notes the rows of a call."""

    def encode(self, batch):
        traced.append(len(batch["x"]))
        return batch["x"].sum(1, keepdims=True)


def test_other_methods_with_the_same_variables():
    encode = bind(Scale(), variables(2.0), make_mesh({"data": 1}), 4)
    assert encode.of("features")({"x": np.ones((3, 3), np.float32)}).tokens.shape == (3, 1, 3)
    with pytest.raises(ConfigError, match="Scale has no 'logits': this evaluation cannot be run on it"):
        encode.of("logits")
