import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxemb.objectives.base import Objective
from jaxemb.train.optim import Optim
from jaxemb.train.state import create
from jaxemb.train.step import make_step, momentum_at
from jaxemb.types import Loss


class Mean(Objective):
    """loss = mean over the batch of (w - x)^2: its gradient is 2 (w - mean x)."""

    def setup(self):
        self.w = self.param("w", nn.initializers.zeros, (2,))

    def targets(self, batch, now):
        return self.w

    def loss(self, batch, targets, now):
        return Loss(jnp.square(self.w[None] - batch["x"]).mean(0).sum(), logs={"teacher": targets.sum()})

    def encode(self, batch):
        return batch["x"] * self.w[None]


class Noisy(Mean):
    """With dropout noise and a running statistic."""

    def setup(self):
        super().setup()
        self.seen = self.variable("stats", "seen", lambda: jnp.zeros(()))

    def loss(self, batch, targets, now):
        self.seen.value = self.seen.value + 1
        noise = jax.random.normal(self.make_rng("dropout"), ())
        return Loss(super().loss(batch, targets, now).value, logs={"noise": noise})


X = {"x": jnp.arange(12.0).reshape(6, 2)}
SGD = Optim("sgd", lr=0.25, schedule="constant")


def start(objective, ema=False, batch=X):
    return create(objective, SGD.make(10), batch, seed=0, ema=ema)


def test_one_update_by_hand():
    state, metrics = make_step(Mean(), SGD, steps=10)(start(Mean()), X)
    mean = np.array([5.0, 6.0])
    np.testing.assert_allclose(state.params["w"], 0.25 * 2 * mean)
    assert int(state.step) == 1 and float(metrics["lr"]) == 0.25
    assert float(metrics["grad_norm"]) == pytest.approx(2 * np.linalg.norm(mean))


def test_targets_come_from_the_average_of_before_and_it_moves_after():
    step = make_step(Mean(), SGD, steps=10, ema=(0.5, 1.0))
    state, first = step(start(Mean(), ema=True), X)
    assert float(first["teacher"]) == 0
    np.testing.assert_allclose(state.ema["w"], 0.5 * state.params["w"])
    averaged = state.ema["w"].sum()
    _, second = step(state, X)
    assert float(second["teacher"]) == pytest.approx(float(averaged))


def test_without_an_average_the_targets_come_from_the_trained_parameters():
    step = make_step(Mean(), SGD, steps=10)
    state, _ = step(start(Mean()), X)
    _, metrics = step(state, X)
    assert float(metrics["teacher"]) == pytest.approx(float(state.params["w"].sum()))


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulation_equals_the_whole_batch(parts):
    whole, m = make_step(Mean(), SGD, steps=10)(start(Mean()), X)
    pieces, n = make_step(Mean(), SGD, steps=10, accumulate=parts)(start(Mean()), X)
    np.testing.assert_allclose(whole.params["w"], pieces.params["w"], rtol=1e-6)
    assert float(m["loss"]) == pytest.approx(float(n["loss"]))


class Sows(nn.Module):
    """Twice the weight as a loss of its own."""

    @nn.compact
    def __call__(self):
        w = self.param("w", lambda _: jnp.ones(()))
        self.sow("losses", "own", 2 * w)
        return w


class Counted(Mean):
    """The mean over the rows that `mask` keeps, as a language model's over its tokens; and a term that a module sows."""

    def setup(self):
        super().setup()
        self.a = Sows()

    def loss(self, batch, targets, now):
        self.a()
        mask = batch["mask"].astype(jnp.float32)
        error = (jnp.square(self.w[None] - batch["x"]).sum(1) * mask).sum()
        return Loss(error / jnp.maximum(mask.sum(), 1), mask.sum(), {"error": error / jnp.maximum(mask.sum(), 1)})


