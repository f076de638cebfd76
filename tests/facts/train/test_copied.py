import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.train.copied import Copied
from jaxemb.train.init import Init


class Given(Init):
    def __call__(self, shapes, say=print):
        return {"params/encoder/block_0/w": np.ones(3), "params/encoder/block_1/w": np.zeros(3)}


SHAPES = {f"params/{p}/w": jax.ShapeDtypeStruct((3,), "float32") for p in ("encoder/block_0", "encoder/block_1", "decoder/block_0")}


def test_copies_stand_beside_what_they_are_copies_of():
    said = []
    found = Copied(Given(), (("^encoder/block_0/", "decoder/block_0/"),))(SHAPES, said.append)
    assert set(found) == set(SHAPES) and (found["params/decoder/block_0/w"] == 1).all()
    assert said == ["1 parameters start as copies: decoder/block_0/"]


def test_what_copies_nothing_or_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match=r"init.copies: '\^head/' -> 'x/' gives no parameter that this experiment has"):
        Copied(Given(), (("^head/", "x/"),))(SHAPES, print)
    other = SHAPES | {"params/decoder/block_0/w": jax.ShapeDtypeStruct((4,), "float32")}
    with pytest.raises(ConfigError, match=r"encoder/block_0/w has shape \(3,\), and its copy params/decoder/block_0/w \(4,\)"):
        Copied(Given(), (("^encoder/block_0/", "decoder/block_0/"),))(other, print)
    with pytest.raises(ConfigError, match="is no regular expression"):
        Copied(Given(), (("(", ""),))
