"""Late chunking: vectors of the parts of a text, each from tokens that have seen the whole, in one pass over the text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.io.feeding import Piece, Tally, pieces
from jaxemb.io.finishing import Finish, collect
from jaxemb.pooling.chunk_means import ChunkMeans
from jaxemb.pooling.mean import Mean
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.chunks import Span, chunk_ids, sentences
from jaxemb.preprocess.hf_text import PretrainedText, opened, special_tokens, strings
from jaxemb.train.sharding import row_shards

if TYPE_CHECKING:
    from jaxemb.io.embedder import Embedder

log = logging.getLogger("jaxemb")


def encode_chunks(
    model: Embedder,
    texts: Any,
    chunks: Sequence[Sequence[Span]] | None = None,
    *,
    prompt_name: str | None = None,
    prompt: str | None = None,
    batch_size: int = 32,
    normalize_embeddings: bool = False,
    truncate_dim: int | None = None,
) -> list[np.ndarray]:
    """Of each text an array with a row a chunk: the mean of its tokens, through the layers that come after the model's pooling.

    `chunks`: of each text the spans of characters (start, end), apart from each other; None: its sentences. A chunk that lies where
    a text is cut off gets zeros, which the log tells. The prompt, whose tokens belong to no chunk, is seen by all of them."""
    pre = model.preprocess
    if not isinstance(pre, PretrainedText) or not isinstance(getattr(model.model, "pooling", None), Mean) or pre.lower:
        raise ConfigError("chunks are means of the tokens of texts: the model must pool by Mean and have a tokenizer.json")
    if model.windows is not None:
        raise ConfigError("late chunks are of a whole text, seen in one pass, which ParallelWindows never shows the model")
    if not isinstance(texts, list | tuple | np.ndarray) or (isinstance(texts, np.ndarray) and texts.ndim != 1):
        raise DataError(f"encode_chunks takes a list of texts, not a {type(texts).__name__}; write [text] for a single one")
    texts, before = strings(texts, range(len(texts))), model._prompt(prompt_name, prompt)
    spans = [sentences(text) for text in texts] if chunks is None else [list(of) for of in chunks]
    if len(spans) != len(texts):
        raise DataError(f"there are {len(texts)} texts, and chunks of {len(spans)}")
    room = pre.length - sum(map(len, special_tokens(pre.learned or "")[:2]))
    ids = [chunk_ids(*own)[:room] for own in zip(_offsets(pre, texts, before), spans, strict=True)]
    most = max(map(len, spans), default=0)
    rows = 1 << max(most - 1, 0).bit_length()  # few shapes are compiled
    late = type(model)(model.model.clone(pooling=ChunkMeans(rows)), model.variables, pre, mesh=model.mesh)
    tally = Tally()
    made = pieces(pre, texts, "document", before, batch_size, row_shards(model.mesh), tally)
    finish = Finish("float32", None, normalize_embeddings, model.truncate_dim if truncate_dim is None else truncate_dim)
    made = _with_chunks(made, ids, len(special_tokens(pre.learned or "")[0]))
    found = collect(late._run(made, len(texts), "document", "encode", finish, False), len(texts))
    if lost := sum(len(own) - len(np.unique(i[i >= 0])) for own, i in zip(spans, ids, strict=True)):
        log.warning("%d chunks have no token among the first %d of their text: their vectors are zeros", lost, pre.length)
    return [z[: len(own)] for z, own in zip(found or [], spans, strict=True)]


def _offsets(pre: PretrainedText, texts: Sequence[str], prompt: str) -> list[list[Span]]:
    """The characters of each token of a text; before its beginning where they are the prompt's."""
    found = opened(pre.learned or "").encode_batch([prompt + text for text in texts], add_special_tokens=False)
    return [[(max(a - len(prompt), 0), max(b - len(prompt), 0)) for a, b in e.offsets] for e in found]


def _with_chunks(made: Iterator[Piece], ids: Sequence[np.ndarray], first: int) -> Iterator[Piece]:
    """The same batches with `chunks`: where each token belongs, -1 for what belongs nowhere."""
    for piece in made:
        chunks = np.full(piece.arrays["tokens"].shape, -1, np.int32)
        for into, row in zip(chunks, piece.rows, strict=False):
            into[first : first + len(ids[row])] = ids[row]
        yield piece._replace(arrays={**piece.arrays, "chunks": chunks})
