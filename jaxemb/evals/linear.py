"""The linear probe trained by gradient descent, as I-JEPA and its kin report it."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.base import Encodes
from jaxemb.evals.labels import Labelled, Score
from jaxemb.evals.probe import standardise
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearSGD(Labelled):
    """A linear layer on standardised frozen features by SGD with momentum .9, the learning rate divided by 10 twice.

    All learning rates are trained side by side, and the one that is best on a tenth of the training rows is reported. The I-JEPA
    paper follows VISSL (frozen EMA encoder, average-pooled last layer, 28 epochs, batch norm before the layer, a small
    sweep of learning rates and weight decay); these constants are from memory, unverified.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture", 2023, "arxiv.org/abs/2301.08243"
    )

    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    decay: float = 5e-4
    epochs: int = 28
    batch: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.epochs, self.batch, len(self.rates)) < 1:
            raise ConfigError("epochs, batch and the number of rates must be at least 1")

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        train, test = self.rows(data, seed)
        z, z_test = model.encode(train), model.encode(test)

        def fit(known: np.ndarray, known_test: np.ndarray) -> Score:
            x, x_test = (jnp.asarray(a, jnp.float32) for a in standardise(z[known], z_test[known_test]))
            return lambda y, y_test, _: self._score(x, x_test, y, y_test, seed)

        return self.each_label(train, test, fit)

    def _score(self, x: jax.Array, x_test: jax.Array, y: np.ndarray, y_test: np.ndarray, seed: int) -> dict[str, float]:
        order = np.random.default_rng(seed).permutation(len(x))
        held, rest = order[: max(1, len(x) // 10)], order[max(1, len(x) // 10) :]
        classes = int(max(y.max(), y_test.max())) + 1
        layers = self._fit(x[rest], jnp.asarray(y[rest]), classes, jax.random.key(seed))
        hits = [(jnp.einsum("nd,rdv->rnv", part, layers["w"]) + layers["a"][:, None]).argmax(-1) for part in (x[held], x_test)]
        best = int((hits[0] == jnp.asarray(y[held])[None]).mean(1).argmax())
        return {"top1": float((hits[1][best] == jnp.asarray(y_test)).mean()), "rate": self.rates[best]}

    def _fit(self, x: jax.Array, y: jax.Array, classes: int, key: jax.Array) -> dict[str, jax.Array]:
        """Layers of all learning rates, stacked."""
        batch = min(self.batch, len(x))
        return _train(x, y, jnp.asarray(self.rates, x.dtype), key, classes, batch, self.epochs * (len(x) // batch), self.decay)


@partial(jax.jit, static_argnames=("classes", "batch", "steps", "decay"))
def _train(
    x: jax.Array, y: jax.Array, rates: jax.Array, key: jax.Array, classes: int, batch: int, steps: int, decay: float
) -> dict[str, jax.Array]:
    done = jnp.arange(steps) / steps
    factors = jnp.where(done < 0.5, 1.0, jnp.where(done < 0.75, 0.1, 0.01)).astype(x.dtype)

    def one(rate: jax.Array) -> dict[str, jax.Array]:
        layer = {"w": jnp.zeros((x.shape[1], classes), x.dtype), "a": jnp.zeros((classes,), x.dtype)}

        def loss(layer: dict[str, jax.Array], ids: jax.Array) -> jax.Array:
            logits = x[ids] @ layer["w"] + layer["a"][None]
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[ids]).mean()

        def step(carry: tuple, now: tuple) -> tuple[tuple, None]:
            (layer, velocity), (key, factor) = carry, now
            grads = jax.grad(loss)(layer, jax.random.choice(key, len(x), (batch,)))
            velocity = jax.tree.map(lambda v, g, p: 0.9 * v + g + decay * p, velocity, grads, layer)
            return (jax.tree.map(lambda p, v: p - rate * factor * v, layer, velocity), velocity), None

        start = (layer, jax.tree.map(jnp.zeros_like, layer))
        return jax.lax.scan(step, start, (jax.random.split(key, steps), factors))[0][0]

    return jax.vmap(one)(rates)
