"""What masking must know of a pretrained tokenizer: the id of its mask token, its special ids, how many ids it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxemb import files
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.hf_text import opened
from jaxemb.preprocess.text import FILE, LARGEST

NAMES = ("[MASK]", "<mask>", "<|mask|>")
"""Of mask tokens: BERT's, RoBERTa's and T5's kin."""


def mask_ids(path: str | Path) -> dict[str, Any]:
    """`mask`, `special` and `vocabulary` of a tokenizer.json, or of the folder that it is in: fields of `MaskedTokens`."""
    file = Path(path).expanduser()
    file = file / FILE if file.is_dir() else file
    try:
        tokenizer = opened(files.read_text(file, LARGEST))
    except files.FileError as e:
        raise DataError(str(e)) from e
    special = {token.content: i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    found = [i for name, i in special.items() if name in NAMES]
    if not found:
        raise DataError(
            f"{files.printable(file)} has no mask token: its special tokens are {', '.join(sorted(special)) or 'none'}, and one of "
            f"{', '.join(NAMES)} is looked for; give MaskedTokens(mask=...) an id that no text has, as that of a further row"
        )
    return {"mask": found[0], "special": tuple(sorted(special.values())), "vocabulary": tokenizer.get_vocab_size()}
