import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.pooling.chunk_means import ChunkMeans
from jaxemb.pooling.mean import Mean
from jaxemb.types import Features

F = Features(
    jnp.array([[[9.0], [1.0], [3.0], [5.0], [jnp.nan]]]),
    jnp.array([[True, True, True, True, False]]),
    chunks=jnp.array([[-1, 0, 0, 2, 2]]),
)


def test_means_of_chunks_by_hand():
    """[CLS] is of no chunk, chunk 1 is empty, padding does not count, and what is beyond the last chunk is left out."""
    np.testing.assert_array_equal(ChunkMeans(4).apply({}, F)[0, :, 0], [2.0, 0.0, 5.0, 0.0])
    np.testing.assert_array_equal(ChunkMeans(2).apply({}, F)[0, :, 0], [2.0, 0.0])


def test_one_chunk_of_all_is_the_mean():
    f = Features(jnp.arange(12.0).reshape(2, 3, 2), jnp.ones((2, 3), bool), chunks=jnp.zeros((2, 3), jnp.int32))
    np.testing.assert_allclose(ChunkMeans(1).apply({}, f)[:, 0], Mean().apply({}, f), rtol=1e-6)


def test_needs_chunks():
    with pytest.raises(ConfigError, match="ChunkMeans needs `chunks` in the batch"):
        ChunkMeans().apply({}, F._replace(chunks=None))
    with pytest.raises(ConfigError, match=r"ChunkMeans\.chunks=0"):
        ChunkMeans(0)
