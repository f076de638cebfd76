"""What configs of image models become, and what of them is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.hf.base import Take, port
from jaxemb.nn.hf.siglip import LastPlace
from jaxemb.pooling.end_token import EndToken
from jaxemb.types import Features

SIZES = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 40}
IMAGES = {**SIZES, "image_size": 20, "patch_size": 4}
DINOV3 = {"model_type": "dinov3_vit", **IMAGES}
SIGLIP2 = {"model_type": "siglip2", "text_config": {}, "vision_config": {}}


def test_rows_of_a_table_with_an_axis_in_front():
    table = np.arange(12.0).reshape(1, 4, 3)
    np.testing.assert_array_equal(Take("t", (1, 3)).of(table), table[0, 1:3])
    np.testing.assert_array_equal(Take("t", (0, 1), (1, 1, 3)).of(table), table[:, :1])
    np.testing.assert_array_equal(Take("t", None, (3, 2, 2), (2, 0, 1)).of(table), table.reshape(3, 2, 2).transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "ratio", "hidden"), [(48, 4, 128), (64, 3, 128), (20, 4, 56)])
def test_swiglu_has_two_thirds_in_whole_eights(width, ratio, hidden):
    """8 ceil(int(2/3 int(width ratio)) / 8): 128 of 192, 128 of 192, 56 (of 53) of 80."""
    config = {"model_type": "dinov2", **IMAGES, "hidden_size": width, "num_attention_heads": 1}
    found = port({**config, "mlp_ratio": ratio, "use_swiglu_ffn": True, "hidden_act": "relu"})
    mlp = found.encoder.module.blocks[0].mlp
    assert (mlp.hidden, mlp.gated, mlp.activation) == (hidden, True, "silu")
    names = found.encoder.names
    assert names["block_0/mlp/gate/kernel"].rows == (0, hidden) and names["block_0/mlp/up/kernel"].rows == (hidden, 2 * hidden)


def test_fields_that_towers_leave_out():
    found = port(SIGLIP2)
    assert (found.text.window, found.image.encoder.module.pos.shape, found.image.encoder.module.depth) == (64, (16, 16), 12)
    clip = port({"model_type": "clip", "text_config": {"eos_token_id": 2}, "vision_config": {}})
    assert clip.text.window == 77 and clip.text.pooler.module == EndToken(None) and clip.image.encoder.module.pos.shape == (7, 7)
    clip = port({"model_type": "clip", "text_config": {"hidden_size": None}, "vision_config": {}})
    assert clip.text.pooler.module == EndToken(49407) and clip.text.encoder.module.width == 512


def test_a_tower_alone_is_that_of_both():
    both = port({"model_type": "clip", "text_config": IMAGES, "vision_config": IMAGES, "projection_dim": 6})
    for key, kind in (("text", "CLIPTextModel"), ("image", "CLIPVisionModel")):
        config = {"model_type": f"clip_{kind[4:-5].lower()}_model", **IMAGES, "projection_dim": 6}
        tower, alone = getattr(both, key), port({**config, "architectures": [kind]})
        assert alone.encoder == tower.encoder and alone.pooling == tower.pooler
        assert port({**config, "architectures": [f"{kind}WithProjection"]}).pooling == tower.pooling
    both = port({"model_type": "siglip2", "text_config": {}, "vision_config": {**SIZES, "patch_size": 4}})
    alone = port({"model_type": "siglip2_vision_model", **SIZES, "patch_size": 4})
    assert alone.encoder == both.image.encoder and alone.pooling == both.image.pooling


def test_images_that_are_no_squares():
    assert port({"model_type": "ijepa", **IMAGES, "image_size": [20, 12]}).encoder.module.pos.shape == (5, 3)
    assert port({"model_type": "vit", **IMAGES, "patch_size": [4, 4]}).encoder.module.stem.size == 4


def test_patches_need_not_divide_an_image():
    """SigLIP's largest model sees 27 x 27 patches of 14 pixels in 384 x 384."""
    images = {**SIZES, "image_size": 384, "patch_size": 14}
    found = port({"model_type": "siglip", "text_config": {}, "vision_config": images}).image.encoder.module
    assert found.pos.shape == found.stem.grid((384, 384, 3)) == (27, 27)


def test_the_last_place_may_be_padding():
    tokens = normal(0, 2, 3, 2)
    np.testing.assert_array_equal(LastPlace().apply({}, Features(tokens, jnp.zeros((2, 3), bool))), tokens[:, 2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "vit", **IMAGES, "pooler_act": "relu"}, "pooler_act='relu' is not supported in a model of type 'vit'"),
        ({"model_type": "vit", **IMAGES, "patch_size": [4, 2]}, r"patch_size=\[4, 2\] is not supported; only squares"),
        ({"model_type": "vit", **SIZES, "patch_size": 4}, "has no image_size, which a model of type 'vit' needs"),
        ({**DINOV3, "query_bias": False}, "query_bias=False with value_bias=True is not supported"),
        ({**SIGLIP2, "vision_config": {"num_patches": 10}}, "vision_config: num_patches=10 is no square number"),
        ({**SIGLIP2, "vision_config": {"vision_use_head": False}}, "vision_use_head=False is not supported in a model of"),
        ({"model_type": "clip", "text_config": {}}, "has no vision_config, which a model of type 'clip' needs"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        port(values)
