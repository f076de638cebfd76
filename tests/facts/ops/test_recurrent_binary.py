"""Codes of a few bits a number: signs, levels, numbers, products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.ops.bits import pack
from jaxemb.ops.recurrent_binary import (
    binarised,
    by_nibbles,
    integers,
    inverse_norm,
    levels,
    look_up_table,
    nibble_table,
    nibbles,
    numbers,
    plane_products,
    planes,
    sdc_distance,
    sign,
)

exact = np.testing.assert_array_equal
R = np.random.default_rng(0)


def code(n, m, rounds):
    return R.integers(0, 2 ** (rounds + 1), (n, m)).astype(np.uint8)


def test_a_sign_is_never_zero_and_its_gradient_goes_straight_through_from_minus_1_to_1():
    x = jnp.asarray([-3.0, -1.001, -1.0, -0.2, 0.0, 0.7, 1.0, 1.001])
    exact(sign(x), [-1, -1, -1, -1, -1, 1, 1, 1])
    factor = jnp.arange(1.0, 9)
    held = np.asarray(factor).copy()
    exact(jax.grad(lambda x: (factor * sign(x)).sum())(x), [0, 0, 3, 4, 5, 6, 7, 0])
    exact(factor, held)  # what comes in from above is left as it is


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_levels_numbers_parts_and_bits_say_the_same(rounds):
    k = 2 ** (rounds + 1)
    assert (
        levels(rounds).tolist()
        == {
            0: [-1, 1],
            1: [-1.5, -0.5, 0.5, 1.5],
            2: [-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75],
            3: [(2 * c - 15) / 8 for c in range(16)],
        }[rounds]
    )
    c = np.arange(k, dtype=np.uint8)[None]
    bits = planes(jnp.asarray(c), rounds)
    parts = jnp.where(bits, 1.0, -1.0)
    exact(numbers(parts), c)
    exact(parts[0, :, 0], -1)  # the number 0 is where all are -1
    exact((parts * 2.0 ** -np.arange(rounds + 1)[None, :, None]).sum(1)[0], levels(rounds))
    exact(integers(c, rounds)[0], 2**rounds * levels(rounds))
    table = look_up_table(rounds)
    exact(table, table.T)
    exact(table, table[::-1, ::-1])
    exact(table, -table[::-1])


def test_the_parts_add_up_and_the_reconstruction_has_length_1_before_it_is_taken_off():
    f, w, r = normal(0, 5, 6), normal(1, 3, 6, 8), normal(2, 2, 8, 6)
    seen = []

    def binarise(t, x):
        seen.append(x)
        return x @ w[t]

    found = binarised(f, binarise, lambda t, b: b @ r[t], 2)
    exact(found.b, found.parts[:, 0] + found.parts[:, 1] / 2 + found.parts[:, 2] / 4)
    np.testing.assert_allclose(np.linalg.norm(found.reconstructed, axis=-1), 1, rtol=1e-5)
    told = found.parts[:, 0] @ r[0]
    np.testing.assert_allclose(seen[1], f - told / np.linalg.norm(told, axis=1, keepdims=True), rtol=1e-4, atol=1e-5)
    exact(found.parts[:, 1], np.where(seen[1] @ w[1] > 0, 1, -1))
    assert (np.asarray(found.parts[:, 1]) != np.where((f - told) @ w[1] > 0, 1, -1)).any(), "the length would not show here"
    assert binarised(f, binarise, lambda t, b: b, 0).reconstructed.shape == (5, 0, 6)


@pytest.mark.parametrize(("rounds", "width"), [(0, 40), (1, 64), (1, 70), (3, 33)])
def test_products_of_planes_are_those_of_integers_and_of_levels(rounds, width):
    q, x = code(3, width, rounds), code(7, width, rounds)

    def words(c):
        return pack(planes(jnp.asarray(c), rounds).reshape(-1, width)).reshape(len(c), rounds + 1, -1)

    found = plane_products(words(q), jnp.moveaxis(words(x), 0, -1), width)
    exact(found, integers(q, rounds) @ integers(x, rounds).T)
    exact(found, 4**rounds * (levels(rounds)[q] @ levels(rounds)[x].T))
    if rounds == 0:
        np.testing.assert_allclose(sdc_distance(q, x, 0), 2 * (q[:, None] != x[None]).mean(-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_distance_of_equal_and_of_opposite_codes(rounds):
    x = code(6, 24, rounds)
    exact(np.diag(sdc_distance(x, x, rounds)), 0)
    exact(np.diag(sdc_distance(x, 2 ** (rounds + 1) - 1 - x, rounds)), 2)
    b = levels(rounds)[x]
    np.testing.assert_allclose(inverse_norm(integers(x, rounds), rounds), 1 / np.linalg.norm(b, axis=1), rtol=1e-6)


def test_the_table_of_nibbles():
    table = nibble_table()
    assert (table[0, 0], table[0, 15], table[1, 1], table.dtype, table.min(), table.max()) == (18, 0, 14, np.uint8, 0, 18)
    exact(table, table.T)
    q, x = code(2, 256, 1), code(3, 256, 1)
    sums = nibble_table()[nibbles(q)[:, None], nibbles(x)[None]].astype(int).sum(-1)
    exact(sums - 128 * 9, integers(q, 1) @ integers(x, 1).T // 2)
    exact(by_nibbles(nibbles(q), nibbles(x)), integers(q, 1) @ integers(x, 1).T)


def test_products_beyond_16_bits_are_exact():
    """9 m / 2 of two codes that are equal: 32 768 and more from m = 7 282 on, with SDC's factor of 512 far earlier."""
    x = np.full((1, 8000), 3, np.uint8)
    words = pack(planes(jnp.asarray(x), 1)[0])[None]
    assert int(plane_products(words, jnp.moveaxis(words, 0, -1), 8000)[0, 0]) == 72_000
    assert by_nibbles(nibbles(x), nibbles(x)).item() == 72_000
    assert float(sdc_distance(x, x, 1)[0, 0]) == 0


def test_norms_beyond_16_bits():
    found = inverse_norm(integers(jnp.full((1, 8000), 255, jnp.uint8), 7), 7)
    np.testing.assert_allclose(found, 2**7 / (255 * 8000**0.5), rtol=1e-6)
