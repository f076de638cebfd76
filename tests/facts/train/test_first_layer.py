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
from jaxemb.nn.mlp import MLP
from jaxemb.objectives.classify import Classify
from jaxemb.ops.tract import realised_cosine, tract_conv, weight_gradient
from jaxemb.train.failures import not_finite
from jaxemb.train.first_layer import first_layer_cosine
from jaxemb.train.optim import Optim
from jaxemb.train.state import TrainState
from jaxemb.train.step import make_step
from jaxemb.types import Features

X = jax.random.normal(jax.random.key(0), (8, 6)) * 10.0 ** jnp.arange(-2.0, 1.0, 0.5)[None]
BATCH = {"images": X, "labels": jnp.arange(8) % 3}


def model(tract=0.1, **fields):
    return Classify(encoder=MLP((4,), activation="tanh", tract=tract, **fields), classes=3)


def params_of(objective):
    params = jax.jit(objective.init)(jax.random.key(1), BATCH)["params"]
    params["head"]["kernel"] = jax.random.normal(jax.random.key(2), params["head"]["kernel"].shape)
    return params


def first_step(optim, objective, accumulate=1, batch=BATCH):
    params = params_of(objective)
    state = TrainState(jnp.int32(0), params, {}, None, optim.make(10).init(params), jax.random.key(0))
    return jax.jit(make_step(objective, optim, steps=10, accumulate=accumulate))(state, batch)


def gradient(objective, batch=BATCH):
    return jax.jit(jax.grad(lambda p: objective.apply({"params": p}, batch, None, method="loss").value))(params_of(objective))


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


def test_accumulation_is_a_moment_each_micro_batch():
    optim = Optim("sgd", lr=0.1, schedule="constant")
    parts, _ = first_step(optim, model(), accumulate=2)
    order = jnp.array([0, 2, 4, 6, 1, 3, 5, 7])  # a micro-batch takes every second row
    sorted_batch = {name: x[order] for name, x in BATCH.items()}
    pieces, _ = first_step(optim, model(tract_pieces=2), batch=sorted_batch)
    whole, _ = first_step(optim, model())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), parts.params, pieces.params)
    kernels = [s.params["encoder"]["stem"]["kernel"] for s in (parts, whole)]
    assert not np.allclose(*kernels, rtol=1e-3)


# ---- how well the step is realised -----------------------------------------------------------------------------------------------


def test_the_cosine_is_that_of_its_definition():
    for tract in (None, 0.1):
        objective = model(tract)
        find = jax.jit(functools.partial(first_layer_cosine, objective, layer="encoder/stem"))
        found = find({"params": params_of(objective)}, BATCH)
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
        cosines.append(float(first_layer_cosine(objective, {"params": params}, batch, "encoder/stem")))
    assert 1 > cosines[0] > cosines[1] + 0.05 > 0


def test_layers_that_are_not_there_are_named():
    with pytest.raises(ConfigError, match=r"layer='stem' has no kernel; there are encoder/stem, head"):
        first_layer_cosine(model(), {"params": params_of(model())}, BATCH, "stem")


def test_a_layer_that_runs_twice_is_refused():
    objective, batch = Classify(encoder=Conv(0.1, runs=2), classes=3), {"images": jnp.ones((8, 3, 3, 1)), "labels": BATCH["labels"]}
    variables = objective.init(jax.random.key(1), batch)
    with pytest.raises(ConfigError, match=r"layer='encoder/stem' runs 2 times in one loss"):
        first_layer_cosine(objective, variables, batch, "encoder/stem")


def test_the_stop_on_a_loss_that_is_not_finite_speaks_of_the_inputs():
    plain = Experiment(name="x", objective=model(None), data=Digits(), optim=Optim(), steps=5, batch=8)
    ours = dataclasses.replace(plain, objective=model(0.1))
    assert "second moment" not in not_finite(plain, 3, {"loss": 1.0, "grad_norm": float("nan")})
    said = not_finite(ours, 3, {"loss": 1.0, "grad_norm": float("nan")})
    assert "objective.encoder.tract needs inputs whose second moment is finite: standardise them" in said
