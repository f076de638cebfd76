import numpy as np
import pytest

from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.chunks import chunk_ids, sentences

TEXT = 'One is 1.5 wide. "Two!" he said?\n\nA line without an end\n\nLast one'


def test_sentences_by_hand():
    found = [TEXT[a:b] for a, b in sentences(TEXT)]
    assert found == ["One is 1.5 wide.", '"Two!"', "he said?", "A line without an end", "Last one"]
    assert sentences("") == sentences(" \n ") == []


def test_a_token_belongs_where_its_last_character_stands():
    offsets = [(0, 0), (0, 3), (3, 6), (6, 9), (9, 12), (0, 0)]  # "[CLS]", three letters each, "[SEP]"
    np.testing.assert_array_equal(chunk_ids(offsets, [(0, 5), (5, 9)]), [-1, 0, 1, 1, -1, -1])
    np.testing.assert_array_equal(chunk_ids(offsets, [(6, 9), (0, 6)], length=8), [-1, 1, 1, 0, -1, -1, -1, -1])
    np.testing.assert_array_equal(chunk_ids(offsets, []), np.full(6, -1))
    assert chunk_ids([], [(0, 3)]).shape == (0,)


@pytest.mark.parametrize("spans", [[(0, 4), (3, 9)], [(4, 4)], [(5, 2)]])
def test_spans_that_are_none_are_refused(spans):
    with pytest.raises(DataError, match="do not overlap"):
        chunk_ids([(0, 3)], spans)


def test_too_many_tokens_are_refused():
    with pytest.raises(DataError, match="2 tokens do not fit into length=1"):
        chunk_ids([(0, 1), (1, 2)], [(0, 2)], length=1)
