import pytest

from jaxemb.config import ConfigError
from jaxemb.evals.linear import LinearSGD


def test_clusters_are_solved_and_noise_is_chance(model, clusters, noise):
    probe = LinearSGD(batch=16, epochs=8, rates=(0.01, 0.1))
    figures = probe.run(model, clusters)
    assert figures["top1"] == 1.0 and figures["rate"] in probe.rates
    assert abs(probe.run(model, noise)["top1"] - 0.25) < 0.09


def test_a_rate_of_zero_learns_nothing(model, clusters):
    assert LinearSGD(batch=16, epochs=2, rates=(0.0,)).run(model, clusters)["top1"] == pytest.approx(1 / 3)


def test_empty_settings_are_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        LinearSGD(rates=())
