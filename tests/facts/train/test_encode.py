"""`encode`: any number of rows, one compilation, the same rows on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.base import ArraySpec, Split
from jaxemb.objectives.base import Objective, tower
from jaxemb.train.compilations import no_compilation
from jaxemb.train.encode import Encoder
from jaxemb.train.sharding import make_mesh
from jaxemb.types import Features

traced = []


class Scale(Objective):
    """x -> w x."""

    def setup(self):
        self.w = self.param("w", lambda _: jnp.ones((3,)))

    def encode(self, batch, role="document"):
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
    out = Encoder(Scale(), make_mesh(axes), 8).bind(variables(2.0)).encode({"x": x, "labels": np.arange(rows)})
    assert out.dtype == np.float32 and out.shape == (rows, 3)
    np.testing.assert_array_equal(out, 2 * x)


def test_new_variables_and_other_numbers_of_rows_do_not_recompile():
    encoder = Encoder(Scale(), make_mesh({"data": 4}), 8)
    x = np.ones((5, 3), np.float32)
    encoder.bind(variables(1.0)).encode({"x": x})
    others = variables(2.0)
    with no_compilation():
        found = encoder.bind(others).encode({"x": x[:3]})
    np.testing.assert_array_equal(found, np.full((3, 3), 2.0))


def test_a_batch_that_does_not_divide_is_rounded_up():
    assert Encoder(Scale(), make_mesh({"data": 8}), 12).batch == 16


def test_features_keep_their_structure():
    out = Encoder(Scale(), make_mesh({"data": 2}), 4).bind(variables(1.0)).encode({"x": np.ones((5, 3), np.float32)}, of="features")
    assert isinstance(out, Features) and out.tokens.shape == (5, 1, 3) and out.mask.shape == (5, 1)
    assert all(isinstance(a, np.ndarray) for a in jax.tree.leaves(out))


class Sums(Objective):
    """Of either tower the sum of a row."""

    def features(self, batch, role="document"):
        x = tower(batch, role)["x"]
        return Features(x.sum(1)[:, None, None], jnp.ones((len(x), 1), bool))


def test_features_are_of_the_tower_of_a_role():
    model = Encoder(Sums(), make_mesh({"data": 1}), 4).bind({})
    batch = {"query": {"x": np.full((3, 2), 1.0, np.float32)}, "document": {"x": np.full((3, 2), 5.0, np.float32)}}
    for role, total in (("query", 2), ("document", 10)):
        assert model.encode(batch, role=role, of="features").tokens.ravel().tolist() == [total] * 3


def test_larger_examples_come_in_smaller_batches():
    """Twice the size, a quarter of the rows: attention logits take no more memory. Of unknown arrays nothing is assumed."""
    encoder = Encoder(Grown(), make_mesh({"data": 2}), 16, {"x": ArraySpec((3,))})
    for width, rows in ((3, 16), (1, 16), (6, 4), (12, 2), (300, 2)):
        traced.clear()
        out = encoder.bind({}).encode({"x": np.ones((5, width), np.float32)})
        assert traced == [rows] and out.tolist() == [[width]] * 5
    assert Encoder(Grown(), make_mesh({"data": 2}), 16).bind({}).encode({"x": np.ones((5, 6), np.float32)}).shape == (5, 1)
    assert traced[-1] == 16


class Grown(Objective):
    """The sum of each row; notes the rows of a call."""

    def encode(self, batch, role="document"):
        traced.append(len(batch["x"]))
        return batch["x"].sum(1, keepdims=True)


def test_other_methods_with_the_same_variables():
    model = Encoder(Scale(), make_mesh({"data": 1}), 4).bind(variables(2.0))
    assert model.encode({"x": np.ones((3, 3), np.float32)}, of="features").tokens.shape == (3, 1, 3)
    with pytest.raises(ConfigError, match="Scale has no 'logits': this evaluation cannot be run on it"):
        model.score({"x": np.ones((3, 3), np.float32)})


class Towers(Objective):
    """The mean of a document's row, or that of its questions negated."""

    def encode(self, batch, role="document"):
        sign = -1.0 if role == "query" else 1.0
        return sign * batch[role]["x"].mean(1, keepdims=True)


def test_rows_may_be_nested_by_tower_and_roles_are_told_apart():
    model = Encoder(Towers(), make_mesh({"data": 2}), 4).bind({})
    rows = {"query": {"x": np.full((5, 2), 2.0, np.float32)}, "document": {"x": np.full((5, 3), 3.0, np.float32)}}
    assert model.encode(rows).tolist() == [[3.0]] * 5 and model.encode(rows, role="query").tolist() == [[-2.0]] * 5


def test_a_split_is_read_a_batch_at_a_time():
    asked = []

    def read(ids):
        asked.append(len(ids))
        return {"x": np.repeat(ids[:, None], 3, 1).astype(np.float32)}

    out = Encoder(Scale(), make_mesh({"data": 1}), 4).bind(variables(2.0)).encode(Split(read, 10))
    np.testing.assert_array_equal(out, 2 * np.repeat(np.arange(10.0)[:, None], 3, 1))
    assert max(asked) == 4
