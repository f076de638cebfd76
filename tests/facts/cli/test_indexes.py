"""An index as it is written on the command line."""

import pytest

from jaxemb.cli.indexes import index_of
from jaxemb.config import ConfigError
from jaxemb.index import IVF, MUVERA, PQ, Binary, Exact, Filtered, LateInteraction, RaBitQ, Rerank, Scalar


@pytest.mark.parametrize(
    ("text", "index"),
    [
        (None, Exact("dot")),
        ("binary", Binary("dot")),
        ("  PQ(parts=4, bits=4) ", PQ("dot", parts=4, bits=4)),
        ('Binary(query="binary")', Binary("dot", query="binary")),
        ('Exact(similarity="cosine")', Exact()),
        ("jaxemb.index.scalar:Scalar(bits=4)", Scalar("dot", bits=4)),
        ("rerank", Rerank("dot", Binary("dot"), Scalar("dot"))),
        ("Rerank(first=RaBitQ(), second=scalar(bits=4))", Rerank("dot", RaBitQ("dot"), Scalar("dot", bits=4))),
        ("Filtered(index=IVF(lists=3, index=binary))", Filtered("dot", IVF("dot", lists=3, index=Binary("dot")))),
    ],
)
def test_names_of_the_family_in_any_case_compare_as_the_model_does(text, index):
    assert index_of(text, "dot", False) == index


def test_of_tokens():
    assert index_of(None, "dot", True) == LateInteraction("dot")
    assert index_of("muvera(planes=2, index=PQ(parts=4, similarity='dot'))", "cosine", True) == MUVERA(
        planes=2, index=PQ("dot", parts=4)
    )


@pytest.mark.parametrize(
    ("text", "texts", "message"),
    [
        ("binry", False, "--index binry: there is no index 'binry'; did you mean 'Binary'"),
        ("binary(", False, r"--index binary\(: a bracket is open"),
        ('PQ(parts=4, x="a)"', False, "a bracket is open"),
        ("binry(", False, "a bracket is open"),
        ("PQ(parts=4))", False, "a bracket is closed that is not open"),
        ("PQ(parts 4)", False, "what stands in the brackets cannot be read"),
        ("3", False, "there is no index '3'"),
        ("binary(4)", False, "name the fields"),
        ("jaxemb.pooling.mean:Mean", False, "a Mean is no index"),
        ("Exact", True, "a vector a token, for which there are LateInteraction, MUVERA"),
        ("LateInteraction", False, "a vector a row, for which there are BEBR, Binary"),
        ("Exact(dtype=half)", False, "Exact.dtype='half'"),
        ('Exact(dtype="a PQ, IVF")', False, "Exact.dtype='a PQ, IVF'"),
    ],
)
def test_refused(text, texts, message):
    with pytest.raises(ConfigError, match=message):
        index_of(text, "cosine", texts)
