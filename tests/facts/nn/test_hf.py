"""What is read from a config.json, and what is refused; the models themselves are compared in tests/parity/test_hf.py."""

import dataclasses

import pytest

from jaxemb.config import ConfigError
from jaxemb.nn.hf.base import Config, Port, period, port
from jaxemb.nn.hf.rope import rotary
from jaxemb.posemb.llama3 import Llama3
from jaxemb.posemb.rescale import DynamicNTK, Interpolated, YaRN
from jaxemb.posemb.rotary import Rotary

BERT = {
    "model_type": "bert",
    "vocab_size": 11,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
LLAMA = BERT | {"model_type": "llama"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BERT | {"model_type": "gpt_neo"}, "model_type='gpt_neo' is not supported; supported: .*bert.*llama"),
        ({}, "it has no model_type"),
        ({k: v for k, v in BERT.items() if k != "hidden_size"}, "has no hidden_size, which a model of type 'bert' needs"),
        (
            BERT | {"position_embedding_type": "relative_key"},
            "position_embedding_type='relative_key' is not supported .*'absolute'",
        ),
        (BERT | {"hidden_act": "gellu"}, "hidden_act='gellu' is no activation that is known here.*gelu"),
        (LLAMA | {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope_type='longrope' is not supported"),
        (LLAMA | {"rope_scaling": {"rope_type": "linear"}}, "rope_type='linear' needs a factor"),
    ],
)
def test_what_the_parts_cannot_do_is_named(config, message):
    with pytest.raises(ConfigError, match=message):
        port(config)


def test_only_decoders_are_told_whether_they_see_ahead():
    with pytest.raises(ConfigError, match="causal=True is for decoders, and 'bert' is none"):
        port(BERT, causal=True)


@pytest.mark.parametrize("causal", [None, True, False])
def test_decoders_see_ahead_by_one_field(causal):
    found = port(LLAMA | {"model_type": "mistral", "sliding_window": 5}, causal=causal)
    assert isinstance(found, Port)
    assert found.encoder.module.causal is (causal is not False)
    assert found.encoder.module.blocks[0].attention.window == (4 if causal is not False else None)


def test_layers_repeat_in_the_shortest_period():
    assert period("aaaa") == "a"
    assert period("abab") == "ab"
    assert period("aabaa") == "aab"
    assert period("abca") == "abc"
    assert period("abb") == "abb"
    assert period("a") == "a"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rope_theta": 500.0}, Rotary(base=500.0)),
        ({"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 3}}, Interpolated(of=Rotary(base=500.0), factor=3.0)),
        (
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 3}},
            Interpolated(of=Rotary(base=500.0), factor=3.0),
        ),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, DynamicNTK(of=Rotary(), factor=2.0, original=16)),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}},
            Llama3(of=Rotary(), factor=8.0, original=16, low=1.0, high=4.0),
        ),
        (
            {
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4,
                    "original_max_position_embeddings": 8,
                    "attention_factor": 1.5,
                    "truncate": False,
                }
            },
            YaRN(of=Rotary(), factor=4.0, original=8, multiplier=1.5, whole=False),
        ),
        ({"partial_rotary_factor": 0.5}, Rotary(share=0.5)),
    ],
)
def test_rotary_settings_of_both_versions(fields, expected):
    found = rotary(Config(LLAMA | fields))
    assert type(found) is type(expected)
    for name in (f.name for f in dataclasses.fields(expected) if f.name not in ("of", "parent", "name")):
        assert getattr(found, name) == getattr(expected, name), name
    assert getattr(found, "of", found).base == getattr(expected, "of", expected).base


def test_yarn_may_be_told_its_multiplier_and_keep_the_bounds_of_its_ramp():
    told = YaRN(of=Rotary(), factor=4.0, multiplier=1.5)
    assert told.attention_factor() == 1.5
    rounded, exact = YaRN(of=Rotary(), factor=4.0), YaRN(of=Rotary(), factor=4.0, whole=False)
    low, high = exact.bounds(64)
    assert rounded.bounds(64) == (float(int(low)), float(int(high) + 1)) != (low, high)
    with pytest.raises(ConfigError, match="multiplier must be above 0"):
        YaRN(of=Rotary(), multiplier=0.0)
