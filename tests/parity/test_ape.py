"""Longer tables of absolute positions, and where texts are cut into windows, against the formulas of LongEmbed (text_ape.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply

from jaxemb.posemb.base import Places
from jaxemb.posemb.extended import Extended, extend_table, new_rows
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.rescale import Interpolated
from jaxemb.posemb.reuse import Grouped, Recurrent
from jaxemb.preprocess.windows import bounds


@pytest.fixture
def ape(load):
    return load("text_ape.npz")


def test_tables(ape, precision):
    table, s = precision.array(ape["E_orig"]), int(ape["scale_s"])
    for name, how, tail in (
        ("E_pi_clamp", "interpolate", "clamp"),
        ("E_pi_extrapolate", "interpolate", "extrapolate"),
        ("E_recurrent", "recurrent", "clamp"),
        ("E_grouped", "grouped", "clamp"),
    ):
        precision.check(extend_table(table, s, how, tail), ape[name], name)
    whole = extend_table(table, s)
    np.testing.assert_array_equal(whole[ape["pi_original_rows"]], table)
    for how, name in (("interpolate", "row_is_new_pi"), ("recurrent", "row_is_new_rp")):
        np.testing.assert_array_equal(new_rows(len(table), s, how), ape[name])


def test_wrappers_read_the_same_rows(ape, precision):
    """Without a table of their own: the positions are changed instead."""
    table, s = precision.array(ape["E_orig"]), int(ape["scale_s"])
    rows, d = table.shape
    pos = jnp.arange(rows * s)[None, :, None]
    for tail in ("clamp", "extrapolate"):
        learned = Learned(shape=(rows,), tail=tail)
        precision.check(read(Interpolated(of=learned, factor=float(s)), table, pos), ape[f"E_pi_{tail}"], tail)
    precision.check(read(Grouped(of=learned, factor=s), table, pos), ape["E_grouped"], "grouped")
    precision.check(read(Recurrent(of=learned, original=rows), table, pos), ape["E_recurrent"], "recurrent")


def read(posemb, table, pos, grid=None):
    at = Places(pos, grid=grid)
    at = at.at(apply(posemb, {}, at, method="locate"))
    x = jnp.zeros((1, pos.shape[1], table.shape[1]), table.dtype)
    return apply(posemb, {"params": {"table": table}}, x, at, method="add")[0]


def test_ids(ape):
    rows, ids = len(ape["E_orig"]), ape["ids_grouped"]
    n = len(ids)
    at = Places(jnp.arange(n)[None, :, None], grid=(n,))
    grouped = Grouped(of=Learned(shape=(rows,)), factor=None, original=rows).apply({}, at, method="locate")
    np.testing.assert_array_equal(grouped[0, :, 0], ids)
    np.testing.assert_array_equal(ape["factor_dynamic"], -(-n // rows))
    recurrent = Recurrent(of=Learned(shape=(rows,)), original=rows).apply({}, at, method="locate")
    np.testing.assert_array_equal(recurrent[0, :, 0], ape["ids_recurrent"])
    short = ape["short_input_ids_pi"]
    extended = Extended(original=rows, factor=int(ape["scale_s"]))
    got = apply(extended, {}, Places(jnp.arange(len(short))[None, :, None], grid=(len(short),)), method="locate")
    np.testing.assert_array_equal(got[0, :, 0], short)


def test_gradients_reach_the_new_rows_alone(ape, precision):
    table, s = precision.array(ape["E_orig"]), int(ape["scale_s"])
    ids, cotangent = jnp.asarray(ape["ft_ids"]), precision.array(ape["ft_cotangent"])
    for how, name in (("interpolate", "pi"), ("recurrent", "rp")):
        posemb = Extended(original=len(table), factor=s, how=how)
        variables = posemb.variables_from(table)

        def total(params, posemb=posemb, variables=variables):
            x = jnp.zeros(cotangent.shape, cotangent.dtype)
            return (apply(posemb, {**variables, "params": params}, x, Places(ids[:, :, None]), method="add") * cotangent).sum()

        new = new_rows(len(table), s, how)
        grads = np.zeros(ape["ft_grad_full"].shape)
        grads[new] = jax.grad(total)(variables["params"])["rows"]
        precision.check(grads, ape[f"ft_grad_masked_{name}"], name)
        np.testing.assert_allclose(ape["ft_grad_full"][new], ape[f"ft_grad_masked_{name}"][new])  # the file agrees with itself


def test_where_texts_are_cut_into_windows(ape):
    cases = {int(name.removeprefix("pcw_chunks_len")): chunks for name, chunks in ape.items() if name.startswith("pcw_chunks_len")}
    assert cases
    for tokens, chunks in cases.items():
        np.testing.assert_array_equal(bounds(tokens, len(ape["E_orig"])), chunks, err_msg=str(tokens))
