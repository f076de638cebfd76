import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.evals.probe import FewShot, Logistic, Ridge, RidgeSolver, predict, standardise


@pytest.mark.parametrize("probe", [Ridge(), Logistic(), FewShot(shots=3, draws=4)], ids=lambda p: type(p).__name__)
def test_clusters_are_solved_noise_is_chance_and_constants_are_the_commonest_class(probe, model, clusters, noise, known):
    assert probe.run(model, clusters)["top1"] == 1.0
    assert abs(probe.run(model, noise)["top1"] - 0.25) < 0.09
    flat = known(*({**rows, "images": np.ones_like(rows["images"])} for rows in (clusters.train, clusters.test)))
    assert probe.run(model, flat)["top1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("rows", [40, 7], ids=["more rows than features", "more features than rows"])
def test_ridge_equals_scikit_learn(rows):
    from sklearn.linear_model import Ridge as SklearnRidge  # takes seconds, in every process

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 12)), rng.integers(3, size=rows)
    x, _ = standardise(x, x)
    weights, intercept = RidgeSolver(x).fit(y, 3, 0.3)
    reference = SklearnRidge(alpha=0.3 * rows).fit(x, np.eye(3)[y])
    np.testing.assert_allclose(weights.T, reference.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(intercept, reference.intercept_, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(predict((weights, intercept), x), reference.predict(x).argmax(1))


def test_standardise_uses_the_first_alone_and_drops_constants():
    a, b = standardise(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[5.0, 6.0]]))
    np.testing.assert_allclose(a, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(b, [[3, 0]])


def test_few_shot_reports_the_spread_of_its_draws(model, noise):
    figures = FewShot(shots=2, draws=8).run(model, noise)
    assert 0 < figures["spread"] < 0.1
    assert FewShot(shots=2, draws=8).run(model, noise) == figures


def test_too_few_examples_of_a_class_are_named(model, clusters):
    with pytest.raises(ConfigError, match="shots=31: a class of 'labels' has only 30"):
        FewShot(shots=31).run(model, clusters)
    with pytest.raises(ConfigError, match="at least 1"):
        FewShot(shots=0)


@pytest.mark.parametrize("probe", [Ridge(), Logistic(), FewShot(shots=3, draws=4)], ids=lambda p: type(p).__name__)
def test_rows_without_a_label_are_left_out(probe, model, clusters, known):
    """They lie in a cluster of their own with the label -1, which numpy would take for the last class."""

    def mixed(rows):
        lost = np.full((len(rows["labels"]), 5), -30.0, np.float32)
        return {"images": np.concatenate([rows["images"], lost]), "labels": np.r_[rows["labels"], np.full(len(lost), -1, np.int32)]}

    data = known(mixed(clusters.train), mixed(clusters.test))
    assert probe.run(model, data) == probe.run(model, clusters)
