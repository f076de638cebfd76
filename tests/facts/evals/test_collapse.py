import numpy as np
import pytest
from fakes import Fake

from jaxemb.evals.collapse import Collapse


def test_all_alike_and_all_apart(clusters):
    rng = np.random.default_rng(0)
    alike = Collapse().run(Fake(lambda arrays: np.ones((len(arrays["images"]), 6), np.float32)), clusters)
    assert alike["spread"] == 0 and alike["cosine"] == pytest.approx(1) and alike["rankme"] == pytest.approx(1, abs=1e-3)
    apart = Collapse().run(Fake(lambda arrays: rng.standard_normal((len(arrays["images"]), 6), np.float32)), clusters)
    assert apart["spread"] > 0.95 and abs(apart["cosine"]) < 0.1 and apart["rankme_share"] > 0.9
    assert "alpha_req" in apart
    few = Collapse().run(Fake(lambda arrays: rng.standard_normal((len(arrays["images"]), 3), np.float32)), clusters)
    assert "alpha_req" not in few  # a fit needs more of a spectrum
