"""From tokens to one vector."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.pooling.attention import AttentionPool as AttentionPool
    from jaxemb.pooling.base import Pooling as Pooling
    from jaxemb.pooling.chunk_means import ChunkMeans as ChunkMeans
    from jaxemb.pooling.concat import Concat as Concat
    from jaxemb.pooling.end_token import EndToken as EndToken
    from jaxemb.pooling.first import First as First
    from jaxemb.pooling.gem import GeM as GeM
    from jaxemb.pooling.late_interaction import LateInteraction as LateInteraction
    from jaxemb.pooling.latent_attention import LatentAttention as LatentAttention
    from jaxemb.pooling.latent_attention import LatentAttentionPaper as LatentAttentionPaper
    from jaxemb.pooling.max import Max as Max
    from jaxemb.pooling.mean import Mean as Mean
    from jaxemb.pooling.mean_sqrt import MeanSqrt as MeanSqrt
    from jaxemb.pooling.pooler import Pooler as Pooler
    from jaxemb.pooling.projected import Projected as Projected
    from jaxemb.pooling.token import Token as Token
    from jaxemb.pooling.trainable import MultiLayer as MultiLayer
    from jaxemb.pooling.trainable import Resampler as Resampler
    from jaxemb.pooling.trainable import TrainablePooling as TrainablePooling
    from jaxemb.pooling.weighted_mean import WeightedMean as WeightedMean
else:
    __getattr__, __dir__ = attach(__name__)
