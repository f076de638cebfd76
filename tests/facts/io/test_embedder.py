"""What an Embedder takes for inputs, on a model without parameters: it adds up the ids of a text."""

import numpy as np
import pytest
from flax import linen as nn

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.io.embedder import Embedder
from jaxemb.preprocess.images import ImagePreprocess
from jaxemb.preprocess.text import TextPreprocess


class Adds(nn.Module):
    def encode(self, batch, role="document"):
        return (batch["tokens"] * batch["mask"].astype("int32")).sum(1, keepdims=True).astype("float32")


@pytest.fixture(scope="module")
def model():
    return Embedder(Adds(), {}, TextPreprocess(length=4))


@pytest.mark.parametrize(
    "inputs",
    [["a", "bc"], ("a", "bc"), np.array(["a", "bc"]), np.array(["a", "bc"], object), [np.str_("a"), np.str_("bc")]],
    ids=["list", "tuple", "U", "object", "numpy strings"],
)
def test_strings_in_any_sequence_are_a_row_each(model, inputs):
    np.testing.assert_array_equal(model.encode(inputs), [[ord("a")], [ord("b") + ord("c")]])
    np.testing.assert_array_equal(model.encode_query(inputs, batch_size=1), model.encode(inputs))


@pytest.mark.parametrize("single", ["a", np.str_("a"), np.array("a"), np.array("a", object)])
def test_a_single_string_is_a_single_vector(model, single):
    np.testing.assert_array_equal(model.encode(single), [ord("a")])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.array([["a", "b"]]), r"an array of strings or objects has one axis, a row each, not the shape \(1, 2\)"),
        (np.array([b"a"]), r"not a ndarray of shape \(1,\) and type \|S1"),
        (b"a", "encode takes a list of inputs .* not a bytes"),
        (np.arange(3), r"not a ndarray of shape \(3,\) and type int64"),
        ({"a": 1}, "not a dict"),
    ],
)
def test_what_is_no_list_of_inputs_is_named(model, inputs, message):
    with pytest.raises(ConfigError, match=message):
        model.encode(inputs)


@pytest.mark.parametrize("wrong", [b"a", None])
def test_what_is_no_image_is_named(wrong):
    model = Embedder(Adds(), {}, ImagePreprocess(size=8))
    with pytest.raises(DataError, match=f"an image is a file name, an array .* not a {type(wrong).__name__}"):
        model.encode([np.zeros((8, 8, 3), np.uint8), wrong])
