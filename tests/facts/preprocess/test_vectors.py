import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.vectors import Vectors

X = np.random.default_rng(0).normal(size=(4, 3))


def test_rows_come_as_they_are(tmp_path):
    np.save(tmp_path / "x.npy", X)
    items, names = Vectors(width=3).read(tmp_path / "x.npy")
    np.testing.assert_array_equal(Vectors(width=3)(items)["vectors"], X.astype(np.float32))
    assert names == [] and Vectors(width=3)([])["vectors"].shape == (0, 3)


def test_what_is_no_vector(tmp_path):
    with pytest.raises(DataError, match=r"width=5 numbers \(n, 5\), not float64 of shape \(4, 3\)"):
        Vectors(width=5)(X)
    with pytest.raises(DataError, match="not int64"):
        Vectors(width=3)(np.ones((2, 3), np.int64))
    with pytest.raises(DataError, match="1 rows .* not finite, the first is row 2"):
        Vectors(width=3)(np.where(np.arange(4)[:, None] == 2, np.nan, X))
    np.savez(tmp_path / "x.npz", x=X)
    with pytest.raises(DataError, match="several arrays"):
        Vectors(width=3).read(tmp_path / "x.npz")
    with pytest.raises(ConfigError, match="width"):
        Vectors(width=0)
