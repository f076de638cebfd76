"""Merging in closed form: end points, what all agree on, what is refused and how it is said."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.transforms.merge import Average, Dare, Fisher, Slerp, TaskArithmetic, Ties, largest, nearest, slerp


def tree(seed, shape=(3, 4)):
    rng = np.random.default_rng(seed)
    return {"dense": {"kernel": rng.normal(size=shape).astype(np.float32), "ids": np.arange(3)}, "scale": np.float32(seed)[None]}


BASE, A, B = tree(0), tree(1), tree(2)
KERNEL = ("dense", "kernel")


def kernel(x):
    return np.asarray(x["dense"]["kernel"])


def test_the_average_of_a_step_and_its_reverse_is_the_start():
    tau = tree(5)
    there, back = ({"w": kernel(BASE) + s * kernel(tau)} for s in (1, -1))
    np.testing.assert_allclose(Average()([there, back])["w"], kernel(BASE), atol=1e-6)


def test_what_is_not_floating_stays_and_dtypes_are_those_of_the_first_model():
    half = {"w": jnp.ones(3, jnp.bfloat16), "n": jnp.arange(3)}
    merged = Average()([half, {"w": jnp.full(3, 2.0), "n": jnp.arange(3)}])
    assert merged["w"].dtype == jnp.bfloat16 and merged["n"].dtype == jnp.int32
    np.testing.assert_array_equal(merged["w"].astype(jnp.float32), 1.5)


def test_task_arithmetic_adds_and_takes_away():
    np.testing.assert_allclose(kernel(TaskArithmetic((1.0, 0.0))([A, B], BASE)), kernel(A), atol=1e-6)
    np.testing.assert_allclose(kernel(TaskArithmetic(-1.0)([A], BASE)), 2 * kernel(BASE) - kernel(A), atol=1e-6)
    np.testing.assert_allclose(kernel(TaskArithmetic(0.0)([A, B], BASE)), kernel(BASE), atol=1e-6)


def test_slerp_keeps_end_points_and_unit_length():
    u, v = (x / np.linalg.norm(x) for x in (kernel(A).astype(float), kernel(B).astype(float)))
    for t in (0.0, 0.3, 1.0):
        assert np.linalg.norm(slerp(u, v, t)) == pytest.approx(1)
    np.testing.assert_allclose(kernel(Slerp(0.0)([A, B])), kernel(A), atol=1e-6)
    np.testing.assert_allclose(kernel(Slerp(1.0)([A, B])), kernel(B), atol=1e-6)


def test_slerp_of_parallel_opposed_and_zero_arrays_is_a_straight_line():
    a = kernel(A).astype(float)
    for b in (3 * a, -a, np.zeros_like(a), a + 1e-9):
        np.testing.assert_allclose(slerp(a, b, 0.25), 0.75 * a + 0.25 * b, atol=1e-8)
    assert (slerp(np.zeros(3), np.zeros(3), 0.5, threshold=1.0) == 0).all()


def test_ties_of_one_whole_task_vector_is_that_model():
    np.testing.assert_allclose(kernel(Ties(density=1.0)([A], BASE)), kernel(A), atol=1e-6)


def test_ties_elects_a_sign_and_averages_those_that_have_it():
    base = {"w": np.zeros(4)}
    models = [{"w": np.array(w, float)} for w in ([3, 1, 0, 2.5], [-1, 1, 0, -2.5], [1, -4, 0, 0])]
    np.testing.assert_allclose(Ties(density=1.0)(models, base)["w"], [2, -4, 0, 0])


def test_the_largest_are_at_least_one_and_of_equal_ones_the_first():
    x = np.array([1.0, -2, 2, 0.5, 2])
    np.testing.assert_array_equal(largest(x, 0.4), [False, True, True, False, False])
    assert largest(x, 1e-6).sum() == 1 and largest(x, 0.41).sum() == 3
    assert largest(np.arange(100.0), 0.07).sum() == 7, ".07 * 100 is above 7 by rounding"


def test_dropped_entries_are_those_of_the_base_and_the_mean_over_masks_is_the_task_vector():
    size = 20_000
    base, model = {"w": np.zeros(size)}, {"w": np.ones(size)}
    merged = np.asarray(Dare(drop=0.75)([model], base)["w"])
    assert set(np.unique(merged)) == {0, 4} and merged.mean() == pytest.approx(1, abs=0.05)
    assert not np.array_equal(merged, Dare(drop=0.75, seed=1)([model], base)["w"])


def test_fisher_weighs_entry_by_entry_and_is_the_average_where_nothing_is_known():
    models = [{"w": np.array([0.0, 0, 0])}, {"w": np.array([4.0, 4, 4])}]
    merged = Fisher()(models, information=[{"w": np.array([1.0, 3, 0])}, {"w": np.array([1.0, 1, 0])}])
    np.testing.assert_allclose(merged["w"], [2, 1, 2])


def test_the_nearest_point_of_the_plane():
    target = {"w": kernel(BASE) + 0.3 * (kernel(A) - kernel(BASE)) - 2 * (kernel(B) - kernel(BASE))}
    found = nearest([{"w": kernel(A)}, {"w": kernel(B)}], {"w": kernel(BASE)}, target)
    np.testing.assert_allclose(found, [0.3, -2], atol=1e-5)


def test_another_architecture_is_named_by_its_first_parameter():
    with pytest.raises(ConfigError, match=r"model 1 .* dense/kernel is \(3, 5\), and \(3, 4\) in model 0"):
        Average()([A, tree(1, (3, 5))])
    with pytest.raises(ConfigError, match=r"base .* scale is absent, and \(1,\) in model 0"):
        TaskArithmetic()([A, B], {"dense": BASE["dense"]})
    with pytest.raises(ConfigError, match=r"model 1 .* more is \(1,\), and absent in model 0"):
        Average()([A, A | {"more": np.ones(1)}])


def test_numbers_that_differ_have_no_average():
    with pytest.raises(ConfigError, match="model 1 has other values than model 0 in n"):
        Average()([{"n": np.arange(3)}, {"n": np.arange(1, 4)}])


def test_factors_of_adapters_are_not_averaged():
    lora = {"lora_a": np.ones((3, 1)), "lora_b": np.ones((1, 2)), "kernel": np.ones((3, 2))}
    with pytest.raises(ConfigError, match="product of averaged factors"):
        Average()([lora, lora])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Average()([]), "no models"),
        (lambda: Average((1.0,))([A, B]), "weights has 1 numbers for 2 models"),
        (lambda: Average((1.0, -1.0)), "weights are shares"),
        (lambda: TaskArithmetic((1.0, 1.0, 1.0))([A, B], BASE), "scale has 3 numbers for 2 models"),
        (lambda: Ties()([A, B]), "give it as `base`"),
        (lambda: Ties(density=0.0), r"in \(0, 1\], not 0.0"),
        (lambda: Ties(density=1.1), r"in \(0, 1\], not 1.1"),
        (lambda: Dare(drop=1.0), r"in \[0, 1\), not 1.0"),
        (lambda: TaskArithmetic(float("nan")), "TaskArithmetic.scale=nan"),
        (lambda: Ties(scale=float("nan")), "Ties.scale=nan"),
        (lambda: Dare(scale=float("inf")), "Dare.scale=inf"),
        (lambda: Slerp()([A, B, BASE]), "takes two, not 3"),
        (lambda: Slerp(t=1.5), "Slerp.t"),
        (lambda: Fisher()([A, B]), "Fisher information of each model"),
        (lambda: Fisher()([A, B], information=[A]), "1 trees for 2 models"),
        (lambda: Fisher()([A, B], information=[A, B]), "negative"),
    ],
)
def test_what_makes_no_sense_is_said(made, words):
    with pytest.raises(ConfigError, match=words):
        made()
