""" "fsdp+tensor" on published architectures: no large matrix of a layer, a vocabulary or a pooling head is left whole."""

import jax
import numpy as np
import pytest
from arrays import normal

from jaxemb.io.pretrained import example, parameter_shapes
from jaxemb.nn.hf.base import Port, port
from jaxemb.nn.pooled import Pooled
from jaxemb.ops.paths import by_path
from jaxemb.train.sharding import make_mesh, on_mesh, replicated, shardings

WIDTH = 32
BERT = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = BERT | {"vocab_size": 64, "max_position_embeddings": 16}
DECODER = TEXT | {"num_key_value_heads": 2, "head_dim": 8, "rope_theta": 10000.0, "hidden_act": "silu"}
IMAGE = BERT | {"image_size": 8, "patch_size": 4, "num_channels": 3, "hidden_act": "gelu"}
ZOO = {
    "bert": TEXT | {"hidden_act": "gelu", "type_vocab_size": 2, "pad_token_id": 0},
    "modernbert": TEXT | {
        "global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "local_attention": 8, "global_attn_every_n_layers": 3,
    },
    "llama": DECODER,
    "mistral": DECODER | {"sliding_window": 4},
    "qwen3": DECODER,
    "gemma2": DECODER | {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 8, "sliding_window": 4},
    "t5": {
        "d_model": WIDTH, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 1, "vocab_size": 64,
        "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 8, "relative_attention_max_distance": 16,
    },
    "deberta-v2": TEXT | {
        "hidden_act": "gelu", "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
        "position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0,
    },
    "vit": IMAGE | {"qkv_bias": True},
    "dinov2": IMAGE | {"mlp_ratio": 2, "use_swiglu_ffn": True},
    "dinov3_vit": IMAGE | {"num_register_tokens": 2, "rope_theta": 100.0},
    "clip_vision_model": IMAGE | {"hidden_act": "quick_gelu"},
    "siglip_vision_model": IMAGE | {"hidden_act": "gelu_pytorch_tanh", "vision_use_head": True},
}  # fmt: skip


@pytest.fixture(params=ZOO)
def found(request):
    made = port({"model_type": request.param, **ZOO[request.param]})
    assert isinstance(made, Port)
    return made


def whole(model, batch):
    """The matrices that the devices of model all hold, but for patches and positions, whose features are those of the residual."""
    shapes = parameter_shapes(model, batch, mesh=make_mesh({"model": 2}), sharding="fsdp+tensor")
    large = {path: x for path, x in shapes.items() if np.prod(x.shape) >= WIDTH**2 // 2 and len(x.shape) > 1}
    assert len(large) > 5
    left = {path for path, x in large.items() if "model" not in x.sharding.spec}
    return {path for path in left if not path.startswith(("encoder/stem/proj", "encoder/pos/", "heads_"))}


def test_every_large_matrix_is_cut_over_model(found):
    assert not whole(Pooled(found.encoder.module, found.pooling.module), example(found))


def test_two_devices_give_what_one_gives():
    """Of an encoder with a pooling head of its own."""
    made = port({"model_type": "siglip_vision_model", **ZOO["siglip_vision_model"]})
    model = Pooled(made.encoder.module, made.pooling.module)
    batch = {"images": normal(0, 2, 8, 8, 3)}
    mesh = make_mesh({"model": 2})
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    placed = shardings(params, "fsdp+tensor", mesh)
    assert "model" in by_path(placed)["pooling/q/kernel"].spec

    def encode(params, batch):
        return model.apply({"params": params}, batch, method="encode")

    cut = jax.jit(on_mesh(encode, mesh), in_shardings=(placed, replicated(mesh)))
    np.testing.assert_allclose(cut(params, batch), jax.jit(encode)(params, batch), rtol=1e-4, atol=1e-5)
