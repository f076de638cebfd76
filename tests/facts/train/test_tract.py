"""The first layer under TrAct, as the train step and its optimiser see it, and the probe of how well its step is realised."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from arrays import normal
from compiled import init
from flax import linen as nn

from jaxemb.config import ConfigError
from jaxemb.data.digits import Digits
from jaxemb.experiment import Experiment
from jaxemb.layers.projector import Projector
from jaxemb.nn.base import Encoder
from jaxemb.nn.cnn import CNN
from jaxemb.nn.mlp import MLP
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.simclr import SimCLR
from jaxemb.ops.tract import realised_cosine, weight_gradient
from jaxemb.train.failures import not_finite
from jaxemb.train.optim import Optim
from jaxemb.train.probes import Realised
from jaxemb.train.state import TrainState, create
from jaxemb.train.step import make_step
from jaxemb.types import Features, Now

X = jnp.asarray(np.asarray(normal(0, 8, 6)) * np.float32(10) ** np.arange(-2, 1, 0.5, dtype=np.float32))
BATCH = {"images": X, "labels": jnp.asarray(np.arange(8, dtype=np.int32) % 3)}
PLAIN = Optim("sgd", lr=0.1, schedule="constant")
SGD = dataclasses.replace(PLAIN, tract=(("encoder/stem", 0.1),))
MODEL = Classify(encoder=MLP((4,), activation="tanh"), classes=3)


def params_of(objective=MODEL, batch=BATCH):
    params = init(objective, jax.random.key(1), batch)["params"]
    params["head"]["kernel"] = normal(2, *params["head"]["kernel"].shape)
    return params


@functools.cache
def compiled_step(objective, optim, accumulate, probe):
    options = {"probes": {"first": probe}} if probe else {}
    step = make_step(objective, optim, steps=10, accumulate=accumulate, **options)

    def first(params, batch):
        state = TrainState(jnp.int32(0), params, {}, None, optim.make(10).init(params), jax.random.key(0))
        return step(state, batch)

    return jax.jit(first)


def first_step(optim, objective=MODEL, accumulate=1, batch=BATCH, probe=None):
    return compiled_step(objective, optim, accumulate, probe)(params_of(objective, batch), batch)


@functools.cache
def gradient(optim=SGD):
    """That of the real step: what SGD without momentum moves by."""
    return jax.tree.map(lambda p, q: (p - q) / 0.1, params_of(), first_step(optim)[0].params)


@functools.cache
def grad_z():
    """dL/dz of the first layer, from its bias, one example at a time."""
    params, now = params_of(), Now(0, 1, jax.random.key(0))

    def of_one(x, y):
        batch = {"images": x[None], "labels": y[None]}
        grads = jax.grad(lambda p: MODEL.apply({"params": p}, batch, None, now, method="loss").value)(params)
        return grads["encoder"]["stem"]["bias"]

    return jax.jit(jax.vmap(of_one))(BATCH["images"], BATCH["labels"]) / len(X)


def kernel(tree):
    return tree["encoder"]["stem"]["kernel"]


# ---- optimisers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion", "lamb"])
def test_every_optimiser_sees_it_as_the_gradient(name):
    g, params = gradient(), params_of()
    np.testing.assert_allclose(kernel(g), weight_gradient(X, grad_z(), 0.1), rtol=1e-3, atol=1e-4)
    optim = Optim(name, lr=0.1, schedule="constant", tract=SGD.tract)
    moved, metrics = first_step(optim)
    assert float(metrics["grad_norm"]) == pytest.approx(float(optax.tree.norm(g)), rel=1e-3)
    tx = optim.make(10)
    expected = jax.jit(lambda g, p: optax.apply_updates(p, tx.update(g, tx.init(p), p)[0]))(g, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3), moved.params, expected)


def test_decay_is_not_multiplied_and_clipping_counts_it():
    g, w = gradient(), kernel(params_of())
    moved, _ = first_step(dataclasses.replace(SGD, decay=0.5, clip=0.01))
    expected = w - 0.1 * (kernel(g) * 0.01 / optax.tree.norm(g) + 0.5 * w)
    np.testing.assert_allclose(kernel(moved.params), expected, rtol=1e-4, atol=1e-6)


def test_a_frozen_first_layer_stays():
    moved, _ = first_step(dataclasses.replace(SGD, freeze=("stem",)))
    jax.tree.map(np.testing.assert_array_equal, moved.params["encoder"]["stem"], params_of()["encoder"]["stem"])


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_has_the_moment_of_the_whole_batch(parts):
    whole, n = first_step(SGD)
    cut, m = first_step(SGD, accumulate=parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), cut.params, whole.params)
    assert float(m["grad_norm"]) == pytest.approx(float(n["grad_norm"]), rel=1e-4)
    assert not cut.stats


def test_accumulation_of_a_convolution_has_the_moment_of_the_whole_batch():
    batch = {"images": X.reshape(8, 6)[:, :4].reshape(8, 2, 2, 1).repeat(2, 1), "labels": BATCH["labels"]}
    objective = Classify(encoder=CNN(widths=(3,), sizes=(3,)), classes=3)
    whole, cut, plain = (first_step(o, objective, k, batch)[0].params for o, k in ((SGD, 1), (SGD, 2), (PLAIN, 1)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), whole, cut)
    assert not np.allclose(kernel(whole), kernel(plain), rtol=1e-3)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_moment_that_is_not_finite_says_so_in_the_gradient(parts):
    _, metrics = first_step(SGD, accumulate=parts, batch={**BATCH, "images": X.at[0, 0].set(jnp.inf)})
    assert np.isnan(float(metrics["grad_norm"]))


# ---- what cannot be --------------------------------------------------------------------------------------------------------------


class Twice(Encoder):
    @nn.compact
    def __call__(self, x, **options):
        stem = nn.Dense(2, name="stem")
        return Features((stem(x) + stem(-x))[:, None], jnp.ones((len(x), 1), bool))


class Grouped(Encoder):
    @nn.compact
    def __call__(self, x, **options):
        z = nn.Conv(2, (1, 1), feature_group_count=2, name="stem")(x[:, None, None, :2])
        return Features(z[:, 0], jnp.ones((len(x), 1), bool))


def test_a_layer_that_runs_twice_is_refused():
    objective = Classify(encoder=Twice(), classes=3)
    with pytest.raises(ConfigError, match=r"optim.tract: a layer runs 2 times in one loss"):
        first_step(SGD, objective)
    with pytest.raises(ConfigError, match=r"layer='encoder/stem' runs 2 times in one loss"):
        first_step(PLAIN, objective, probe=Realised(layer="encoder/stem"))


def test_a_layer_that_runs_in_pieces_of_the_batch_is_refused_by_that_name():
    model = SimCLR(encoder=MLP((4,)), projector=Projector((3, 2)), pieces=2)
    batch = {"images": jnp.zeros((4, 4, 4, 3)), "view_seeds": jnp.zeros((4, 2), jnp.uint32)}
    state = jax.eval_shape(lambda: create(model, PLAIN.make(10), batch, seed=0, ema=False))
    step = make_step(model, PLAIN, steps=10, probes={"first": Realised(layer="encoder/stem")})
    with pytest.raises(ConfigError, match="'encoder/stem' runs in pieces=2 of the batch.*set pieces=None for this measurement"):
        jax.eval_shape(step, state, batch)


def test_layers_that_are_not_there_are_named():
    with pytest.raises(ConfigError, match=r"optim.tract: 'stem' is no layer .*; there are encoder/stem, head"):
        first_step(dataclasses.replace(SGD, tract=(("stem", 0.1),)))
    with pytest.raises(ConfigError, match=r"optim.tract: 'encoder' has no kernel of a dense layer or a convolution"):
        first_step(dataclasses.replace(SGD, tract=(("encoder", 0.1),)))
    with pytest.raises(ConfigError, match=r"probes: layer='stem' has no kernel; there are encoder/stem, head"):
        first_step(PLAIN, probe=Realised(layer="stem"))
    with pytest.raises(ConfigError, match=r"optim.tract: 'encoder/stem' is a grouped convolution"):
        first_step(SGD, Classify(encoder=Grouped(), classes=3))


@pytest.mark.parametrize("lam", [0.0, -1.0, float("inf"), float("nan")])
def test_lambda_is_above_zero(lam):
    with pytest.raises(ConfigError, match=r"optim.tract: the lambda of 'encoder/stem' must be above 0 and finite"):
        dataclasses.replace(SGD, tract=(("encoder/stem", lam),))


def test_a_probe_looks_every_so_many_lines():
    with pytest.raises(ConfigError, match="every must be at least 1, is 0"):
        Realised(every=0)


# ---- how well the step is realised -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("optim", [PLAIN, SGD], ids=["plain", "tract"])
def test_the_cosine_is_that_of_its_definition(optim, parts):
    """Also over micro-batches: of the whole batch, with the gradient that the optimiser gets."""
    _, metrics = first_step(optim, accumulate=parts, probe=Realised(layer="encoder/stem"))
    assert float(metrics["first_cosine"]) == pytest.approx(float(realised_cosine(X, kernel(gradient(optim)), grad_z())), rel=1e-3)


def test_a_convolution_realises_better_the_smaller_lambda_is():
    batch = {"images": normal(0, 8, 3, 3, 1) + 3.0, "labels": BATCH["labels"]}
    objective = Classify(encoder=CNN(widths=(2,), sizes=(2,)), classes=3)
    optims = [dataclasses.replace(SGD, tract=(("encoder/stem", lam),)) for lam in (1e-4, 1e3)]
    probe = Realised(layer="encoder/stem")
    small, large = (float(first_step(o, objective, batch=batch, probe=probe)[1]["first_cosine"]) for o in optims)
    assert 1 > small > large + 0.05 > 0


def test_the_stop_on_a_loss_that_is_not_finite_speaks_of_the_inputs():
    plain = Experiment(name="x", objective=MODEL, data=Digits(), optim=PLAIN, steps=5, batch=8)
    ours = dataclasses.replace(plain, optim=SGD)
    assert "second moment" not in not_finite(plain, 3, {"loss": 1.0, "grad_norm": float("nan")})
    said = not_finite(ours, 3, {"loss": 1.0, "grad_norm": float("nan")})
    assert "optim.tract needs inputs whose second moment is finite: standardise them" in said
