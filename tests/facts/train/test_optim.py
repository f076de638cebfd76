import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from arrays import full

from jaxemb.config import ConfigError
from jaxemb.ops.paths import by_path
from jaxemb.train.optim import Optim

PARAMS = {
    "encoder": {"kernel": full(2.0, 2, 3), "bias": full(1.0, 3), "norm": {"scale": full(1.0, 3)}},
    "mask_token": full(1.0, 1, 1, 3),
    "layers": {"blocks": {"kernel": full(1.0, 4, 2, 3), "norm": full(1.0, 4, 3)}},
}
STACKED = {"layers/blocks/kernel", "layers/blocks/norm"}
GRADS = jax.tree.map(lambda p: full(0.1, *p.shape), PARAMS)


def updated(optim, steps=10, params=PARAMS, grads=GRADS, times=1):
    tx = optim.make(steps, STACKED)
    state = tx.init(params)
    for _ in range(times):
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **(tolerance or {"rtol": 1e-5, "atol": 1e-6})), a, b)


def test_adamw_is_optaxs_where_every_tensor_is_decayed():
    matrices = {"a": PARAMS["encoder"]["kernel"]}
    grads = {"a": GRADS["encoder"]["kernel"]}
    tx, params = optax.adamw(1e-2, weight_decay=0.1), matrices
    state = tx.init(params)
    for _ in range(3):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    ours = updated(Optim("adamw", lr=1e-2, schedule="constant", decay=0.1), params=matrices, grads=grads, times=3)
    close(ours, params)


def test_sgd_with_momentum_by_hand():
    p = updated(Optim("sgd", lr=0.5, schedule="constant", options={"momentum": 0.9}), times=2)
    close(p["encoder"]["bias"], 1 - 0.5 * (0.1 + 0.19))


def test_what_is_decayed():
    optim = Optim(decay=0.1)
    decayed = by_path(optim.decayed(PARAMS, STACKED))
    assert {p for p, yes in decayed.items() if yes} == {"encoder/kernel", "mask_token", "layers/blocks/kernel"}
    # A module may be called `blocks` without being a stack: then its matrices are decayed as any other.
    decayed = by_path(optim.decayed({"blocks": {"kernel": jnp.ones((2, 3)), "other": jnp.ones(3)}}))
    assert decayed == {"blocks/kernel": True, "blocks/other": False}
    p = updated(Optim("sgd", lr=0.5, schedule="constant", decay=0.1), grads=jax.tree.map(jnp.zeros_like, PARAMS))
    close(p["encoder"]["kernel"], 2 - 0.5 * 0.1 * 2)
    close(p["encoder"]["bias"], PARAMS["encoder"]["bias"])


def test_schedules_at_their_corners():
    optim = Optim(lr=1.0, lr_start=0.2, lr_final=0.1, warmup=4, decay=(0.04, 0.4))
    lr = [float(optim.lr_at(t, 20)) for t in (1, 4, 12, 20)]
    np.testing.assert_allclose(lr, [0.4, 1.0, 0.55, 0.1], rtol=1e-6)  # W: the peak; halfway: the mean; T: the end
    np.testing.assert_allclose([float(optim.decay_at(t, 20)) for t in (10, 20)], [0.22, 0.4], rtol=1e-6)
    linear = Optim(lr=1.0, schedule="linear", warmup=0)
    np.testing.assert_allclose([float(linear.lr_at(t, 10)) for t in (5, 10)], [0.5, 0.0], atol=1e-7)
    assert float(Optim(lr=1.0, warmup=0.5).lr_at(5, 10)) == 1.0  # a fraction of the steps
    assert float(Optim(lr=1.0, lr_final=0.0, stretch=2.0).lr_at(10, 10)) == pytest.approx(0.5)  # stops halfway


def test_clipping_is_of_the_global_norm_of_what_is_trained():
    p = updated(Optim("sgd", lr=1.0, schedule="constant", clip=0.1))
    moved = jnp.sqrt(sum(jnp.square(a - b).sum() for a, b in zip(jax.tree.leaves(p), jax.tree.leaves(PARAMS), strict=True)))
    assert float(moved) == pytest.approx(0.1, rel=1e-5)
    p = updated(Optim("sgd", lr=1.0, schedule="constant", clip=0.1, freeze=("encoder", "layers")))
    assert float(jnp.linalg.norm(p["mask_token"] - 1)) == pytest.approx(0.1, rel=1e-5)


def test_freeze_and_multipliers():
    p = updated(Optim("sgd", lr=1.0, schedule="constant", freeze=("encoder",), lr_multipliers=(("mask", 0.5),)))
    close(p["encoder"], PARAMS["encoder"])
    close(p["mask_token"], 1 - 0.05)
    close(p["layers"]["blocks"]["norm"], 1 - 0.1)


def test_frozen_means_frozen_with_decay_too():
    frozen = Optim("adamw", lr=1.0, decay=0.5, schedule="constant", freeze=("kernel",))
    close(updated(frozen)["encoder"]["kernel"], PARAMS["encoder"]["kernel"], rtol=0, atol=0)


def test_frozen_parameters_have_no_moments():
    def size(optim):
        return sum(x.size for x in jax.tree.leaves(optim.make(1).init(PARAMS)))

    frozen = sum(x.size for x in jax.tree.leaves(PARAMS["encoder"]))
    assert size(Optim("adamw")) - size(Optim("adamw", freeze=("encoder",))) == 2 * frozen
    loud = jax.tree.map(jnp.copy, GRADS) | {"encoder": jax.tree.map(lambda g: 1e6 * g, GRADS["encoder"])}
    moved = [updated(Optim("adamw", lr=0.1, clip=0.01, freeze=("encoder",)), grads=grads, times=3) for grads in (GRADS, loud)]
    close(*moved, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion", "lamb", "lars", "adafactor", "rmsprop"])
def test_optax_optimisers_go_downhill(name):
    p = updated(Optim(name, lr=1e-2, schedule="constant"), times=3)
    assert all(bool((a <= b).all()) for a, b in zip(jax.tree.leaves(p), jax.tree.leaves(PARAMS), strict=True))
    assert float(p["encoder"]["kernel"].mean()) < 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "adamx"}, "optax has no optimiser 'adamx'; did you mean 'adam"),
        ({"options": {"beta1": 0.9}}, r"optax.adamw takes no 'beta1'.*b1"),
        ({"options": {"b1": "a"}}, r"optim.options=\{'b1': 'a'\}: optax.adamw cannot use them"),
        ({"lr": -1.0}, "optim.lr must not be negative"),
        ({"warmup": 1.5}, "a fraction below 1, or a whole number"),
        ({"clip": 0.0}, "optim.clip must be above 0"),
        ({"stretch": 0.5}, "optim.stretch must be at least 1"),
        ({"freeze": ("(",)}, "is no regular expression"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Optim(**fields)


def test_regexes_that_find_nothing_or_everything_are_named():
    with pytest.raises(ConfigError, match=r"optim.freeze: 'decoder' finds none of the parameters: .*mask_token"):
        Optim(freeze=("decoder",)).make(1).init(PARAMS)
    with pytest.raises(ConfigError, match="leaves no parameter to train"):
        Optim(freeze=(".",)).make(1).init(PARAMS)
