"""What may stand within another index, and over which devices it may lie, is said before rows are read."""

import jax
import numpy as np
import pytest
from libraries import standing_in

from jaxemb.config import ConfigError
from jaxemb.discover import members
from jaxemb.index.base import Index
from jaxemb.index.exact import Exact
from jaxemb.index.files import load_index
from jaxemb.index.filtered import Filtered
from jaxemb.index.hnswlib_index import HNSWLib
from jaxemb.index.ivf import IVF
from jaxemb.index.late_interaction import LateInteraction
from jaxemb.index.muvera import MUVERA
from jaxemb.index.parts import SCORED
from jaxemb.index.rerank import Rerank

X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)


def test_those_that_compare_all_rows_are_listed():
    scored = [m.cls for m in members("index") if m.cls.scores is not Index.scores and not m.cls.texts]
    assert sorted(SCORED.replace(" or", ",").split(", ")) == sorted(cls.__name__ for cls in scored)
    for cls in scored:
        IVF(index=cls()), Rerank(second=cls())


@pytest.mark.parametrize(
    "part", [IVF, Rerank, Filtered, HNSWLib, LateInteraction, MUVERA, lambda: Filtered(index=LateInteraction())]
)
@pytest.mark.parametrize(("where", "index"), [("IVF.index", lambda p: IVF(index=p)), ("Rerank.second", lambda p: Rerank(second=p))])
def test_what_cannot_compare_rows(where, index, part):
    part = part()
    with pytest.raises(ConfigError, match=f"{where} compares .*Exact, .*not {type(part).__name__}"):
        index(part)


def test_what_is_of_texts():
    for texts in (LateInteraction("dot"), MUVERA("dot"), Filtered("dot", LateInteraction("dot"))):
        for where, index in (
            ("Rerank.first", lambda p: Rerank("dot", p, Exact("dot"))),
            ("MUVERA.index", lambda p: MUVERA(index=p)),
        ):
            with pytest.raises(ConfigError, match=f"{where} finds vectors, .*{type(texts).__name__} texts"):
                index(texts)


def test_on_several_devices(tmp_path):
    mesh = jax.make_mesh((2,), ("rows",), devices=jax.devices()[:2])
    small = IVF(lists=1, rounds=0)
    refusing = [IVF(), LateInteraction(), MUVERA(), HNSWLib()]
    with standing_in():
        for inner in refusing:
            more = [] if inner.texts else [Rerank(first=inner)]
            for index in (inner, Filtered(index=inner), *more):
                with pytest.raises(ConfigError, match=f"{type(inner).__name__} keeps its .* without a mesh"):
                    index.build(iter([]), mesh=mesh)  # before rows are read
    small.build(X).save(tmp_path)
    with pytest.raises(ConfigError, match="IVF keeps its lists on one device"):
        load_index(tmp_path, mesh=mesh)
