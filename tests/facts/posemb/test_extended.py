import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.ops.allow import Allow
from jaxemb.ops.paths import map_paths
from jaxemb.posemb.base import Places
from jaxemb.posemb.extended import Extended, extend_table, new_rows
from jaxemb.posemb.learned import Learned
from jaxemb.train.optim import Optim
from jaxemb.train.state import create
from jaxemb.train.step import make_step

TABLE = normal(0, 5, 3)


def line(n):
    return jnp.asarray(np.arange(n, dtype=np.int32)[None, :, None])


def add(posemb, variables, pos, grid=None):
    return apply(posemb, variables, jnp.zeros((pos.shape[0], pos.shape[1], 3)), Places(pos, grid=grid), method="add")


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
@pytest.mark.parametrize("run", [lambda f: f, jax.jit])
def test_original_rows_are_found_again_exactly(factor, run):
    whole = run(lambda t: extend_table(t, factor))(TABLE)
    assert whole.shape == (5 * factor, 3)
    np.testing.assert_array_equal(whole[::factor], TABLE)


def test_two_rows_by_hand():
    e = jnp.array([[0.0, 4.0], [8.0, 0.0]])
    np.testing.assert_array_equal(extend_table(e, 2), [[0, 4], [4, 2], [8, 0], [8, 0]])
    np.testing.assert_array_equal(extend_table(e, 2, tail="extrapolate")[3], [12, -2])
    np.testing.assert_array_equal(extend_table(e, 2, "recurrent"), e[jnp.array([0, 1, 0, 1])])
    np.testing.assert_array_equal(extend_table(e, 2, "grouped"), e[jnp.array([0, 0, 1, 1])])