@pytest.mark.parametrize("kept", [[1, 1, 1, 0, 1, 0], [1, 0, 1, 0, 0, 0], [0] * 6], ids=["uneven", "an empty part", "nothing"])
def test_accumulation_weights_means_by_their_denominators(kept):
    batch = {**X, "mask": jnp.array(kept, bool)}
    (whole, m), (pieces, n) = (
        make_step(Counted(), SGD, steps=10, accumulate=k)(start(Counted(), batch=batch), batch) for k in (1, 2)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), whole.params, pieces.params)
    for name in ("loss", "error", "own", "grad_norm"):
        assert float(m[name]) == pytest.approx(float(n[name]), rel=1e-6), name


def test_teacher_and_student_share_the_key_of_now_and_know_the_time():
    class Timed(Mean):
        def targets(self, batch, now):
            return jax.random.normal(now.key, ()), now.step, now.total

        def loss(self, batch, targets, now):
            drawn, step, total = targets
            own = jax.random.normal(self.make_rng("dropout"), ())
            same = (drawn == jax.random.normal(now.key, ())) & (step == now.step)
            logs = {"same": same, "step": step, "total": total, "differs": own != drawn, "drawn": drawn}
            return Loss(self.w.sum(), logs={name: jnp.asarray(x).astype(jnp.float32) for name, x in logs.items()})

    for accumulate in (1, 2):
        step = make_step(Timed(), SGD, steps=10, accumulate=accumulate)
        state, first = step(start(Timed()), X)
        _, second = step(state, X)
        for i, logs in enumerate((first, second)):
            assert [float(logs[n]) for n in ("same", "step", "total", "differs")] == [1, i, 10, 1]
        assert float(first["drawn"]) != float(second["drawn"])


def test_statistics_are_carried_and_keys_differ_by_step():
    step = make_step(Noisy(), SGD, steps=10)
    state = start(Noisy())
    seen = float(state.stats["stats"]["seen"])
    state, a = step(state, X)
    state, b = step(state, X)
    assert float(state.stats["stats"]["seen"]) == seen + 2
    assert float(a["noise"]) != float(b["noise"])


def test_every_micro_batch_moves_the_statistics_and_has_noise_of_its_own():
    state = start(Noisy())
    new, _ = make_step(Noisy(), SGD, steps=10, accumulate=3)(state, X)
    assert float(new.stats["stats"]["seen"]) == float(state.stats["stats"]["seen"]) + 3


class Composed(Objective):
    """Two modules that sow under one name, of which one runs twice."""

    def setup(self):
        self.a, self.b = Sows(), Sows()

    def loss(self, batch, targets, now):
        return Loss(self.a() + self.a() + self.b())

    def encode(self, batch):
        return batch["x"]


def test_losses_that_modules_sow_are_added_and_logged():
    state = start(Composed())
    assert "losses" not in state.stats
    _, metrics = make_step(Composed(), SGD, steps=10)(state, X)
    # 3 of the objective's own; 2 of each module, however often it ran.
    assert float(metrics["own"]) == 4 and float(metrics["loss"]) == 7
    new, _ = make_step(Composed(), SGD, steps=10, accumulate=2)(state, X)
    np.testing.assert_allclose(new.params["a"]["w"], 1 - 0.25 * (2 + 2))


def test_an_average_of_half_precision_parameters_moves():
    """In bfloat16 a momentum of .999 would round every step away."""

    class Half(Mean):
        def setup(self):
            self.w = self.param("w", nn.initializers.ones, (2,), jnp.bfloat16)

        def loss(self, batch, targets, now):
            return Loss(self.w.astype(jnp.float32).sum())

        def encode(self, batch):
            return batch["x"]

    step = jax.jit(make_step(Half(), Optim("sgd", lr=1.0, schedule="constant"), steps=10, ema=(0.999, 0.999)))
    state = start(Half(), ema=True)
    for _ in range(3):
        state, _ = step(state, X)
    assert state.params["w"].dtype == jnp.bfloat16 and state.ema["w"].dtype == jnp.float32
    np.testing.assert_allclose(state.ema["w"], 1 - (0.001 * 3 + 0.000_999 * 2 + 0.000_998), rtol=1e-6)


def test_momentum_at_its_ends():
    assert float(momentum_at(0, (0.996, 1.0), 100)) == pytest.approx(0.996)
    assert float(momentum_at(100, (0.996, 1.0), 100)) == pytest.approx(1.0)
