"""Shapes alone: nothing of these sizes is computed."""

import math

import jax
import jax.numpy as jnp
import pytest

from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.presets import PRESETS, micro, vit_b, vit_h, vit_l, vit_s, vit_ti
from jaxemb.nn.resnet import ResNet
from jaxemb.posemb.learned import Learned

CLASSES = 1000


def count(model, size):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(
    ("preset", "patch", "published"),
    [(vit_ti, 16, 5_717_416), (vit_s, 16, 22_050_664), (vit_b, 16, 86_567_656), (vit_l, 16, 304_326_632), (vit_h, 14, 632_045_800)],
)
def test_published_parameter_counts(preset, patch, published):
    """With class token, learned positions and a head for 1000 classes. Theirs has a position row for the class token: + width."""
    model = preset(patch, scan=True, class_token=True, pos=Learned(shape=(224 // patch,) * 2))
    assert count(model, 224) + model.width + (model.width + 1) * CLASSES == published


@pytest.mark.parametrize(
    ("model", "size", "head", "published"),
    [
        (ResNet(18, "imagenet"), 224, 513 * 1000, 11_689_512),
        (ResNet(50, "imagenet"), 224, 2049 * 1000, 25_557_032),
        (ResNet(18, "cifar"), 32, 513 * 10, 11_173_962),
    ],
)
def test_published_counts_of_resnets(model, size, head, published):
    assert count(model, size) + head == published


def test_scan_has_as_many():
    assert count(vit_s(scan=True), 224) == count(vit_s(), 224)


@pytest.mark.parametrize("name", PRESETS)
def test_docstring_tells_the_size(name):
    model = PRESETS[name](scan=True)  # one block is traced in place of 32
    size = 32 if name == "micro" else 224
    told = float(PRESETS[name].__doc__.split()[0])
    assert count(model, size) / 1e6 == pytest.approx(told, rel=0.03)


def test_fields_can_be_given():
    assert micro(4, blocks=(Block(drop_path=0.1),), remat="dots") == micro(4).clone(blocks=(Block(drop_path=0.1),), remat="dots")


def test_any_field_can_be_given_by_name():
    other = vit_s(8, width=96, blocks=(Block(Attention(3), drop_path=0.1),))
    assert (other.stem.size, other.width, other.depth, other.blocks[0].attention.heads) == (8, 96, 12, 3)
