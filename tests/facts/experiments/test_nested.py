import numpy as np
import pytest

from experiments.text.nested import WIDTHS, pairs, picture, quality
from jaxemb.data.base import DataError


def test_quality_is_the_rank_correlation_of_cosines_of_what_is_kept():
    """Two pairs of which the first 8 coordinates say that the second is more alike, and the rest the contrary."""
    z = np.zeros((6, 1, 384))
    z[:3, 0, 0], z[3:, 0, 0] = 1, (0.2, 0.5, 0.9)
    z[3:, 0, 1] = 1
    z[:3, 0, 20], z[3:, 0, 20] = 9, (9, 5, -9)
    found = quality(z, np.array([1.0, 2.0, 3.0]))
    assert found.shape == (1, len(WIDTHS)) and found[0, :2].tolist() == [1, 1] and found[0, 2:].tolist() == [-1] * 4


def test_a_picture_is_drawn_and_missing_data_are_named(tmp_path):
    picture({name: np.random.default_rng(0).random((3, len(WIDTHS))) for name in ("a", "b")}, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000
    with pytest.raises(DataError, match="give --data a folder with STS-B's train.csv and test.csv"):
        pairs(str(tmp_path), "train")
    (tmp_path / "train.csv").write_text("a b,c d,4.5\ne,f,1.0\n")
    assert pairs(str(tmp_path), "train")[2].tolist() == [4.5, 1.0]
