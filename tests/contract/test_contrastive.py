"""What every contrastive loss keeps to: members of one layer and of several, whatever else they have to know."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE, NTXent
from jaxemb.contrastive.adaptive_layer import AdaptiveLayer
from jaxemb.contrastive.base import Known, matched
from jaxemb.contrastive.kalm import KaLM
from jaxemb.contrastive.matryoshka import Matryoshka
from jaxemb.contrastive.matryoshka_2d import Matryoshka2D
from jaxemb.contrastive.starbucks import Starbucks
from jaxemb.discover import members
from jaxemb.ops.rows import everywhere
from jaxemb.train.sharding import batch_sharding, make_mesh, on_mesh, shardings

B, M, D = 8, 16, 12
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
SYMMETRIC = InfoNCE(directions=("q2d", "d2q"), partition="each")
FITTING = {
    "AdaptiveLayer": AdaptiveLayer(InfoNCE(), (0,)),
    "KaLM": KaLM(mix_pair=False),  # what it draws goes by the place of a row
    "Matryoshka": Matryoshka(InfoNCE(), (2, 6)),
    "Matryoshka2D": Matryoshka2D(InfoNCE(), (1,), (2,)),
    "Starbucks": Starbucks(InfoNCE(), ((1, 2), (2, 4))),
}
"""Members whose sizes must fit the rows here, or that draw; the others are as they come."""


def rows(dtype="float32"):
    """Pairs that are alike, candidates beyond them, places of the positives, and a `keep` with False in it."""
    rng = np.random.default_rng(0)
    q, c, order = rng.normal(size=(B, D)), rng.normal(size=(M, D)), rng.permutation(M)
    c[:B] += 0.5 * q  # not so much that a margin is kept everywhere
    places = np.argsort(order)[:B].astype(np.int32)
    return jnp.asarray(q, dtype), jnp.asarray(c[order], dtype), jnp.asarray(places), jnp.asarray(rng.random((B, M)) < 0.8)


def known_of(loss, b=B, m=M, places=None):
    """All that a loss may need to know of b queries and m candidates; own hard negatives are no positives."""
    rng = np.random.default_rng(1)
    places = np.arange(b) if places is None else np.asarray(places)
    labels, of_candidates = rng.integers(0, 3, b).astype(np.int32), rng.integers(-1, 3, m).astype(np.int32)
    of_candidates[places] = labels
    own = (places[:, None] + np.array([1, 2])[None]) % m
    also = rng.random((b, m)) < 0.1
    also[np.arange(b), places] = True
    return Known(
        scores=jnp.asarray(rng.random(b), jnp.float32),
        labels=jnp.asarray(labels),
        candidate_labels=jnp.asarray(of_candidates),
        own=jnp.asarray(np.where(rng.random((b, 2)) < 0.2, -1, own), jnp.int32),
        teacher=jnp.asarray(rng.normal(size=(b, 3)), jnp.float32),
        guide=(jnp.asarray(rng.normal(size=(b, 3)), jnp.float32), jnp.asarray(rng.normal(size=(m, 3)), jnp.float32)),
        also=jnp.asarray(also),
        task=jnp.ones(b, jnp.int32),
        learned={name: jnp.float32(x) for name, x in loss.learned().items()},
        key=jax.random.key(0),
    )


def moved(known, i, j):
    """The same of queries in the order i and candidates in the order j."""
    back, own = np.argsort(j).astype(np.int32), np.asarray(known.own)[i]
    return known._replace(
        scores=known.scores[i],
        labels=known.labels[i],
        candidate_labels=known.candidate_labels[j],
        own=jnp.asarray(np.where(own < 0, -1, back[own])),
        teacher=known.teacher[i],
        guide=(known.guide[0][i], known.guide[1][j]),
        also=known.also[i][:, j],
    )


def layered(loss, x):
    """Rows as the loss wants them, of one layer or of several."""
    shallow = (loss.layers() or (-1,))[:-1]
    return x if loss.layers() is None else jnp.stack([*(jnp.tanh((2 + i) * x) for i in shallow), x])


@functools.cache
def compiled(loss):
    """(loss, gradients of queries and candidates, weight) of all that it is called with: one function for most tests."""

    def value(q, c, places, weights, keep, known):
        out = loss(layered(loss, q), layered(loss, c), places, weights, keep, known)
        return out.value, out.weight

    def all_three(*args):
        (found, weight), grads = jax.value_and_grad(value, (0, 1), has_aux=True)(*args)
        return found, grads, weight

    return jax.jit(all_three)


def permuted(of, loss=InfoNCE()):  # noqa: B008
    """(a loss, the same of permuted queries and candidates)."""
    q, c, places, keep = map(np.asarray, rows())
    weights, known = np.arange(1.0, B + 1, dtype=np.float32), known_of(loss, places=places)
    i, j = (np.random.default_rng(n).permutation(size) for n, size in ((4, B), (5, M)))
    there = np.argsort(j).astype(np.int32)[places[i]]
    first, second = (q, c, places, weights, keep, known), (q[i], c[j], there, weights[i], keep[i][:, j], moved(known, i, j))
    return of(*first)[0], of(*second)[0]


LOSSES = [FITTING.get(m.name, m.cls) for m in members("contrastive")]
LOSSES = [x() if isinstance(x, type) else x for x in LOSSES]


@pytest.fixture(params=LOSSES, ids=lambda loss: type(loss).__name__)
def loss(request):
    return request.param


def test_the_order_of_pairs_and_candidates_does_not_matter(loss):
    np.testing.assert_allclose(*permuted(compiled(loss), loss), **CLOSE)


def test_a_loss_that_takes_the_diagonal_for_the_positives_is_found():
    """The planted fault."""
    with pytest.raises(AssertionError):
        diagonal = compiled(InfoNCE())
        np.testing.assert_allclose(*permuted(lambda q, c, p, *rest: diagonal(q, c, None, *rest)), **CLOSE)


def placed(loss, of=None):
    """(a loss with the positives anywhere, the same with them moved to the front), both with a `keep`."""
    q, c, places, keep = map(np.asarray, rows())
    order = np.concatenate([places, np.setdiff1d(np.arange(M), places)])
    known, weights = known_of(loss, places=places), np.ones(B, np.float32)
    front = moved(known, np.arange(B), order)
    first = (of or compiled(loss))(q, c, places, weights, keep, known)[0]
    return first, compiled(loss)(q, c[order], None, weights, keep[:, order], front)[0]


@pytest.mark.parametrize("loss", [*LOSSES, SYMMETRIC], ids=lambda x: type(x).__name__)
def test_keep_is_looked_at_where_the_positives_are(loss):
    np.testing.assert_allclose(*placed(loss), **CLOSE)


@pytest.mark.parametrize("loss", [SYMMETRIC, NTXent()], ids=lambda x: type(x).__name__)
def test_a_keep_that_is_taken_of_the_first_candidates_is_found(loss, monkeypatch):
    """The planted fault."""
    for module in ("info_nce", "nt_xent", "softmax"):
        monkeypatch.setattr(f"jaxemb.contrastive.{module}.matched", first_of_keep)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(*placed(loss, compiled.__wrapped__(loss)), **CLOSE)


@pytest.mark.parametrize("wrong", [-1, M])
def test_a_positive_that_is_no_candidate_is_refused_and_where_it_is_not_known_the_loss_is_nan(loss, wrong):
    q, c, places, _ = rows()
    known, keep = known_of(loss, places=places), jnp.ones((B, M), bool)
    outside, weights = places.at[2].set(wrong), jnp.ones(B)

    def called(places, weights, q=q):
        return loss(layered(loss, q), layered(loss, c), places, weights, known=known)

    with pytest.raises(ConfigError, match=rf"{type(loss).__name__}: positives must lie in 0 to {M - 1}, .* not {wrong}"):
        called(outside, weights)
    with pytest.raises(ConfigError, match="positives must lie in"):
        called(outside, weights.at[2].set(-1))
    with pytest.raises(ConfigError, match="there are no queries to compare"):
        called(places[:0], weights[:0], q[:0])
    value, grads, _ = compiled(loss)(q, c, outside, weights, keep, known)
    assert np.isnan(value) and np.isnan(grads[0]).any()
    uncounted = weights.at[2].set(0)  # padding may have any
    clipped = places.at[2].set(0 if wrong < 0 else M - 1)
    found, same = (compiled(loss)(q, c, x, uncounted, keep, known)[0] for x in (outside, clipped))
    np.testing.assert_array_equal(found, same)
    assert np.isfinite(found)


def first_of_keep(x, positives, b, axis=0):
    return x[:, :b] if x.dtype == bool else matched(x, positives, b, axis)


def cold(loss, temperature):
    """The loss at a low temperature, also inside of another one."""
    if hasattr(loss, "loss"):
        loss = dataclasses.replace(loss, loss=cold(loss.loss, temperature))
    return dataclasses.replace(loss, temperature=temperature) if hasattr(loss, "temperature") else loss


def test_finite_in_bfloat16_at_a_low_temperature(loss):
    loss = KaLM(0.01) if isinstance(loss, KaLM) else cold(loss, 0.01)  # this one with all that it draws
    q, c, places, keep = rows("bfloat16")
    known = known_of(loss, places=places)
    for scale in (1, 100, 0):
        out, grads, _ = compiled(loss)(*(jnp.asarray(scale, x.dtype) * x for x in (q, c)), places, jnp.ones(B), keep, known)
        assert out.dtype == jnp.float32 and bool(jnp.isfinite(out)) and all(bool(jnp.isfinite(g).all()) for g in grads)


def test_padding_changes_nothing_and_where_all_is_padding_the_loss_is_zero(loss):
    q, c = (np.asarray(x) for x in rows()[:2])
    real, of_candidates = np.arange(B) < 5, np.arange(M) < 5
    weights, keep = real.astype(np.float32), np.broadcast_to(of_candidates[None], (B, M))
    known = known_of(loss)
    known = known._replace(own=jnp.where(known.own < 5, known.own, 0), also=known.also & keep)
    cut = known._replace(own=known.own[:5], also=known.also[:5, :5], guide=(known.guide[0][:5], known.guide[1][:5]))
    cut = cut._replace(**{name: getattr(known, name)[:5] for name in ("scores", "labels", "candidate_labels", "teacher", "task")})
    filled = np.where(real[:, None], q, np.float32(7)), np.where(of_candidates[:, None], c, np.float32(-3))
    value, _, weight = compiled(loss)(*filled, None, weights, keep, known)
    short = jax.jit(lambda q, c: loss(layered(loss, q), layered(loss, c), known=cut))(q[:5], c[:5])
    np.testing.assert_allclose(value, short.value, **CLOSE)
    np.testing.assert_allclose(weight, short.weight, rtol=1e-6)  # rows, or pairs where each has several
    assert float(weight) >= 5
    value, grads, _ = compiled(loss)(*filled, None, 0 * weights, keep, known)
    assert float(value) == 0 and all((np.asarray(g) == 0).all() for g in grads)


def test_candidates_that_are_masked_add_nothing(loss):
    """Those that nobody's positive is and that no query keeps, whatever they are."""
    q, c, places, keep = map(np.asarray, rows())
    known, weights = known_of(loss, places=places), np.ones(B, np.float32)
    free = np.setdiff1d(np.arange(M), places)[:3]
    keep = keep & ~np.isin(np.arange(M), free)[None]
    known = known._replace(also=known.also & jnp.asarray(keep))
    other, guide = c.copy(), np.asarray(known.guide[1]).copy()
    other[free], guide[free] = 5.0, 5.0
    first = compiled(loss)(q, c, places, weights, keep, known)
    second = compiled(loss)(q, other, places, weights, keep, known._replace(guide=(known.guide[0], jnp.asarray(guide))))
    np.testing.assert_allclose(first[0], second[0], **CLOSE)
    assert (np.asarray(second[1][1])[free] == 0).all()


