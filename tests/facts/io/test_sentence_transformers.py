"""What modules.json and the files that it names say; what is not known is refused by name."""

import json

import pytest
from pretrained import chain, write_json

from jaxemb.config import ConfigError
from jaxemb.io.sentence_transformers import Chain, DenseLayer, Settings, read_chain, read_settings

POOL = ("Pooling", {"pooling_mode": "mean"})


def test_a_chain_in_its_order(tmp_path):
    dense = {"in_features": 8, "out_features": 3, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
    cls = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "include_prompt": False}
    found = read_chain(chain(tmp_path, ("Pooling", cls), ("Dropout", {"dropout": 0.1}), ("Dense", dense), ("Normalize", None)))
    assert found.pooling == ("cls",) and not found.include_prompt and found.transformer == tmp_path
    assert found.heads == (DenseLayer(tmp_path / "3_Dense", 8, 3, False, None), None)


@pytest.mark.parametrize(
    "config, modes",
    [
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode": ["mean", "cls"]}, ("mean", "cls")),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("max", "mean")),  # in the order of the library
        ({"word_embedding_dimension": 8}, ("mean",)),
    ],
)
def test_pooling_modes(tmp_path, config, modes):
    assert read_chain(chain(tmp_path, ("Pooling", config))).pooling == modes


def test_the_transformers_own_file_in_a_folder_of_its_own(tmp_path):
    doc = [{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    write_json(tmp_path / "modules.json", doc)
    write_json(tmp_path / "0_Transformer" / "sentence_roberta_config.json", {"max_seq_length": 77, "do_lower_case": True})
    found = read_chain(tmp_path)
    assert (found.transformer, found.max_length, found.lower, found.pooling) == (tmp_path / "0_Transformer", 77, True, None)


def test_two_towers_pool_by_themselves(tmp_path):
    write_json(tmp_path / "modules.json", [{"path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}])
    assert read_chain(tmp_path) == Chain(tmp_path / "0_CLIPModel")


def test_settings(tmp_path):
    assert read_settings(tmp_path) == Settings()
    chain(tmp_path, prompts={"query": "q: "}, default_prompt_name="query", similarity_fn_name="dot_product", truncate_dim=4)
    assert read_settings(tmp_path) == Settings({"query": "q: "}, "query", "dot", 4)


@pytest.mark.parametrize(
    "modules, message",
    [
        (
            [("WeightedLayerPooling", {})],
            "the module WeightedLayerPooling is not supported; supported: Transformer, CLIPModel, Pooling, Dense",
        ),
        ([("CNN", {})], "the module CNN is not supported"),
        ([POOL, POOL], "more than one Pooling"),
        ([("Transformer", None)], "a chain begins with its only Transformer"),
        ([("Pooling", {"pooling_mode": "means"})], "pooling_mode='means'; did you mean 'mean'"),
        ([("Pooling", {"pooling_mode_attention": True})], "pooling_mode_attention is not supported"),
        (
            [POOL, ("Dense", {"in_features": 2, "out_features": 3, "activation_function": "torch.nn.Mishap"})],
            "'Mishap' is not supported",
        ),
        ([POOL, ("Dense", {"in_features": 2, "out_features": 3, "module_input_name": "x"})], "module_input_name='x'"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path, modules, message):
    with pytest.raises(ConfigError, match=message):
        read_chain(chain(tmp_path, *modules))


def test_damaged_files(tmp_path):
    folder = chain(tmp_path, POOL)
    (folder / "1_Pooling" / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="config.json: fields by name are expected, not a list"):
        read_chain(folder)
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ConfigError, match="there is no file .*1_Pooling/config.json"):
        read_chain(folder)
    for path in ("../other", "/etc", 3):
        write_json(folder / "modules.json", [{"path": path, "type": "a.Transformer"}])
        with pytest.raises(ConfigError, match="leads out of the folder"):
            read_chain(folder)
    for content in ("{}", "[]", "[1]"):
        (folder / "modules.json").write_text(content)
        with pytest.raises(ConfigError, match="a list of modules with their types is expected"):
            read_chain(folder)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length is a whole number, not long"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task='fill-mask' is not supported"),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method": "get_text_features", "method_output_name": None}}},
            "of 'get_text_features' is not supported",
        ),
        ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "prompts are texts by name"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "query"},
            "default_prompt_name='query' is none of its prompts",
        ),
        ("config_sentence_transformers.json", {"similarity_fn_name": "cosin"}, "similarity_fn_name='cosin'; did you mean 'cosine'"),
    ],
)
def test_settings_that_are_not_known(tmp_path, name, content, message):
    folder = chain(tmp_path, POOL)
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        read_chain(folder)
        read_settings(folder)