def test_which_rows_are_new():
    np.testing.assert_array_equal(new_rows(2, 3, "interpolate"), [0, 1, 1, 0, 1, 1])
    np.testing.assert_array_equal(new_rows(2, 3, "recurrent"), [0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("how", ["interpolate", "recurrent"])
def test_both_parts_together_are_the_extended_table(how):
    posemb = Extended(original=5, factor=3, how=how)
    variables = posemb.variables_from(TABLE)
    assert variables["params"]["rows"].shape == (10, 3)
    np.testing.assert_array_equal(variables["constants"]["table"], TABLE)
    np.testing.assert_array_equal(add(posemb, variables, line(15))[0], extend_table(TABLE, 3, how))
    fresh = init(posemb, jax.random.key(1), jnp.zeros((1, 1, 3)), Places(line(1)), method="add")  # without a table: one is drawn
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, variables)
    drawn = posemb.variables_from(fresh["constants"]["table"])
    np.testing.assert_array_equal(fresh["params"]["rows"], drawn["params"]["rows"])


def test_a_short_input_sees_the_original_model():
    posemb = Extended(original=5, factor=3)
    variables = posemb.variables_from(TABLE)
    for n in (1, 5):
        pos = apply(posemb, {}, Places(line(n), grid=(n,)), method="locate")
        np.testing.assert_array_equal(pos, 3 * line(n))
        expected = apply(Learned(shape=(5,)), {"params": {"table": TABLE}}, jnp.zeros((1, n, 3)), Places(line(n)), method="add")
        np.testing.assert_array_equal(add(posemb, variables, pos), expected)
    np.testing.assert_array_equal(apply(posemb, {}, Places(line(6), grid=(6,)), method="locate"), line(6))
    recurrent = Extended(original=5, factor=3, how="recurrent")
    np.testing.assert_array_equal(apply(recurrent, {}, Places(line(5), grid=(5,)), method="locate"), line(5))


def test_training_examples_are_at_random_places(key):
    posemb = Extended(original=2, factor=2)

    def locate(module, n):
        return apply(module, {}, Places(line(n), grid=(n,), rows=200, train=True), method="locate", rngs={"dropout": key})

    pos = locate(posemb, 2)
    assert pos.shape == (200, 2, 1)
    np.testing.assert_array_equal(pos[:, 1] - pos[:, 0], 1)
    assert set(np.ravel(pos[:, 0])) == {0, 1, 2}  # u + 1 <= 3
    np.testing.assert_array_equal(locate(posemb, 4), np.broadcast_to(line(4), (200, 4, 1)))
    np.testing.assert_array_equal(locate(Extended(original=2, factor=2, skip=False), 2), 2 * line(2))


PACKED = Allow(segments=jnp.array([[8] * 6 + [3] * 5]))
TWO = jnp.asarray(np.concatenate([line(6), line(5)], axis=1))


def test_texts_packed_into_one_row_are_short_each_on_its_own():
    where = apply(Extended(original=5, factor=3), {}, Places(TWO, allow=PACKED), method="locate")
    np.testing.assert_array_equal(where[0, :, 0], [*range(6), *range(0, 15, 3)])
    padded = Places(line(6), grid=(6,), allow=Allow(jnp.arange(6)[None] < jnp.array([[6], [5]])))
    where = apply(Extended(original=5, factor=3), {}, padded, method="locate")
    np.testing.assert_array_equal(where[..., 0], [range(6), [0, 3, 6, 9, 12, 0]])  # padding: at 0


def test_padding_has_a_row_wherever_it_stands(key):
    """RoBERTa counts it as -1, where no row is: what it would add is no number, and that spreads."""
    pos = jnp.asarray(np.array([[[0], [1], [-1]]], np.int32))
    places = Places(pos, grid=(3,), allow=Allow(jnp.asarray(np.array([[True, True, False]]))))
    for posemb in (Extended(original=5), Extended(original=5, how="recurrent")):
        assert apply(posemb, {}, places, method="locate").min() == 0
        train = Places(pos, grid=(3,), allow=places.allow, train=True)
        moved = apply(posemb, {}, train, method="locate", rngs={"dropout": key})
        assert moved.min() >= 0 and moved.max() < 10


def test_texts_packed_into_one_row_are_moved_each_on_its_own(key):
    many = Allow(segments=jnp.broadcast_to(PACKED.segments, (300, 11)))
    at = Places(TWO, allow=many, rows=300, train=True)
    moved = apply(Extended(original=4, factor=2), {}, at, method="locate", rngs={"dropout": key}) - TWO
    first, second = moved[:, :6, 0], moved[:, 6:, 0]
    assert (first == first[:, :1]).all() and (second == second[:, :1]).all()
    assert set(np.ravel(first)) == {0, 1, 2} and set(np.ravel(second)) == {0, 1, 2, 3}  # u + n <= 8
    assert (first[:, 0] != second[:, 0]).any()


def test_rows_outside_are_nan():
    posemb = Extended(original=5, factor=2)
    out = add(posemb, posemb.variables_from(TABLE), jnp.array([[[9], [10]]]))
    assert jnp.isfinite(out[0, 0]).all() and jnp.isnan(out[0, 1]).all()


# ---- training --------------------------------------------------------------------------------------------------------------------

BATCH = {"tokens": token_ids(0, 7, 4, 6), "labels": jnp.array([0, 1, 1, 0])}


def one_step(how, freeze=()):
    """The states before and after a step with weight decay, from a trained table; the paths of what moved."""
    encoder = Transformer(
        stem=Tokens(7), width=8, depth=1, blocks=(Block(Attention(2)),), pos=Extended(original=6, factor=2, how=how)
    )
    objective = Classify(encoder=encoder, classes=2, inputs="tokens")
    optim = Optim(lr=0.01, schedule="constant", decay=0.5, freeze=freeze)
    before = jax.jit(lambda: create(objective, optim.make(10), BATCH, seed=0, ema=False))()
    # The head of Classify starts from zeros, where no gradient passes.
    params = before.params | {"head": jax.tree.map(lambda x: x + normal(2, *x.shape), before.params["head"])}
    before = before.replace(params=params)
    after, _ = jax.jit(make_step(objective, optim, steps=10))(before, BATCH)
    moved = map_paths(
        lambda path, same: None if same else path, jax.tree.map(lambda a, b: bool((a == b).all()), before.params, after.params)
    )
    return before, after, set(jax.tree.leaves(moved))


@pytest.mark.parametrize("how", ["interpolate", "recurrent"])
def test_a_step_with_weight_decay_leaves_the_original_rows_bit_identical(how):
    before, after, moved = one_step(how)
    np.testing.assert_array_equal(
        after.stats["constants"]["encoder"]["pos"]["table"], before.stats["constants"]["encoder"]["pos"]["table"]
    )
    rows = after.params["encoder"]["pos"]["rows"] - before.params["encoder"]["pos"]["rows"]
    assert bool((rows != 0).any(1).all())  # weight decay reaches those that no example used
    assert {"encoder/pos/rows", "encoder/stem/embedding", "encoder/block_0/attention/q/kernel", "head/kernel"} <= moved
    assert not any("table" in path for path in moved)


def test_nothing_but_the_rows_is_trained_with_the_regex_of_the_docstring():
    regex = "^(?!.*pos/rows)"
    assert regex in Extended.__doc__
    assert one_step("interpolate", freeze=(regex,))[2] == {"encoder/pos/rows"}


# ---- what does not fit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"original": 0}, "Extended needs original >= 1 and factor >= 2, not 0 and 2"),
        ({"factor": 1}, "Extended needs original >= 1 and factor >= 2, not 128 and 1"),
        ({"how": "grouped"}, "Extended.how='grouped'; valid: interpolate, recurrent"),
        ({"tail": "wrap"}, "Extended.tail='wrap'; valid: clamp, extrapolate"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigError, match=message):
        Extended(**fields)


def test_inputs_that_do_not_fit_are_named():
    posemb = Extended(original=5, factor=2)
    with pytest.raises(ConfigError, match="Extended is for sequences, it was given positions of 2 numbers"):
        apply(posemb, {}, Places(jnp.zeros((1, 4, 2), jnp.int32)), method="locate")
    with pytest.raises(ConfigError, match="Extended has 5 x 2 = 10 rows, the input has 11 positions"):
        apply(posemb, {}, Places(line(11), grid=(11,)), method="locate")
    with pytest.raises(ConfigError, match="the table has 4 rows, not original=5"):
        posemb.variables_from(TABLE[:4])
