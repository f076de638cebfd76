"""What is read from the config.json of text encoders, and what is refused; tests/parity/test_hf.py compares the models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention, DisentangledAttention
from jaxemb.nn.hf.base import Port, port
from jaxemb.ops.allow import Allow
from jaxemb.posemb.disentangled import Disentangled
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.relative import RelativeBuckets

USUAL = {"vocab_size": 11, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 4, "intermediate_size": 12}
MPNET = USUAL | {"model_type": "mpnet"}
DEBERTA = USUAL | {
    "model_type": "deberta-v2",
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "position_buckets": 4,
    "max_relative_positions": 7,
    "position_biased_input": False,
}
MODERN = USUAL | {"model_type": "modernbert"}
T5 = {"model_type": "t5", "vocab_size": 11, "d_model": 8, "d_kv": 3, "num_heads": 2, "num_layers": 2, "d_ff": 12}
HUB = {"model_type": "nomic_bert", "vocab_size": 11, "n_embd": 8, "n_head": 2, "n_layer": 2, "n_inner": 12}
NOMIC = HUB | {"layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000, "activation_function": "swiglu", "qkv_proj_bias": False}


def encoder(config):
    found = port(config)
    assert isinstance(found, Port)
    return found.encoder.module


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MPNET | {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets=16 must be at least 32"),
        (DEBERTA | {"relative_attention": False}, "relative_attention=False is not supported"),
        (DEBERTA | {"conv_kernel_size": 3}, "conv_kernel_size=3 is not supported in a model of type 'deberta-v2'; only 0"),
        (DEBERTA | {"embedding_size": 4}, "embedding_size=4 is not supported"),
        (DEBERTA | {"pos_att_type": "p2p|c2p"}, r"pos_att_type=\['p2p', 'c2p'\] is not supported.* c2p, p2c"),
        (
            MODERN | {"layer_types": ["full_attention", "chunked_attention"] * 2},
            "layer_types=.* must name, for each of 4 layers, full",
        ),
        (MODERN | {"layer_types": ["full_attention"]}, "layer_types=.* must name, for each of 4 layers"),
        (MODERN | {"rope_parameters": {"full_attention": {"rope_type": "longrope"}}}, "rope_type='longrope' is not supported"),
        (T5 | {"feed_forward_proj": "gated-gelo"}, "feed_forward_proj='gated-gelo' is no activation.*gelu"),
        (HUB | {"layer_norm_epsilon": 1e-12}, "has no rotary_emb_base, which a model of type 'nomic_bert' needs"),
        (NOMIC | {"prenorm": True}, "prenorm=True is not supported in a model of type 'nomic_bert'; only False"),
        (NOMIC | {"rotary_scaling_factor": 2.0}, "rotary_scaling_factor=2.0 is not supported"),
        (NOMIC | {"moe_every_n_layers": 2}, "moe_every_n_layers=2 is not supported"),
        (NOMIC | {"activation_function": "gelu"}, "activation_function='gelu' is not supported.*'swiglu', 'geglu'"),
        (NOMIC | {"mlp_fc1_bias": False, "mlp_fc2_bias": True}, "mlp_fc2_bias=True is not supported.*only False"),
    ],
)
def test_what_the_parts_cannot_do_is_named(config, message):
    with pytest.raises(ConfigError, match=message):
        port(config)


def test_layers_of_modernbert():
    """By both versions' fields: which see all, with which waves, and that only the first lacks a norm."""
    old = encoder(
        MODERN | {"local_attention": 9, "global_attn_every_n_layers": 2, "global_rope_theta": 7.0, "local_rope_theta": 5.0}
    )
    kinds = ["full_attention", "sliding_attention"] * 2
    rope = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in zip(kinds[:2], (7.0, 5.0), strict=True)}
    for found in (old, encoder(MODERN | {"local_attention": 9, "layer_types": kinds, "rope_parameters": rope})):
        assert [b.attention.window for b in found.blocks] == [None, 4, None, 4]
        assert [b.first is None for b in found.blocks] == [False, True, True, True]
        assert (found.pos.base, found.blocks[1].attention.pos.base) == (7.0, 5.0)
        assert found.blocks[2].attention.pos is None
    assert encoder(MODERN | {"local_rope_theta": None, "global_rope_theta": 7.0}).blocks[1].attention.pos.base == 7.0
    assert encoder(MODERN).blocks[1].attention.pos.base == 10_000


def test_distances_of_deberta():
    plain = encoder(DEBERTA)
    assert isinstance(plain.pos, Disentangled) and type(plain.blocks[0].attention) is Attention
    assert (plain.pos.span, plain.pos.longest, plain.pos.log, plain.pos.terms) == (4, 7, True, ("c2p", "p2c"))
    placed = encoder(
        DEBERTA | {"position_biased_input": True, "share_att_key": True, "pos_att_type": ["p2c"], "position_buckets": -1}
    )
    assert isinstance(placed.pos, Learned) and isinstance(placed.blocks[0].attention, DisentangledAttention)
    own = placed.blocks[0].attention.pos
    assert (own.span, own.log, own.terms) == (7, False, ("p2c",))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("relu", ("relu", False)),
        ("gelu", ("gelu", False)),
        ("gated-gelu", ("gelu_tanh", True)),
        ("gated-silu", ("silu", True)),
        (None, ("relu", False)),
    ],
)
def test_activations_of_t5(given, expected):
    mlp = encoder(T5 | {"feed_forward_proj": given}).blocks[0].mlp
    assert (mlp.activation, mlp.gated) == expected
    assert encoder(T5 | {"model_type": "mt5"}).blocks[0].mlp.gated


def test_tables_of_distance_and_windows():
    mpnet = port(MPNET | {"relative_attention_num_buckets": 40, "max_position_embeddings": 20, "pad_token_id": 5})
    assert isinstance(mpnet, Port) and mpnet.window == 18 and mpnet.encoder.module.stem.pad == 1
    assert mpnet.encoder.names["pos_0/table"].rows == (0, 32)
    assert isinstance(mpnet.encoder.module.blocks[0].attention.pos, RelativeBuckets)
    t5 = port(T5)
    assert isinstance(t5, Port) and t5.window is None and t5.encoder.module.blocks[0].attention.scale == 1.0


def test_roberta_counts_positions_alike_in_padded_and_in_packed_rows():
    """sentence-transformers #3879: texts that were unpadded into one row had the positions of others, from 0 instead of pad + 1."""
    model = encoder(USUAL | {"model_type": "roberta", "max_position_embeddings": 9, "pad_token_id": 1, "num_hidden_layers": 1})
    texts = [[2, 5, 6, 3], [2, 7, 3]]
    padded = jnp.array([[*text, *[1] * (6 - len(text))] for text in texts])
    packed, segments = jnp.array([sum(texts, [])]), jnp.array([[1] * 4 + [2] * 3])
    variables = init(model, jax.random.key(0), padded)
    # Of rows that the initial draw hardly tells apart a wrong one would not be seen.
    variables["params"]["pos"]["table"] = normal(0, 9, 8)
    found = [apply(model, variables, padded, allow=Allow(padded != 1)).tokens[i, : len(text)] for i, text in enumerate(texts)]
    together = apply(model, variables, packed, allow=Allow(segments=segments)).tokens[0]
    np.testing.assert_allclose(together, jnp.concatenate(found), atol=1e-5)
