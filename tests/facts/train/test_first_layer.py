"""The first layer under TrAct, as the train step and its optimiser see it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxemb.config import ConfigError
from jaxemb.data.digits import Digits
from jaxemb.experiment import Experiment
from jaxemb.nn.cnn import CNN
from jaxemb.nn.dense import Dense
from jaxemb.nn.mlp import MLP
from jaxemb.objectives.classify import Classify
from jaxemb.ops.tract import realised_cosine, tract_conv, weight_gradient
from jaxemb.train.failures import not_finite
from jaxemb.train.first_layer import first_layer_cosine
from jaxemb.train.optim import Optim
from jaxemb.train.state import TrainState
from jaxemb.train.step import make_step
from jaxemb.types import Features, Now

NOW = Now(0, 1, jax.random.key(0))

X = jax.random.normal(jax.random.key(0), (8, 6)) * 10.0 ** jnp.arange(-2.0, 1.0, 0.5)[None]
BATCH = {"images": X, "labels": jnp.arange(8) % 3}


SGD = Optim("sgd", lr=0.1, schedule="constant")


def model(tract=0.1, **fields):
    return Classify(encoder=MLP((4,), activation="tanh", tract=tract, **fields), classes=3)


def params_of(objective):
    params = jax.jit(objective.init)(jax.random.key(1), BATCH)["params"]
    params["head"]["kernel"] = jax.random.normal(jax.random.key(2), params["head"]["kernel"].shape)
    return params


def state_of(params, optim=SGD, ema=None):
    return TrainState(jnp.int32(0), params, {}, ema, optim.make(10).init(params), jax.random.key(0))


def first_step(optim, objective, accumulate=1, batch=BATCH):
    step = jax.jit(make_step(objective, optim, steps=10, accumulate=accumulate))
    return step(state_of(params_of(objective), optim), batch)


def gradient(objective, batch=BATCH):
    return jax.jit(jax.grad(lambda p: objective.apply({"params": p}, batch, None, NOW, method="loss").value))(params_of(objective))


def grad_z(batch=BATCH):
    """dL/dz of the first layer, from its bias, one example at a time."""

    def of_one(x, y):
        return gradient(model(None), {"images": x[None], "labels": y[None]})["encoder"]["stem"]["bias"]

    return jax.jit(jax.vmap(of_one))(batch["images"], batch["labels"]) / len(batch["images"])


# ---- optimisers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion", "lamb"])
def test_every_optimiser_sees_it_as_the_gradient(name):
    g, params = gradient(model()), params_of(model())
    np.testing.assert_allclose(g["encoder"]["stem"]["kernel"], weight_gradient(X, grad_z(), 0.1), rtol=1e-3, atol=1e-5)
    optim = Optim(name, lr=0.1, schedule="constant")
    moved, metrics = first_step(optim, model())
    assert float(metrics["grad_norm"]) == pytest.approx(float(optax.tree.norm(g)), rel=1e-4)
    updates, _ = optim.make(10).update(g, optim.make(10).init(params), params)
    expected = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), moved.params, expected)


def test_decay_is_not_multiplied_and_clipping_counts_it():
    g, params = gradient(model()), params_of(model())
    moved, _ = first_step(Optim("sgd", lr=0.1, schedule="constant", decay=0.5, clip=0.01), model())
    w, grad = params["encoder"]["stem"]["kernel"], g["encoder"]["stem"]["kernel"]
    expected = w - 0.1 * (grad * 0.01 / optax.tree.norm(g) + 0.5 * w)
    np.testing.assert_allclose(moved.params["encoder"]["stem"]["kernel"], expected, rtol=1e-4, atol=1e-6)


def test_a_frozen_first_layer_stays():
    moved, _ = first_step(Optim("sgd", lr=0.1, freeze=("stem",)), model())
    jax.tree.map(np.testing.assert_array_equal, moved.params["encoder"]["stem"], params_of(model())["encoder"]["stem"])


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_has_the_moment_of_the_whole_batch(parts):
    whole, n = first_step(SGD, model())
    cut, m = first_step(SGD, model(), accumulate=parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), cut.params, whole.params)
    assert float(m["grad_norm"]) == pytest.approx(float(n["grad_norm"]), rel=1e-4)
    assert "tract_moments" not in cut.stats


def test_accumulation_of_a_convolution_has_the_moment_of_the_whole_batch():
    batch = {"images": X.reshape(8, 6)[:, :4].reshape(8, 2, 2, 1).repeat(2, 1), "labels": BATCH["labels"]}
    objective = Classify(encoder=CNN(widths=(3,), sizes=(3,), tract=0.1), classes=3)
    params = objective.init(jax.random.key(1), batch)["params"]
    params["head"]["kernel"] = jax.random.normal(jax.random.key(2), params["head"]["kernel"].shape)
    found = [jax.jit(make_step(objective, SGD, steps=10, accumulate=k))(state_of(params), batch)[0].params for k in (1, 2)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *found)


def test_pieces_under_accumulation_are_those_of_a_micro_batch():
    parts, _ = first_step(SGD, model(tract_pieces=2), accumulate=2)
    order = jnp.array([0, 2, 4, 6, 1, 3, 5, 7])  # a micro-batch takes every second row
    sorted_batch = {name: x[order] for name, x in BATCH.items()}
    pieces, _ = first_step(SGD, model(tract_pieces=4), batch=sorted_batch)
    whole, _ = first_step(SGD, model())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), parts.params, pieces.params)
    kernels = [s.params["encoder"]["stem"]["kernel"] for s in (parts, whole)]
    assert not np.allclose(*kernels, rtol=1e-3)


def test_accumulation_with_a_moment_that_is_not_finite_says_so_in_the_gradient():
    batch = {**BATCH, "images": X.at[0, 0].set(jnp.inf)}
    _, metrics = first_step(SGD, model(), accumulate=2, batch=batch)
    assert np.isnan(float(metrics["grad_norm"]))


def test_accumulation_refuses_a_layer_that_runs_twice():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            stem = Dense(2, tract=0.1, name="stem")
            return Features((stem(x) + stem(-x))[:, None], jnp.ones((len(x), 1), bool))

    objective = Classify(encoder=Twice(), classes=3)
    state = state_of(objective.init(jax.random.key(1), BATCH)["params"])
    with pytest.raises(ConfigError, match=r"tract under accumulate > 1: a layer runs 2 times in one loss.*accumulate=1"):
        make_step(objective, SGD, steps=10, accumulate=2)(state, BATCH)


# ---- how well the step is realised -----------------------------------------------------------------------------------------------


def test_the_cosine_is_that_of_its_definition():
    for tract in (None, 0.1):
        objective = model(tract)
        find = jax.jit(functools.partial(first_layer_cosine, objective, layer="encoder/stem"))
        found = find(state_of(params_of(objective)), BATCH)
        kernel = gradient(objective)["encoder"]["stem"]["kernel"]
        assert float(found) == pytest.approx(float(realised_cosine(X, kernel, grad_z())), rel=1e-4)


class Conv(nn.Module):
    """A first layer that is a convolution."""

    tract: float
    runs: int = 1

    @nn.compact
    def __call__(self, x, *, train=False):
        stem = Kernel(self.tract, name="stem")
        x = sum(stem(x) for _ in range(self.runs))
        return Features(jnp.tanh(x).reshape(len(x), -1, 2), jnp.ones((len(x), 4), bool))


class Kernel(nn.Module):
    tract: float

    @nn.compact
    def __call__(self, x):
        return tract_conv(x, self.param("kernel", nn.initializers.normal(1.0), (2, 2, 1, 2)), self.tract)


def test_a_convolution_realises_better_the_smaller_lambda_is():
    batch = {"images": jax.random.normal(jax.random.key(0), (8, 3, 3, 1)) + 3.0, "labels": BATCH["labels"]}
    cosines = []
    for tract in (1e-4, 1e3):
        objective = Classify(encoder=Conv(tract), classes=3)
        params = objective.init(jax.random.key(1), batch)["params"]
        params["head"]["kernel"] = jax.random.normal(jax.random.key(2), (2, 3))
        cosines.append(float(first_layer_cosine(objective, state_of(params), batch, "encoder/stem")))
    assert 1 > cosines[0] > cosines[1] + 0.05 > 0


def test_layers_that_are_not_there_are_named():
    with pytest.raises(ConfigError, match=r"first_layer='stem' has no kernel; there are encoder/stem, head"):
        first_layer_cosine(model(), state_of(params_of(model())), BATCH, "stem")


def test_a_layer_that_runs_twice_is_refused():
    objective, batch = Classify(encoder=Conv(0.1, runs=2), classes=3), {"images": jnp.ones((8, 3, 3, 1)), "labels": BATCH["labels"]}
    state = state_of(objective.init(jax.random.key(1), batch)["params"])
    with pytest.raises(ConfigError, match=r"first_layer='encoder/stem' runs 2 times in one loss"):
        first_layer_cosine(objective, state, batch, "encoder/stem")


def test_the_stop_on_a_loss_that_is_not_finite_speaks_of_the_inputs():
    plain = Experiment(name="x", objective=model(None), data=Digits(), optim=Optim(), steps=5, batch=8)
    ours = dataclasses.replace(plain, objective=model(0.1))
    assert "second moment" not in not_finite(plain, 3, {"loss": 1.0, "grad_norm": float("nan")})
    said = not_finite(ours, 3, {"loss": 1.0, "grad_norm": float("nan")})
    assert "objective.encoder.tract needs inputs whose second moment is finite: standardise them" in said
