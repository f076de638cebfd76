"""Measurements of an encoder, functions of encode."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.evals.accuracy import Accuracy as Accuracy
    from jaxemb.evals.base import Eval as Eval
    from jaxemb.evals.capacity import FreeEmbeddings as FreeEmbeddings
    from jaxemb.evals.clustering import Clustering as Clustering
    from jaxemb.evals.collapse import Collapse as Collapse
    from jaxemb.evals.dense import DensePatches as DensePatches
    from jaxemb.evals.extrapolate import Extrapolate as Extrapolate
    from jaxemb.evals.held_out_pairs import HeldOutPairs as HeldOutPairs
    from jaxemb.evals.knn import KNN as KNN
    from jaxemb.evals.labels import Labelled as Labelled
    from jaxemb.evals.lidar import LiDAR as LiDAR
    from jaxemb.evals.linear import LinearSGD as LinearSGD
    from jaxemb.evals.long_embed import Haystack as Haystack
    from jaxemb.evals.long_embed import LongEmbed as LongEmbed
    from jaxemb.evals.pair_classification import PairClassification as PairClassification
    from jaxemb.evals.perplexity import Perplexity as Perplexity
    from jaxemb.evals.probe import FewShot as FewShot
    from jaxemb.evals.probe import Logistic as Logistic
    from jaxemb.evals.probe import Ridge as Ridge
    from jaxemb.evals.probe import RidgeSolver as RidgeSolver
    from jaxemb.evals.pseudo_perplexity import PseudoPerplexity as PseudoPerplexity
    from jaxemb.evals.rankme import RankMe as RankMe
    from jaxemb.evals.raw import RawInputs as RawInputs
    from jaxemb.evals.retrieval import Retrieval as Retrieval
    from jaxemb.evals.sts import STS as STS
    from jaxemb.evals.text_classification import TextClassification as TextClassification
    from jaxemb.evals.throughput import Throughput as Throughput
else:
    __getattr__, __dir__ = attach(__name__)