def test_gradients_are_equal_on_any_number_of_devices_and_none_holds_the_rows_of_others(loss):
    """Of pairs that a matrix embeds, which lies over the devices of fsdp as the preset says, with all that is known of the rows."""
    loss = KaLM() if isinstance(loss, KaLM) else loss
    q, c, places, keep = rows()
    q, c, known = q[:, : D // 2], c[:, : D // 2], known_of(loss, places=places)
    params = {"kernel": np.random.default_rng(6).normal(size=(D // 2, D)).astype(np.float32)}

    def of(params, q, c, keep, known):
        return loss(layered(loss, q @ params["kernel"]), layered(loss, c @ params["kernel"]), places, keep=keep, known=known).value

    def on(axes):
        mesh = make_mesh(axes)
        placed, cut = shardings(params, "fsdp", mesh), batch_sharding(mesh)
        of_known = jax.tree.map(lambda x: cut if x.ndim else NamedSharding(mesh, P()), known)
        assert mesh.size == 1 or placed["kernel"].spec == P(None, "fsdp")
        gradient = jax.jit(on_mesh(jax.value_and_grad(of, (0, 1, 2)), mesh), out_shardings=(None, (placed, cut, cut)))
        args = jax.device_put((params, q, c, keep, known), (placed, cut, cut, cut, of_known))
        compiled = gradient.lower(*args).compile()
        assert mesh.size < B or whole(compiled) == set()
        return jax.device_get(compiled(*args))

    expected = by_one_device(loss, params["kernel"], q, c, places, keep, known)
    for axes in ({"data": 2, "fsdp": 4}, *([{"data": 1}, {"fsdp": 2}] if isinstance(loss, InfoNCE) else [])):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), on(axes), expected)


def by_one_device(loss, kernel, q, c, places, keep, known):
    """(loss, gradients of the matrix, of queries and candidates): those of what it embeds, by the chain rule."""
    q, c = np.asarray(q), np.asarray(c)
    value, (of_q, of_c), _ = compiled(loss)(q @ kernel, c @ kernel, places, np.ones(B, np.float32), keep, known)
    of_q, of_c = np.asarray(of_q), np.asarray(of_c)
    return value, ({"kernel": q.T @ of_q + c.T @ of_c}, of_q @ kernel.T, of_c @ kernel.T)


def whole(compiled):
    """Shapes of matrices of all pairs that are on one device; of each its share of the rows is [1,16] or [1,8]."""
    return set(re.findall(rf"\w+\[(?:{B},{M}|{M},{B}|{B},{B})\]", compiled.as_text()))


def test_a_matrix_that_one_device_holds_is_found():
    """The planted fault: a loss that gathers its matrix."""
    mesh = make_mesh({"data": 8})
    q, c = jax.device_put(rows()[:2], batch_sharding(mesh))
    assert whole(jax.jit(on_mesh(lambda q, c: everywhere(q @ c.T).max(), mesh)).lower(q, c).compile())
