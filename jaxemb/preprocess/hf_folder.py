"""How a pretrained folder prepares texts: tokenizer.json, tokenizer_config.json and what else says how long they may be."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxemb import files
from jaxemb.config import ConfigError
from jaxemb.preprocess.base import LARGEST, DataError
from jaxemb.preprocess.hf_text import PretrainedText, opened
from jaxemb.preprocess.text import FILE

SETTINGS, VOCABULARY, MODULES = "tokenizer_config.json", "vocab.txt", "modules.json"
WORDPIECE = (
    "BertTokenizer",
    "BertTokenizerFast",
    "DistilBertTokenizer",
    "DistilBertTokenizerFast",
    "ElectraTokenizer",
    "ElectraTokenizerFast",
)
"""Tokenizers that their vocab.txt says all about."""
ENDLESS = 10**9
"""What writes that it takes more tokens than this knows no end."""

log = logging.getLogger("jaxemb")


def read_text_preprocess(
    folder: Path,
    *,
    window: int | None,
    stated: int | None = None,
    max_length: int | None = None,
    beyond: bool = False,
    vocabulary: int | None = None,
    pad: int | None = None,
    **options: Any,
) -> PretrainedText:
    """`window`: tokens that the model has positions for; `stated`: what sentence-transformers' file says of the length, which goes
    before the tokenizer's word; `max_length`: what the user says, which goes before both; `beyond`: whether it may be more than the
    window. `vocabulary`: rows of the model's table; `pad`: the config's id of padding."""
    settings = read_settings(folder)
    content = read_tokenizer(folder, settings)
    tokenizer = opened(content)
    if vocabulary is not None and (ids := tokenizer.get_vocab_size(with_added_tokens=False)) > vocabulary:
        raise DataError(
            f"{files.printable(folder / FILE)} has {ids} tokens, and the model's table has {vocabulary} rows: it belongs to other "
            "weights"
        )
    if (side := settings.get("truncation_side", "right")) != "right":
        raise ConfigError(f"{files.printable(folder / SETTINGS)}: truncation_side={side!r} is not supported; only 'right'")
    found = _pad(folder, settings, tokenizer, pad)
    return PretrainedText(
        length=_length(folder, settings, window, stated, max_length, beyond),
        side=settings.get("padding_side", "right"),
        pad=found if vocabulary is None or found < vocabulary else 0,
        vocabulary=vocabulary,
        learned=content,
        **options,
    )


def tokenizer_folder(folder: Path) -> Path:
    """Where the tokenizer of a model is: older folders of sentence-transformers have it in that of their first module."""
    if files.is_regular(folder / FILE) or not files.is_regular(folder / MODULES):
        return folder
    shown = files.printable(folder / MODULES)
    try:
        inner = Path(files.read_json(folder / MODULES)[0]["path"])
    except (files.FileError, LookupError, TypeError) as e:
        raise DataError(f"{shown} does not say where the first module is: {e}") from e
    if inner.is_absolute() or ".." in inner.parts:
        raise DataError(f"{shown}: the path {files.printable(inner)} leads out of the folder")
    return folder / inner


def read_settings(folder: Path) -> Mapping[str, Any]:
    """tokenizer_config.json, where there is one."""
    if not files.is_regular(folder / SETTINGS):
        return {}
    try:
        text = files.read_text(folder / SETTINGS)
        found = json.loads(text, parse_int=lambda digits: min(int(digits[:20]), ENDLESS))  # no end is written as 10^30
    except (files.FileError, ValueError, RecursionError) as e:
        raise DataError(f"{files.printable(folder / SETTINGS)} is damaged: {e}") from e
    if not isinstance(found, dict):
        raise DataError(f"{files.printable(folder / SETTINGS)} is damaged: it holds a {type(found).__name__}")
    return found


def read_tokenizer(folder: Path, settings: Mapping[str, Any]) -> str:
    """The content of tokenizer.json; of a word-piece vocabulary alone it is made here."""
    if files.is_regular(folder / FILE):
        try:
            return files.read_bytes(folder / FILE, LARGEST).decode()
        except (files.FileError, UnicodeDecodeError) as e:
            raise DataError(f"{files.printable(folder / FILE)} cannot be read: {e}") from e
    if files.is_regular(folder / VOCABULARY) and settings.get("tokenizer_class", WORDPIECE[0]) in WORDPIECE:
        return _wordpiece(folder / VOCABULARY, settings)
    others = [
        n
        for n in ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.json", VOCABULARY)
        if files.is_regular(folder / n)
    ]
    beside = f" (it holds {', '.join(others)})" if others else ""
    raise DataError(
        f"{files.printable(folder)} has no {FILE}{beside}; where transformers is installed, "
        "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) makes one"
    )


def _wordpiece(file: Path, settings: Mapping[str, Any]) -> str:
    from tokenizers import BertWordPieceTokenizer

    try:
        tokens = files.read_text(file, LARGEST).splitlines()
    except files.FileError as e:
        raise DataError(str(e)) from e
    if lost := [t for t in ("[UNK]", "[CLS]", "[SEP]") if t not in tokens]:
        raise DataError(f"{files.printable(file)} has no {lost[0]}: it is no vocabulary of word pieces")
    return BertWordPieceTokenizer(
        {token: i for i, token in enumerate(tokens)},
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    ).to_str()


def _length(
    folder: Path, settings: Mapping[str, Any], window: int | None, stated: int | None, asked: int | None, beyond: bool
) -> int:
    limit = None if beyond else window
    if asked is not None:
        if asked < 1 or (limit is not None and asked > limit):
            raise ConfigError(
                f"max_length={asked}: this model takes 1 to {limit or 'any number of'} tokens; `extend` reads longer texts"
            )
        return asked
    own = settings.get("model_max_length")
    own = int(own) if isinstance(own, int | float) and 0 < own < ENDLESS else None
    known = own if stated is None else stated
    if known is None and window is None:
        raise ConfigError(f"{files.printable(folder)} says nowhere how many tokens a text may have; give max_length")
    if stated is not None and window is not None and stated > window:
        log.warning("%s states max_seq_length=%d, but the model has %d positions: that many are taken", folder, stated, window)
    return min(n for n in (known, window) if n is not None)


def _pad(folder: Path, settings: Mapping[str, Any], tokenizer: Any, pad: int | None) -> int:
    """The id of padding: of the tokenizer's own token, else the model's, else 0 (padding is never looked at)."""
    token = settings.get("pad_token")
    if token is None and files.is_regular(folder / "special_tokens_map.json"):
        try:
            token = json.loads(files.read_text(folder / "special_tokens_map.json")).get("pad_token")
        except (ValueError, AttributeError):
            token = None
    token = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    return found if found is not None else pad if isinstance(pad, int) and pad >= 0 else 0
