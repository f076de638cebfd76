"""From what a user has (files, arrays, strings) to the arrays that a model reads. No JAX here: data workers import this."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.preprocess.base import ArraySpec as ArraySpec
    from jaxemb.preprocess.base import Preprocess as Preprocess
    from jaxemb.preprocess.bm25 import BM25 as BM25
    from jaxemb.preprocess.hf_images import PretrainedImages as PretrainedImages
    from jaxemb.preprocess.hf_text import PretrainedText as PretrainedText
    from jaxemb.preprocess.images import ImagePreprocess as ImagePreprocess
    from jaxemb.preprocess.text import BPE as BPE
    from jaxemb.preprocess.text import Bytes as Bytes
    from jaxemb.preprocess.text import TextPreprocess as TextPreprocess
    from jaxemb.preprocess.text import Tokenizer as Tokenizer
    from jaxemb.preprocess.texts_and_images import TextsAndImages as TextsAndImages
    from jaxemb.preprocess.tokens import TokenIds as TokenIds
    from jaxemb.preprocess.vectors import Vectors as Vectors
    from jaxemb.preprocess.windows import ParallelWindows as ParallelWindows
else:
    __getattr__, __dir__ = attach(__name__)
