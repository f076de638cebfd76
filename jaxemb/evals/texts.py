"""What evaluations that bring texts of their own ask a model for: a vector a text."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.accuracy import finite
from jaxemb.evals.base import Encodes
from jaxemb.ops.closeness import all_pairs, row_by_row
from jaxemb.ops.maxsim import Matrices, maxsim, maxsim_row_by_row
from jaxemb.ops.similarity import unit

PIECE = 1024
"""Texts preprocessed at a time."""


@runtime_checkable
class EncodesTexts(Protocol):
    """Cuts texts and sorts them by length itself, and has prompts of its own, as an `Embedder` does."""

    def encode_texts(
        self, texts: Sequence[str], *, role: str | None, prompt: str | None, tokens: bool = False
    ) -> np.ndarray | Matrices:
        """A vector a text, or a matrix. Without a role the texts are alike, such as two sentences; without a prompt it has its
        own. `tokens`: a matrix in any case, of the vectors that a model pools."""
        ...


Model = Encodes | EncodesTexts


def embed(
    model: Model, data: Data | None, texts: Sequence[str], *, role: str | None = None, prompt: str | None = None
) -> Float[np.ndarray, "n d"]:
    """A vector a text, float32; texts that are equal are encoded once, so theirs are equal too.

    A model that reads rows gets those of `data.preprocess`, texts of about one length together.
    """
    z = embeddings(model, data, texts, role=role, prompt=prompt)
    if isinstance(z, Matrices):
        shape = z.each[0].shape if len(z) else ()
        raise ConfigError(f"this evaluation compares one vector a text; the model gives arrays of shape {shape} a text")
    return z


def embeddings(
    model: Model, data: Data | None, texts: Sequence[str], *, role: str | None = None, prompt: str | None = None
) -> Float[np.ndarray, "n d"] | Matrices:
    """`embed`, or of a model with a vector a token or a window a matrix a text."""
    encode = model.encode_texts if isinstance(model, EncodesTexts) else functools.partial(_by_length, model, data)
    return _once(texts, lambda distinct: encode(distinct, role=role, prompt=prompt))


def token_vectors(
    model: Model, data: Data | None, texts: Sequence[str], *, role: str | None = None, prompt: str | None = None
) -> Matrices:
    """What a model makes of each token, before any pooling."""
    encode: Any = model.encode_texts if isinstance(model, EncodesTexts) else functools.partial(_by_length, model, data)
    return _once(texts, lambda distinct: encode(distinct, role=role, prompt=prompt, tokens=True))


def _once(texts: Sequence[str], encode: Callable[[list[str]], Any]) -> Any:
    """Embeddings of texts, each encoded once."""
    distinct = list(dict.fromkeys(texts))
    found = encode(distinct)
    if isinstance(found, Matrices):
        z: Any = Matrices([finite(np.asarray(x), "embeddings") for x in found.each], found.over)
    else:
        z = finite(np.asarray(found), "embeddings")
        z = Matrices(list(z)) if z.ndim == 3 else z
        if not isinstance(z, Matrices) and z.ndim != 2:
            raise ConfigError(f"texts are compared by a vector or a matrix; the model gives arrays of shape {z.shape[1:]} a text")
    place = {text: i for i, text in enumerate(distinct)}
    return z if len(distinct) == len(texts) else z[[place[text] for text in texts]]


def _by_length(
    model: Any, data: Data | None, texts: Sequence[str], *, role: str | None, prompt: str | None, tokens: bool = False
) -> np.ndarray | Matrices:
    if data is None:
        raise ConfigError("a model that reads rows needs data, whose preprocessing makes rows of texts")
    by = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    cut = _preprocessing(data.preprocess, role, prompt)
    pieces = []
    for start in range(0, len(by), PIECE):
        piece = [texts[i] or " " for i in by[start : start + PIECE]]  # a document may be empty; a model reads at least a token
        z = model.encode(cut(piece), role=role or "document", **({"of": "features"} if tokens else {}))
        pieces.append([x[real] for x, real in zip(z.tokens, z.mask, strict=True)] if tokens else z)
    if pieces and (tokens or pieces[0].ndim == 3):  # a vector a token, of which rows of another length have another number
        rows = dict(zip(by, (x for piece in pieces for x in piece), strict=True))
        return Matrices([rows[i] for i in range(len(texts))])
    z = np.concatenate(pieces)
    restored = np.empty_like(z)
    restored[by] = z
    return restored


def _preprocessing(preprocess: Any, role: str | None, prompt: str | None) -> Callable[[Sequence[str]], dict[str, np.ndarray]]:
    """From texts to rows, with a prompt. A preprocessing that has prompts of its own is told which, or that texts have no role."""
    if "prompt" in inspect.signature(preprocess).parameters:
        return lambda texts: preprocess(texts, role or "document", prompt="" if role is None and prompt is None else prompt)
    return lambda texts: preprocess(preprocess.prompted(texts, prompt) if prompt else texts, role or "document")


def similarity_of(model: Any, asked: str | None) -> str:
    """What is asked for; None: the model's own `similarity_fn_name`, the cosine where it has none."""
    return asked or getattr(model, "similarity_fn_name", None) or "cosine"


def pairwise(a: Any, b: Any, similarity: str) -> Float[np.ndarray, " n"]:
    """The similarity of the first text of each, of the second, and so on; products of vectors are summed in float64."""
    if isinstance(a, Matrices):
        return maxsim_row_by_row(a.each, b.each, similarity, a.over).astype(np.float64)
    if similarity not in ("cosine", "dot"):
        return row_by_row(a, b, similarity).astype(np.float64)
    return np.multiply(*(compared(z, similarity).astype(np.float64) for z in (a, b))).sum(1)


def all_scores(a: Any, b: Any, similarity: str) -> Float[np.ndarray, "n m"]:
    """The similarity of each text of a with each of b: of their vectors, or MaxSim of their matrices."""
    if isinstance(a, Matrices):
        return maxsim(a.each, b.each, similarity, a.over)
    return all_pairs(a, b, similarity)


def compared(z: Any, similarity: str) -> Any:
    """Vectors (or matrices of them) whose products are the similarities, where these are cosines or products."""
    if similarity != "cosine":
        return z
    return Matrices([unit(x) for x in z.each], z.over) if isinstance(z, Matrices) else unit(z)
