"""What every objective keeps to, under the one train step."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny

from jaxemb.config import ConfigError
from jaxemb.discover import members
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Tokens
from jaxemb.objectives.base import Objective
from jaxemb.objectives.byol import BYOL
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.next_token import NextToken, decoder
from jaxemb.ops.draws import Draws
from jaxemb.pooling.mean import Mean
from jaxemb.train.compilations import no_compilation
from jaxemb.train.encode import Encoder
from jaxemb.train.optim import Optim
from jaxemb.train.sharding import make_mesh
from jaxemb.train.spent import WARM
from jaxemb.train.state import create
from jaxemb.train.step import make_step

STEPS, BATCH = 50, 8
OPTIM = Optim("adamw", lr=3e-3, warmup=5, clip=1.0)
EMA = (0.9, 1.0)


@functools.cache
def raw():
    rng = np.random.default_rng(0)
    labels = np.arange(BATCH, dtype=np.int32) % 2
    y, x = np.mgrid[:32, :32] / 4
    waves = np.where(labels[:, None, None] == 0, np.sin(x)[None], np.sin(y)[None])
    images = waves[..., None] * np.ones(3) + 0.1 * rng.normal(size=(BATCH, 32, 32, 3))
    tokens = (np.arange(16, dtype=np.int32)[None] + labels[:, None]) % (3 + labels[:, None])
    places = np.arange(16)[None]
    misuse = {"error": labels * 4, "candidates": places % 4 == 0, "repairs": (places == 8) & (labels[:, None] == 1)}
    misuse["candidates"] = np.broadcast_to(misuse["candidates"], (BATCH, 16))
    vectors = rng.normal(size=(2, 16))[labels] + 0.5 * rng.normal(size=(BATCH, 16))
    vectors = {"vectors": vectors.astype(np.float32)}
    return {"images": images.astype(np.float32), "tokens": tokens, "labels": labels, **misuse, **vectors}


class Run:
    """One objective with its jitted step, on fixed examples: two classes of gratings, and two sequences that repeat."""

    def __init__(self, member):
        self.objective = tiny(member.cls)
        self.batch = functools.cache(self._batch)
        self.step = jax.jit(make_step(self.objective, OPTIM, steps=STEPS, ema=EMA))
        self.create = jax.jit(lambda b, seed: create(self.objective, OPTIM.make(STEPS), b, seed=seed, ema=True))

    def shapes(self):
        return jax.eval_shape(lambda: self.create(self.batch(0), 0).variables())

    def _batch(self, i):
        return jax.tree.map(jnp.asarray, self.objective.prepare(raw(), Draws((i,), BATCH)))

    def go(self, state, first, last):
        losses = []
        for i in range(first, last):
            state, metrics = self.step(state, self.batch(i))
            losses.append(float(metrics["loss"]))
        return state, losses


@pytest.fixture(scope="module", params=members("objectives"), ids=lambda m: m.name)
def run(request):
    return Run(request.param)


def test_loss_falls_and_nothing_recompiles(run):
    state, losses = run.go(run.create(run.batch(0), 0), 0, WARM)
    with no_compilation():
        losses += run.go(state, WARM, STEPS)[1]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_same_seed_same_losses_another_seed_others(run):
    losses = [run.go(run.create(run.batch(0), seed), 0, 4)[1] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] and losses[0] != losses[2]


def test_restart_equals_no_restart(run):
    through, losses = run.go(run.create(run.batch(0), 0), 0, 12)
    half, _ = run.go(run.create(run.batch(0), 0), 0, 6)
    copied = jax.tree.map(
        lambda x: jax.random.wrap_key_data(np.array(jax.random.key_data(x))) if is_key(x) else jnp.asarray(np.array(x)), half
    )
    resumed, rest = run.go(copied, 6, 12)
    assert losses[6:] == rest
    for a, b in zip(jax.tree.leaves(through.params), jax.tree.leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(a, b)


def is_key(x):
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def parameters_without_an_average(run):
    """(trained with targets of the parameters themselves, with those of a copy that no gradient can reach): of the real step."""
    state, batch = run.create(run.batch(0), 0), run.batch(0)
    state = state.replace(ema=jax.tree.map(jnp.copy, state.params))  # what an average was before the first update
    alone = jax.jit(make_step(run.objective, OPTIM, steps=STEPS))
    return alone(state.replace(ema=None), batch)[0].params, run.step(state, batch)[0].params


def test_no_gradient_reaches_the_targets(run):
    if type(run.objective).targets is Objective.targets:
        return  # there are none
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *parameters_without_an_average(run))


def test_a_gradient_that_reaches_the_targets_is_found(run, monkeypatch):
    """The planted fault: a step that does not stop it."""
    if type(run.objective) is not BYOL:
        return  # one member is enough
    monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
    alone, copied = parameters_without_an_average(run)
    different = [not np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*map(jax.tree.leaves, (alone, copied)), strict=True)]
    assert any(different)


def test_an_embedding_depends_on_its_example_alone(run):
    """Not on the examples beside it, their number or order, nor on the devices and the zeros that fill the last call."""
    variables, batch = run.create(run.batch(0), 0).variables(), jax.device_get(run.batch(0))
    one, eight = (Encoder(run.objective, make_mesh({"data": n}), size).bind(variables) for n, size in ((1, BATCH), (8, 2 * BATCH)))
    wanted = one.encode(batch)
    assert wanted.ndim == 2 and len(wanted) == BATCH
    np.testing.assert_array_equal(one.encode(batch), wanted)
    for places, model in ((slice(None, None, -1), one), ([0, 0, 5, 0], one), ([3, 1], eight)):
        got = model.encode({name: x[places] for name, x in batch.items()})
        np.testing.assert_allclose(got, wanted[places], rtol=1e-4, atol=1e-5)


def test_encode_and_features_read_the_tower_of_a_role(run):
    batch = run.batch(0)
    variables = run.shapes()
    nested = {"query": {name: x[:3] for name, x in batch.items()}, "document": batch}

    def found(method, *role):
        return jax.eval_shape(lambda v: run.objective.apply(v, nested, *role, method=method), variables)

    for method in ("encode", "features"):
        assert inspect.signature(getattr(run.objective, method)).parameters["role"].default == "document"
        for role, rows in ((("query",), 3), ((), BATCH)):
            assert {len(x) for x in jax.tree.leaves(found(method, *role))} == {rows}
        with pytest.raises(ConfigError, match="role='passage' is no tower of the batch, which has document, query"):
            found(method, "passage")


HEED = {"Classify", "Equiangular", "MaskedAutoEncoding", "MaskedTokens", "NextToken", "PairScores", "Pairs", "VariableMisuse"}
HEED |= {"BinaryPairs"}
"""Those that read token sequences, and heed what a batch says of them; and what reads vectors, which have no tokens."""


@pytest.mark.parametrize("name", ["mask", "segments"])
def test_a_batch_whose_padding_would_be_taken_for_content_is_refused(run, name):
    if type(run.objective).__name__ in HEED:
        return
    told = {name: np.ones((BATCH, 16), {"mask": bool, "segments": np.int32}[name])}
    with pytest.raises(ConfigError, match=f"the batch holds '{name}', which {type(run.objective).__name__} .* cannot heed"):
        run.objective.prepare(raw() | told, Draws((0,), BATCH))
    for method in ("encode", "features"):
        with pytest.raises(ConfigError, match=f"the batch holds '{name}'"):
            jax.eval_shape(lambda v, m=method: run.objective.apply(v, run.batch(0) | told, method=m), run.shapes())


TEXT = {"encoder": decoder(stem=Tokens(16), width=8, depth=1, blocks=(Block(Attention(2)),)), "pooling": Mean()}


@pytest.mark.parametrize("model", [NextToken(**TEXT), Classify(**TEXT, inputs="tokens")], ids=lambda m: type(m).__name__)
def test_padding_changes_no_embedding_of_a_text(model):
    ids = np.random.default_rng(0).integers(0, 16, (2, 5), np.int32)
    run = jax.jit(lambda v, b: model.apply(v, b, method="encode"))
    variables = jax.jit(model.init)(jax.random.key(0), {"tokens": ids, "labels": np.zeros(2, np.int32)})
    wanted = run(variables, {"tokens": ids})
    padded = np.pad(ids, ((0, 0), (0, 3)), constant_values=7)
    np.testing.assert_allclose(
        run(variables, {"tokens": padded, "mask": np.arange(8)[None] < [[5]] * 2}), wanted, rtol=1e-4, atol=1e-5
    )
