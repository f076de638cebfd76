import numpy as np
import pytest
from fakes import Fake

from jaxemb.config import ConfigError
from jaxemb.evals.rankme import RankMe
from jaxemb.metrics.rankme import rankme


def test_is_the_metric_of_the_training_embeddings(model, clusters):
    figures = RankMe().run(model, clusters)
    assert figures["rankme"] == rankme(clusters.train["images"])
    assert figures["width"] == 5
    assert figures["std"] == pytest.approx(float(clusters.train["images"].std(0).mean()))


def test_sample_count_bounds_the_width(model, clusters):
    assert RankMe(samples=3).run(model, clusters)["width"] == 3


def test_collapse_reads_as_one(model, clusters, known):
    flat = known({**clusters.train, "images": np.ones((90, 5), np.float32)}, clusters.test)
    assert RankMe().run(model, flat)["rankme"] == pytest.approx(1, abs=1e-4)


def test_it_may_be_of_what_another_method_gives(clusters):
    """The projector's output, for methods that have one; embeddings alone have none to ask for."""

    both = Fake(lambda a: a["images"], project=lambda a: np.ones((len(a["images"]), 7), np.float32))
    found = RankMe(of="project").run(both, clusters)
    assert found["rankme"] == pytest.approx(1, abs=1e-3) and found["width"] == 7
    with pytest.raises(ConfigError, match="no 'project'"):
        RankMe(of="project").run(Fake(lambda arrays: arrays["images"]), clusters)
