"""What is there twice."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data import duplicates
from jaxemb.data.duplicates import far_apart, first_of_each, plain


def test_equal_texts_are_those_that_differ_in_case_spaces_and_forms_alone():
    assert plain("  Sort\ta LIST\n") == plain("sort a list") == plain("\uff33ort a list")
    assert plain("sort a list") != plain("sort a list!")
    assert first_of_each(map(plain, ["a b", "c", "A  b", "C", "d"])) == [0, 1, 4]


def test_near_rows_by_brute_force_over_several_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    z = np.concatenate([x := rng.normal(size=(10, 3)), 2 * x[::-1], rng.normal(size=(9, 3))]).astype(np.float32)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    for threshold in (1.0, 0.9, 0.5):
        kept: list[int] = []
        for i in range(len(z)):
            if all(unit[i] @ unit[j] < threshold - 1e-6 for j in kept):
                kept.append(i)
        for block in (4, 1024):
            monkeypatch.setattr(duplicates, "BLOCK", block)
            assert far_apart(z, threshold).tolist() == kept
    assert far_apart(z, 1.0).tolist() == [*range(10), *range(20, 29)]


def test_a_threshold_is_a_cosine():
    with pytest.raises(ConfigError, match=r"a cosine in \(-1, 1\], not 95"):
        far_apart(np.zeros((2, 2), np.float32), 95.0)
