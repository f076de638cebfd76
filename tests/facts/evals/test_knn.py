import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.evals.knn import KNN, nearest, vote, whiten


def test_clusters_are_solved_and_noise_is_chance(model, clusters, noise):
    assert KNN(k=5).run(model, clusters) == {"top1": 1.0}
    assert abs(KNN(k=5).run(model, noise)["top1"] - 0.25) < 0.09  # four standard errors


def test_five_points_by_hand(known, model):
    """The query (1, 0) has cosines 1, .8 and .6 with the bank: the two of class 1 outvote the nearest when T is large."""
    bank = np.array([[2.0, 0.0], [0.8, 0.6], [0.6, 0.8], [-1.0, 0.0], [0.0, -1.0]], np.float32)
    labels = np.array([0, 1, 1, 2, 2], np.int32)
    query = {"images": np.array([[3.0, 0.0]], np.float32), "labels": np.array([1], np.int32)}
    data = known({"images": bank, "labels": labels}, query)
    ids, weights = nearest(query["images"], bank, 3, 0.5)
    expected = dict(zip([0, 1, 2], np.exp((np.array([1.0, 0.8, 0.6]) - 1) / 0.5), strict=True))
    assert {int(i): pytest.approx(float(w), rel=1e-6) for i, w in zip(ids[0], weights[0], strict=True)} == expected
    assert KNN(k=3, temperature=0.5).run(model, data)["top1"] == 1.0  # e^-.4 + e^-.8 = 1.12 > 1
    assert KNN(k=3, temperature=0.1).run(model, data)["top1"] == 0.0  # e^-2 + e^-4 = .15 < 1


def test_length_of_rows_does_not_matter(model, clusters, known):
    longer = {**clusters.train, "images": clusters.train["images"] * np.linspace(0.1, 10, 90, dtype=np.float32)[:, None]}
    assert KNN().run(model, known(longer, clusters.test)) == KNN().run(model, clusters)


def test_whitening_lets_a_small_feature_decide(known, model):
    """Five directions of deviation 20 say nothing, one of deviation 1 is the class: cosines follow the five, whitened ones all."""
    rng = np.random.default_rng(0)

    def rows(count):
        labels = np.arange(count, dtype=np.int32) % 2
        large, small = 20 * rng.standard_normal((count, 5)), (2 * labels - 1) + 0.1 * rng.standard_normal(count)
        rows = np.concatenate([large, large[:, :1] + small[:, None]], 1)  # no axis is the class
        return {"images": rows.astype(np.float32), "labels": labels}

    data = known(rows(200), rows(100))
    assert KNN(k=5).run(model, data)["top1"] < 0.7
    assert KNN(k=5, whiten=True).run(model, data)["top1"] > 0.9


def test_whitened_rows_have_variance_one_and_no_correlation():
    rng = np.random.default_rng(0)
    bank = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 3)) + 7
    queries, white = whiten(bank[:4] + 1, bank)
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.05)  # shrunk by the share of noise
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(queries - white[:4], np.tile(queries[:1] - white[:1], (4, 1)), atol=1e-9)  # one affine map for both


def test_whitening_of_rows_that_are_all_alike():
    queries, white = whiten(np.ones((2, 3), np.float32), np.ones((5, 3), np.float32))
    assert (queries == 0).all() and (white == 0).all()


def test_low_temperature_does_not_overflow():
    _, weights = nearest(np.ones((1, 2), np.float32), np.ones((4, 2), np.float32), 4, 1e-4)
    assert np.isfinite(weights).all() and (vote(np.array([[2, 2, 1, 0]]), weights) == 2).all()


def test_several_labels_have_figures_of_their_own(model, clusters, known):
    def both(rows):
        return {**rows, "parity": (rows["labels"] % 2).astype(np.int32)}

    figures = KNN(label=("labels", "parity")).run(model, known(both(clusters.train), both(clusters.test)))
    assert figures == {"top1": 1.0, "labels/top1": 1.0, "parity/top1": 1.0}


def test_rows_without_a_label_neither_vote_nor_count(model, clusters, known):
    """Half of the bank and of the queries say -1, which is no class: neither the last one nor one of its own."""
    hide = lambda rows: {**rows, "labels": np.where(np.arange(len(rows["labels"])) % 2, -1, rows["labels"]).astype(np.int32)}  # noqa: E731
    few = known(hide(clusters.train), hide(clusters.test))
    assert KNN(k=90).run(model, few) == {"top1": 1.0}
    both = known(*({**hide(rows), "whole": rows["labels"]} for rows in (clusters.train, clusters.test)))
    assert KNN(label=("labels", "whole")).run(model, both)["whole/top1"] == 1.0


def test_it_learns_from_train_and_predicts_the_split_that_is_asked_for(model, clusters, known):
    wrong = {**clusters.test, "labels": (clusters.test["labels"] + 1) % 3}
    data = known(clusters.train, wrong, clusters.test)
    assert KNN(split="valid").run(model, data) == {"top1": 1.0} and KNN().run(model, data) == {"top1": 0.0}
    with pytest.raises(ConfigError, match="KNN learns from train and predicts another split; split is 'train'"):
        KNN(split="train").run(model, data)
    with pytest.raises(ConfigError, match="split='tset'; did you mean 'test'"):
        KNN(split="tset")


def test_bad_settings_and_missing_labels_are_named(model, clusters, known):
    with pytest.raises(ConfigError, match="k must be at least 1"):
        KNN(k=0)
    with pytest.raises(ConfigError, match="label='shape' is not in the data.*labels"):
        KNN(label="shape").run(model, clusters)
    without = known({**clusters.train, "labels": np.full(90, -1, np.int32)}, clusters.test)
    with pytest.raises(ConfigError, match="no classes"):
        KNN().run(model, without)
