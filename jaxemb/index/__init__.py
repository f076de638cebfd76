"""How vectors are kept, and found: exactly, in fewer bytes, or in parts of the corpus alone."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.index.base import Index as Index
    from jaxemb.index.bebr import BEBR as BEBR
    from jaxemb.index.binary import Binary as Binary
    from jaxemb.index.built import Built as Built
    from jaxemb.index.exact import Exact as Exact
    from jaxemb.index.faiss_index import FaissIndex as FaissIndex
    from jaxemb.index.filtered import Filtered as Filtered
    from jaxemb.index.filters import AllOf as AllOf
    from jaxemb.index.filters import AnyOf as AnyOf
    from jaxemb.index.filters import Contains as Contains
    from jaxemb.index.filters import Equals as Equals
    from jaxemb.index.filters import Filter as Filter
    from jaxemb.index.filters import Not as Not
    from jaxemb.index.filters import OneOf as OneOf
    from jaxemb.index.filters import Range as Range
    from jaxemb.index.hnswlib_index import HNSWLib as HNSWLib
    from jaxemb.index.ivf import IVF as IVF
    from jaxemb.index.late_interaction import LateInteraction as LateInteraction
    from jaxemb.index.muvera import MUVERA as MUVERA
    from jaxemb.index.opq import OPQ as OPQ
    from jaxemb.index.pq import PQ as PQ
    from jaxemb.index.rabitq import RaBitQ as RaBitQ
    from jaxemb.index.rerank import Rerank as Rerank
    from jaxemb.index.scalar import Scalar as Scalar
    from jaxemb.index.tags import Column as Column
    from jaxemb.index.usearch_index import USearch as USearch
else:
    __getattr__, __dir__ = attach(__name__)
