import json

import pytest

from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.mask_ids import mask_ids

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "a": 3, "##b": 4}


def write(folder, names):
    special = [{"id": VOCABULARY[n], "content": n, "special": True} for n in names]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    model = {"type": "WordPiece", "vocab": VOCABULARY, "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    model |= {"max_input_chars_per_word": 9}
    (folder / "tokenizer.json").write_text(
        json.dumps({"version": "1.0", "added_tokens": [s | flags for s in special], "model": model})
    )


def test_the_ids_of_a_tokenizer_and_one_without_a_mask_token_is_named(tmp_path):
    write(tmp_path, ["[PAD]", "[UNK]", "[MASK]"])
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert mask_ids(path) == {"mask": 2, "special": (0, 1, 2), "vocabulary": 5}
    write(tmp_path, ["[PAD]", "[UNK]"])
    with pytest.raises(DataError, match=r"has no mask token: its special tokens are \[PAD\], \[UNK\]"):
        mask_ids(tmp_path)
    with pytest.raises(DataError, match="none"):
        mask_ids(tmp_path / "none.json")
