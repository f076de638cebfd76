"""Self Positioning on a parabola, whose best point is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.transforms.self_positioning import Place, SelfPositioning, information, position, same_basin, start

RNG = np.random.default_rng(0)
BASE = {"w": jnp.asarray(RNG.normal(size=5), jnp.float32), "ids": jnp.arange(2)}
MODELS = [{"w": BASE["w"] + jnp.asarray(RNG.normal(size=5), jnp.float32), "ids": jnp.arange(2)} for _ in range(3)]


def parabola(params, batch):
    return ((params["w"] - batch) ** 2).sum()


def test_a_corner_is_a_model_and_no_scale_is_the_base():
    corner = Place(jnp.asarray([0.0, 60.0, 0.0]), jnp.zeros(()))
    np.testing.assert_allclose(position(MODELS, BASE, corner)["w"], MODELS[1]["w"], atol=1e-5)
    np.testing.assert_allclose(position(MODELS, BASE, Place(corner.a, jnp.asarray(-80.0)))["w"], BASE["w"], atol=1e-6)
    middle = np.mean([m["w"] for m in MODELS], 0)
    np.testing.assert_allclose(position(MODELS, BASE, start(3))["w"], middle, atol=1e-6)


def test_the_gradient_by_alpha_is_an_inner_product_with_the_task_vector():
    place, goal = Place(jnp.asarray([0.3, -0.2, 0.1]), jnp.asarray(0.4)), MODELS[0]["w"]
    found = jax.grad(lambda p: parabola(position(MODELS, BASE, p), goal))(place)
    g = 2 * (position(MODELS, BASE, place)["w"] - goal)
    inner = place.scale * np.asarray([g @ (m["w"] - BASE["w"]) for m in MODELS])
    np.testing.assert_allclose(found.a, place.alpha * (inner - place.alpha @ inner), rtol=1e-3, atol=1e-4)  # through softmax
    np.testing.assert_allclose(found.l, place.alpha @ inner, rtol=1e-3)


def test_finds_the_point_of_a_parabola_in_the_plane():
    alpha, scale = np.array([0.6, 0.3, 0.1]), 1.3
    goal = BASE["w"] + scale * sum(a * (m["w"] - BASE["w"]) for a, m in zip(alpha, MODELS, strict=True))
    search = SelfPositioning(steps=1500, rate=0.02)
    found = search.search(MODELS, BASE, loss=parabola, probes=[[goal], [goal]])
    np.testing.assert_allclose(found.place.alpha, alpha, atol=0.02)
    assert found.place.scale == pytest.approx(scale, abs=0.02)
    assert found.losses[-1] < 1e-3 * found.losses[0] and len(found.losses) == 1500
    np.testing.assert_allclose(found.params["w"], goal, atol=0.03)
    np.testing.assert_array_equal(found.params["ids"], BASE["ids"])


def test_one_drawn_task_a_step_goes_by_the_seed():
    probes = [[m["w"]] for m in MODELS]
    made = [
        SelfPositioning(steps=4, every_task=False, seed=s).search(MODELS, BASE, loss=parabola, probes=probes) for s in (0, 0, 3)
    ]
    assert made[0].losses == made[1].losses != made[2].losses


def test_information_is_the_mean_square_of_gradients():
    floating = {"w": BASE["w"]}
    f = information(parabola, floating, [BASE["w"] + 1, BASE["w"] - 3])
    np.testing.assert_allclose(f["w"], (4 + 36) / 2, rtol=1e-5)


def test_a_straight_line_over_a_parabola_has_no_ridge():
    along = same_basin({"w": MODELS[0]["w"]}, {"w": MODELS[1]["w"]}, parabola, BASE["w"], points=5)
    assert len(along) == 5 and (along <= max(along[0], along[-1]) + 1e-6).all()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: SelfPositioning()(MODELS, BASE), "needs a loss and batches"),
        (lambda: SelfPositioning()(MODELS), "give it as `base`"),
        (lambda: SelfPositioning()(MODELS, BASE, loss=parabola, probes=[[], []]), "a batch of probes"),
        (lambda: SelfPositioning(steps=0), "steps"),
        (
            lambda: SelfPositioning(steps=2)(MODELS, BASE, loss=lambda p, b: parabola(p, b) * jnp.nan, probes=[[BASE["w"]]]),
            "the loss over probes is nan at step 0",
        ),
        (lambda: information(parabola, BASE, []), "a batch at least"),
    ],
)
def test_what_makes_no_sense_is_said(made, words):
    with pytest.raises(ConfigError, match=words):
        made()
