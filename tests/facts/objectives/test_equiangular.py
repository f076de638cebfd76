import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.equiangular import Equiangular
from jaxemb.ops.equiangular import coherence
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))

ENCODER = Transformer(stem=Patches(4), width=16, depth=1, blocks=(Block(Attention(2)),))
BATCH = {"images": normal(1, 3, 8, 8, 3), "labels": jnp.array([0, 5, 11])}


def start(**fields):
    objective = Equiangular(encoder=ENCODER, classes=12, dims=6, **fields)
    return objective, jax.jit(objective.init)(jax.random.key(0), BATCH)


def test_logits_are_cosines_with_fixed_vectors():
    objective, variables = start()
    assert set(variables["params"]) == {"encoder", "head"} and variables["params"]["head"]["kernel"].shape == (16, 6)
    logits = jax.jit(lambda v: objective.apply(v, BATCH, method="logits"))(variables)
    assert logits.shape == (3, 12) and float(jnp.abs(logits).max()) <= 1 / 0.07
    head = variables["params"]["head"]
    larger = {"params": variables["params"] | {"head": {"kernel": 3 * head["kernel"], "bias": 3 * head["bias"]}}}
    np.testing.assert_allclose(objective.apply(larger, BATCH, method="logits"), logits, rtol=1e-4, atol=1e-4)


def test_the_loss_is_of_those_logits():
    objective, variables = start()
    logits = np.asarray(objective.apply(variables, BATCH, method="logits"), np.float64)
    loss = objective.apply(variables, BATCH, None, NOW, method="loss")
    expected = (np.log(np.exp(logits).sum(-1)) - logits[np.arange(3), BATCH["labels"]]).mean()
    assert float(loss.value) == pytest.approx(expected, rel=1e-5)


def test_perfect_alignment_with_orthogonal_vectors():
    """The loss is ln(1 + (N - 1) exp(-1 / tau)), not 0."""
    objective = Equiangular(encoder=ENCODER, classes=12, dims=12, tau=0.5)
    basis = objective.bind({"params": start()[1]["params"]}).basis
    logits = basis @ basis.T / objective.tau
    loss = -jnp.diag(jax.nn.log_softmax(logits)).mean()
    assert float(loss) == pytest.approx(np.log(1 + 11 * np.exp(-2)), rel=1e-4)


def test_controls():
    drawn, trained = (start(fixed=f) for f in ("random", "trained"))
    assert "basis" not in drawn[1]["params"] and trained[1]["params"]["basis"].shape == (12, 6)
    random = drawn[0].bind(drawn[1]).basis
    np.testing.assert_array_equal(random, trained[1]["params"]["basis"])
    fixed, variables = start()
    assert float(coherence(fixed.bind(variables).basis)) < float(coherence(random))


def test_it_learns_three_examples():
    objective, variables = start(smoothing=0.1)

    @jax.jit
    def step(params):
        value, grads = jax.value_and_grad(
            lambda p: objective.apply({"params": p}, BATCH, None, NOW, method="loss", rngs={"dropout": jax.random.key(0)}).value
        )(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), value

    params, values = variables["params"], []
    for _ in range(30):
        params, value = step(params)
        values.append(float(value))
    assert values[-1] < values[0] / 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": (2, 3), "label": ("a", "b")}, r"one label, not classes=\(2, 3\)"),
        ({"tau": 0.0}, "tau must be above 0"),
        ({"fixed": "no"}, "fixed='no'; valid: equiangular, random, trained"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigError, match=message):
        Equiangular(encoder=ENCODER, **fields)
