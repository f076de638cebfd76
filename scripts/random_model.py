"""Folders of sentence-transformers with random weights: what a benchmark encodes with where nothing can be downloaded."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np

SHAPES = {
    "bert_base": ("bert", {"width": 768, "layers": 12, "heads": 12}),
    "bert_tiny": ("bert", {"width": 32, "layers": 1, "heads": 2, "words": 2100}),
    "qwen3": ("qwen3", {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8}),
}
"""Sizes; of Qwen3 what differs from the defaults of transformers: its model of 0.6B, see `random_folder`."""


def random_folder(shape: str, tokenizer: Path | None, folder: Path) -> Path:
    """A sentence-transformers folder of this shape with random weights. BERT is written here; others need transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, changed = SHAPES[shape]
    if kind == "bert":
        random_bert(folder, **changed)
    else:
        from transformers import AutoConfig, AutoModel  # pyright: ignore[reportMissingImports]

        extra = {"intermediate_size": 3072, "head_dim": 128, "vocab_size": 151_936}
        AutoModel.from_config(AutoConfig.for_model(kind, **changed, **extra)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if tokenizer and (tokenizer / name).exists():
            shutil.copy(tokenizer / name, folder)
    if tokenizer is None:
        (folder / "tokenizer.json").write_text(made_up_words(2000 if shape == "bert_tiny" else 30_000))
    parts = ["", "1_Pooling"]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (path, name) in enumerate(zip(parts, ("Transformer", "Pooling"), strict=True))
    ]
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def random_bert(folder: Path, width: int, layers: int, heads: int, words: int = 30_522, rows: int = 512) -> None:
    """config.json and model.safetensors of a BERT, in the names of transformers."""
    from safetensors.numpy import save_file

    shapes = {"word_embeddings": (words, width), "position_embeddings": (rows, width), "token_type_embeddings": (2, width)}
    shapes = {f"embeddings.{name}.weight": shape for name, shape in shapes.items()}
    norms = ["embeddings.LayerNorm"]
    for i in range(layers):
        block = f"encoder.layer.{i}."
        norms += [f"{block}attention.output.LayerNorm", f"{block}output.LayerNorm"]
        square = dict.fromkeys(("self.query", "self.key", "self.value", "output.dense"), (width, width))
        dense = {f"attention.{name}": shape for name, shape in square.items()}
        dense |= {"intermediate.dense": (4 * width, width), "output.dense": (width, 4 * width)}
        shapes |= {f"{block}{name}.weight": shape for name, shape in dense.items()}
        shapes |= {f"{block}{name}.bias": shape[:1] for name, shape in dense.items()}
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in norms:
        arrays |= {f"{name}.weight": np.ones(width, np.float32), f"{name}.bias": np.zeros(width, np.float32)}
    save_file(arrays, folder / "model.safetensors")
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 4 * width}
    sizes |= {"vocab_size": words, "max_position_embeddings": rows, "type_vocab_size": 2, "pad_token_id": 0}
    about = {"model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    (folder / "config.json").write_text(json.dumps(about | sizes))


def made_up_words(count: int) -> str:
    """tokenizer.json of so many words of small letters, a token each."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    words = itertools.islice(map("".join, itertools.product("abcdefghijklmnopqrstuvwxyz", repeat=4)), count)
    made = Tokenizer(models.WordLevel({token: i for i, token in enumerate((*special, *words))}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    made.add_special_tokens([AddedToken(token, special=True) for token in special])
    numbers = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=numbers)  # pyright: ignore[reportAttributeAccessIssue]
    return made.to_str()
