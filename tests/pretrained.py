"""Small pretrained folders as sentence-transformers writes them, made on the spot: random weights, a tokenizer of whole words."""

import json

import numpy as np

WORDS = ("the", "cat", "sat", "on", "mat", "dog", "ran", "query", ":", "a", "big", "red")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WIDTH = 8


def tokenizer(*, before=True, after=True, words=WORDS):
    """tokenizer.json: words split at spaces, with [CLS] before and [SEP] after them."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *words))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    template = " ".join(["[CLS]"] * before + ["$A"] + ["[SEP]"] * after)
    made.post_processor = processors.TemplateProcessing(template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    made.enable_truncation(5)  # as many folders have them: neither may be obeyed
    made.enable_padding(length=5)
    return made.to_str()


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def bert(folder, *, rows=24, seed=0, vocabulary=16, **settings):
    """The Transformer of a folder: config.json, weights, tokenizer."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    config = {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "max_position_embeddings": rows,
        "pad_token_id": 0,
    }
    names = {
        "embeddings.word_embeddings.weight": (vocabulary, WIDTH),
        "embeddings.position_embeddings.weight": (rows, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "pooler.dense.weight": (WIDTH, WIDTH),
        "pooler.dense.bias": (WIDTH,),
    }
    for norm in ("embeddings.LayerNorm", "encoder.layer.0.attention.output.LayerNorm", "encoder.layer.0.output.LayerNorm"):
        names |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    for name, shape in {
        "attention.self.query": (WIDTH, WIDTH),
        "attention.self.key": (WIDTH, WIDTH),
        "attention.self.value": (WIDTH, WIDTH),
        "attention.output.dense": (WIDTH, WIDTH),
        "intermediate.dense": (12, WIDTH),
        "output.dense": (WIDTH, 12),
    }.items():
        names |= {f"encoder.layer.0.{name}.weight": shape, f"encoder.layer.0.{name}.bias": shape[:1]}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: rng.normal(size=s).astype(np.float32) for n, s in names.items()}, folder / "model.safetensors")
    write_json(folder / "config.json", config)
    (folder / "tokenizer.json").write_text(tokenizer())
    write_json(folder / "tokenizer_config.json", {"model_max_length": 16, "pad_token": "[PAD]", **settings})
    return folder


def chain(folder, *modules, prompts=None, **settings):
    """modules.json: pairs of a class and the content of its config.json; a Dense gets random weights."""
    from safetensors.numpy import save_file

    rng, listed = np.random.default_rng(1), [("Transformer", None), *modules]
    doc = []
    for i, (kind, config) in enumerate(listed):
        path = "" if i == 0 else f"{i}_{kind}"
        doc.append({"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"})
        if config is not None:
            write_json(folder / path / "config.json", config)
        if kind == "Dense":
            arrays = {"linear.weight": rng.normal(size=(config["out_features"], config["in_features"])).astype(np.float32)}
            if config.get("bias", True):
                arrays["linear.bias"] = rng.normal(size=config["out_features"]).astype(np.float32)
            save_file(arrays, folder / path / "model.safetensors")
    write_json(folder / "modules.json", doc)
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts or {}, **settings})
    return folder
