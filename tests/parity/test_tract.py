"""TrAct for dense layers, convolutions and whole training runs (core_tract_*.npz)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxemb.layers.dense import Dense
from jaxemb.nn.mlp import MLP
from jaxemb.objectives.classify import Classify
from jaxemb.ops.tract import conv_moment, deferred, dense_moment, tract_conv, tract_dense
from jaxemb.train.optim import Optim
from jaxemb.train.state import TrainState
from jaxemb.train.step import make_step

# The file's README states these; the array file does not hold them.
SGDM = Optim("sgd", lr=0.08, schedule="constant", options={"momentum": 0.9})
ADAM = Optim("adam", lr=0.01, schedule="constant", options={"b1": 0.9, "b2": 0.999, "eps": 1e-8})


@pytest.fixture
def exact(precision):
    """1e-9 relative in 64 bits."""
    return dataclasses.replace(precision, rtol=1e-9, atol=1e-12) if precision.name == "float64" else precision


def cases(arrays):
    return sorted({name.split("_")[0] for name in arrays if name.startswith("case")})


def compare(case, arrays, exact, layer, channels, moment):
    """`layer(x, w, lambda)`, with the outputs in the layout of the file, against all arrays of a case; and what an update does with
    the plain gradient and `moment(x, lambda)` of the rows, whose numbers count in the order of `flat`."""
    get = {k.removeprefix(f"{case}_"): exact.array(v) for k, v in arrays.items() if k.startswith(f"{case}_")}
    around = [axis for axis in range(get["gout"].ndim) if axis != channels]
    bias = get.get("b", jnp.zeros(get["gout"].shape[channels], exact.name))
    for i, lam in enumerate(arrays["lambdas"]):
        f = lambda x, w, b, lam=float(lam): layer(x, w, lam) + jnp.expand_dims(b, around)  # noqa: E731
        out, pull = jax.vjp(f, get["x"], get["w"], bias)
        grads = dict(zip(("grad_x", f"grad_w_l{i}", "grad_b"), pull(get["gout"]), strict=True))
        for name, got in {"out": out, **grads}.items():
            if name != "grad_b" or "b" in get:
                exact.check(got, arrays[f"{case}_{name}"], f"{case} {name}")
        if exact.name == "float64":  # in 32 bits the inverse of a small lambda blows up the rounding of the plain gradient
            of_rows, flat = moment(get["x"], float(lam))
            step = deferred({"kernel": flat(get["plain_grad_w"])}, {"kernel": (of_rows,)})["kernel"]
            exact.check(step, flat(get[f"grad_w_l{i}"]), f"{case} grad_w_l{i} from the plain gradient")


def test_dense(load, exact):
    arrays = load("core_tract_linear.npz")
    for case in cases(arrays):
        channels = arrays[f"{case}_gout"].ndim - 1
        moment = lambda x, lam: (dense_moment(x, lam), lambda w: w.T)  # noqa: E731
        compare(case, arrays, exact, lambda x, w, lam: tract_dense(x, w.T, lam), channels, moment)


def test_convolution(load, exact):
    arrays = load("core_tract_conv.npz")
    for case in cases(arrays):
        strides = tuple(int(s) for s in arrays[f"{case}_stride"])
        padding = tuple((int(p), int(p)) for p in arrays[f"{case}_padding"])

        def layer(x, w, lam, strides=strides, padding=padding):
            z = tract_conv(x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), lam, strides=strides, padding=padding)
            return z.transpose(0, 3, 1, 2)

        def moment(x, lam, size=arrays[f"{case}_w"].shape[2:], strides=strides, padding=padding):
            found = conv_moment(x.transpose(0, 2, 3, 1), size, lam, strides=strides, padding=padding)
            return found, lambda w: w.transpose(2, 3, 1, 0).reshape(len(found), -1)

        compare(case, arrays, exact, layer, channels=1, moment=moment)


@dataclasses.dataclass(frozen=True)
class Mixed(Optim):
    """The first layer, bias included, by SGD, the rest by Adam."""

    def make(self, steps, scanned=()):
        def label(params):
            return jax.tree_util.tree_map_with_path(lambda path, _: "first" if "stem" in str(path) else "rest", params)

        return optax.multi_transform({"first": SGDM.make(steps), "rest": ADAM.make(steps)}, label)


@pytest.mark.parametrize("name, optim", [("sgdm", SGDM), ("adam", ADAM), ("mixed", Mixed())])
def test_training(load, exact, name, optim):
    arrays = load("core_tract_train.npz")
    for kind, lam in (("plain", None), ("tract", float(arrays["lambda"]))):
        if f"{kind}_{name}_loss" in arrays:
            follow(arrays, exact, optim, lam, f"{kind}_{name}")


class Exact(Classify):
    """Its head has the dtypes of its encoder; that of the product stays in float32."""

    def setup(self):
        self.head = Dense(sum(self._classes))


def follow(arrays, exact, optim, lam, name):
    steps, _, _ = arrays["x"].shape
    optim = dataclasses.replace(optim, tract=() if lam is None else (("encoder/stem", lam),))
    width, classes = len(arrays["w1"]), len(arrays["w2"])
    encoder = MLP(widths=(width,), activation="tanh", **exact.dtypes)
    model = Exact(encoder=encoder, classes=classes)
    params = {
        "encoder": {"stem": {"kernel": exact.array(arrays["w1"].T), "bias": exact.array(arrays["b1"])}},
        "head": {"kernel": exact.array(arrays["w2"].T), "bias": exact.array(arrays["b2"])},
    }
    state = TrainState(jnp.int32(0), params, {}, None, optim.make(steps).init(params), jax.random.key(0))
    step = jax.jit(make_step(model, optim, steps=steps))
    losses = []
    for x, y in zip(arrays["x"], arrays["y"], strict=True):
        state, metrics = step(state, {"images": exact.array(x), "labels": jnp.asarray(y, jnp.result_type(int))})
        losses.append(metrics["loss"])
    exact.check(np.asarray(losses), arrays[f"{name}_loss"], f"{name} loss")
    exact.check(state.params["encoder"]["stem"]["kernel"].T, arrays[f"{name}_w1"], f"{name} w1")
    exact.check(state.params["head"]["kernel"].T, arrays[f"{name}_w2"], f"{name} w2")
