import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.ops import digits as d


def test_digits_of_one_and_two_axes():
    np.testing.assert_array_equal(d.digits(jnp.array([[2, 3]]), 2), [[0, 2, 0, 3]])
    np.testing.assert_array_equal(d.digits(jnp.array([[12345], [123]]), 5), [[1, 2, 3, 4, 5], [0, 0, 1, 2, 3]])
    np.testing.assert_array_equal(d.digits_mask(jnp.array([[103], [0]]), 4), [[0, 1, 1, 1], [0, 0, 0, 1]])
    assert [d.digit_count(n) for n in (10_000, 10_001, 100)] == [4, 5, 2]


def test_cells_and_numbers():
    cells = d.spread(jnp.arange(36), 6, 2)
    np.testing.assert_array_equal(cells, np.stack(np.divmod(np.arange(36), 6), -1))
    np.testing.assert_array_equal(d.flatten(cells, 6), np.arange(36))


@pytest.mark.parametrize("total", [40, 3000])  # by ranking all, and by drawing again
def test_distinct_numbers_are_distinct_and_uniform(key, total):
    drawn = np.asarray(d.distinct(key, 400, 20, total))
    assert drawn.min() >= 0 and drawn.max() < total
    assert all(len(set(row)) == 20 for row in drawn)
    assert abs(drawn.mean() - (total - 1) / 2) < 4 * total / 12**0.5 / 8000**0.5


def test_first_distinct_drops_and_keeps_order():
    ids = jnp.array([[5, 5, 2, 7, 2, 9]])
    np.testing.assert_array_equal(d.first_distinct(ids, 4), [[5, 2, 7, 9]])
    np.testing.assert_array_equal(d.first_distinct(ids, 3, ids == 7), [[5, 2, 9]])


@pytest.mark.parametrize(("axes", "limit", "mixed"), [(1, 300, False), (1, 300, True), (2, 20, False), (2, 20, True)])
def test_candidates_are_others_than_the_pivot(axes, limit, mixed):
    draw = jax.jit(lambda k: d.pivots_and_candidates(k, 8, 12, limit=limit, axes=axes, mixed=mixed))
    for seed in range(6):
        pivots, candidates = map(np.asarray, draw(jax.random.key(seed)))
        assert pivots.shape == (8, axes) and candidates.shape == (8, 12, axes)
        assert candidates.min() >= 0 and candidates.max() < limit
        assert len({tuple(p) for p in pivots}) == 8
        for pivot, others in zip(pivots, candidates, strict=True):
            assert len({tuple(o) for o in others}) == 12 and tuple(pivot) not in {tuple(o) for o in others}


def test_hard_candidates_are_a_few_edits_away():
    pos = jnp.array([[123], [900]])
    edited = jax.jit(d.edited, static_argnums=(2, 3))
    found = np.asarray(edited(jax.random.key(0), pos, 200, 1000))
    assert found.min() >= 0 and found.max() < 1000

    def edits(a, b):  # Levenshtein; a swap counts as two
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            new = [i]
            for j, y in enumerate(b, 1):
                new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != y)))
            row = new
        return row[-1]

    # Of three edits each costs at most two; clipped numbers have no edits to count.
    assert max(edits("123", str(n).zfill(3)) for n in found[0, :, 0] if n != 999) <= 6
    assert len(set(found[0, :, 0].tolist())) > 30
    both = np.asarray(edited(jax.random.key(1), jnp.array([[3, 14]]), 100, 20))
    assert both.shape == (1, 100, 2) and both.max() < 20


def test_an_edit_inserts_swaps_changes_or_deletes_one_digit():
    """Every kind at every place, and nothing else: 1500 edits of a text of five different digits are all that there can be."""
    text, n = "12345", 5
    edit = jax.jit(jax.vmap(lambda k: d._edit(k, jnp.array([1, 2, 3, 4, 5, 0, 0, 0]), jnp.array(n))))
    after, length = map(np.asarray, edit(jax.random.split(jax.random.key(0), 1500)))
    found = {"".join(map(str, row[:m])) for row, m in zip(after, length, strict=True)}
    inserted = {text[:i] + str(x) + text[i:] for i in range(n) for x in range(10)}
    changed = {text[:i] + str(x) + text[i + 1 :] for i in range(n) for x in range(10)}
    swapped = {"".join(text[{i: j, j: i}.get(m, m)] for m in range(n)) for i in range(n) for j in range(n)}
    deleted = {text[:i] + text[i + 1 :] for i in range(n)}
    assert found == inserted | changed | swapped | deleted


def test_neighbours_come_from_one_window():
    neighbours = jax.jit(d.neighbours, static_argnums=(1, 2, 3, 4), static_argnames="window")
    found = np.asarray(neighbours(jax.random.key(0), 20, 12, 50, 2))
    assert (np.ptp(found, axis=1) < 14).all() and found.max() < 50
    line = np.asarray(neighbours(jax.random.key(0), 5, 12, 1000, 1, window=30))
    assert (np.ptp(line, axis=1) < 30).all()


def test_far_origins():
    assert len(d.far_origins((14, 14), 100)) == 86 * 86 - 14 * 14
    every = d.far_origins((4, 6), 12)  # 8 x 6 corners, without those wholly inside of the grid
    assert len(every) == 8 * 6 - 4 * 6 and (every[:, 0] >= 4).all()
    np.testing.assert_array_equal(d.far_origins((8,), 20)[[0, -1], 0], [2, 11])  # n/4 to limit - n - 1
    assert len(d.far_origins((9, 9), 9)) == 0


def test_windows_are_the_same_cells_moved(key):
    index, moved = d.window_samples(key, 5, 7, grid=(4, 4), limit=16)
    cells = np.stack(np.divmod(np.asarray(index), 4), -1)
    shift = np.asarray(moved) - cells
    assert (shift == shift[:, :1]).all() and all(len(set(row)) == 7 for row in np.asarray(index))
    assert (shift.max(-1) >= 4).all() and np.asarray(moved).max() < 16


def test_contrastive_loss_of_equal_vectors_is_log_n():
    same = jnp.ones((3, 8))
    loss = d.contrastive(same, jnp.ones((3, 5, 8)), jnp.array([0, 1, 4]), heads=2)
    np.testing.assert_allclose(loss, np.log(5), rtol=1e-6)


def test_distillation_is_zero_for_rotated_students_and_positive_else():
    teacher = normal(0, 2, 5, 8)
    turn = jnp.asarray(np.linalg.qr(np.asarray(normal(1, 2, 4, 4)))[0])
    student = jnp.einsum("wnhe,hef->wnhf", teacher.reshape(2, 5, 2, 4), turn).reshape(2, 5, 8)
    np.testing.assert_allclose(d.distillation(teacher, student, heads=2), 0, atol=1e-5)
    other = normal(2, 2, 5, 8)
    forth, back = d.distillation(teacher, other), d.distillation(other, teacher)
    assert float(forth) > 0.01
    np.testing.assert_allclose(forth, back, rtol=1e-5)  # both directions of the divergence
    to_teacher = jax.grad(lambda t: d.distillation(t, other))(teacher)
    assert not np.any(np.asarray(to_teacher))
    assert np.any(np.asarray(jax.grad(lambda t: d.distillation(t, other, beta=0.8))(teacher)))
