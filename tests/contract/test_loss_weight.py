"""`Loss.weight` is the denominator of `value`: what batches with padding give together, their parts give as well."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids

from jaxemb.contrastive import LabelledTriplets, MarginMSE, MultiPositive, Triplet
from jaxemb.contrastive.base import Known
from jaxemb.discover import members
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.decoder import Decoder
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.objectives.data2vec import Data2Vec
from jaxemb.objectives.hard_patches import HardPatches
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.objectives.mae import MAE
from jaxemb.objectives.masked_auto_encoding import MaskedAutoEncoding
from jaxemb.objectives.masked_tokens import MaskedTokens, encoder
from jaxemb.objectives.next_token import NextToken, decoder
from jaxemb.objectives.variable_misuse import VariableMisuse
from jaxemb.ops.draws import Draws
from jaxemb.token_masks.random_tokens import RandomTokens
from jaxemb.train.state import TrainState
from jaxemb.train.step import MicroBatches, mean_of, weighted
from jaxemb.types import Averaged, Now

NOW = Now(0, 1, jax.random.key(0))
VIT = Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),))
IMAGES = np.asarray(normal(0, 4, 16, 16, 3))


def tokens(kept):
    mask = np.arange(6)[None] < np.asarray(kept)[:, None]
    return {"tokens": token_ids(1, 16, 4, 6), "mask": mask}


def blocks(kept):
    batch = IJEPA(encoder=VIT, masks=FixedBlocks()).prepare({"images": IMAGES}, Draws((0,), 4))
    mask = np.arange(batch["targets"].shape[2])[None, None] < np.asarray(kept)[:, None, None]
    return batch | {"targets_mask": np.broadcast_to(mask, batch["targets"].shape)}


MASKED = MaskedTokens(encoder=encoder(stem=Tokens(17), width=8, depth=1, blocks=(Block(Attention(2)),)), mask=16)


def hidden(kept):
    batch = tokens([6] * 4)
    mask = np.arange(4)[None] < np.asarray(kept)[:, None]
    return batch | {"masked": np.tile(np.arange(4, dtype=np.int32), (4, 1)), "masked_mask": mask, "changed": batch["tokens"]}


CASES = {
    "NextToken": (
        NextToken(encoder=decoder(stem=Tokens(16), width=8, depth=1, blocks=(Block(Attention(2)),))),
        tokens,
        [6, 3, 2, 4],
    ),
    "MaskedTokens": (MASKED, hidden, [4, 3, 2, 1]),
    "IJEPA": (IJEPA(encoder=VIT, predictor=Predictor(width=8, depth=1), masks=FixedBlocks()), blocks, [4, 1, 2, 4]),
    "Classify": (Classify(encoder=VIT, classes=3), lambda known: {"images": IMAGES, "labels": np.asarray(known)}, [0, -1, 1, 2]),
}
NOTHING = {"NextToken": [0] * 4, "MaskedTokens": [0] * 4, "IJEPA": [0] * 4, "Classify": [-1] * 4}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    model, make, kept = CASES[request.param]
    batch = jax.tree.map(jnp.asarray, make(kept))
    variables = jax.jit(model.init)(jax.random.key(1), batch)
    if "head" in variables["params"]:  # zeros at the start, where every loss is the same
        variables["params"]["head"]["kernel"] = normal(2, *variables["params"]["head"]["kernel"].shape)

    @jax.jit
    def loss(params, batch):
        targets = jax.lax.stop_gradient(model.apply({"params": params}, batch, NOW, method="targets"))
        out = model.apply({"params": params}, batch, targets, NOW, method="loss", rngs={"dropout": jax.random.key(0)})
        return out.value, jnp.asarray(out.weight)

    return jax.jit(jax.value_and_grad(loss, has_aux=True)), variables["params"], batch, make(NOTHING[request.param])


def test_the_weighted_mean_of_the_halves_is_the_loss_of_the_whole(case):
    loss, params, batch, _ = case
    (value, weight), grads = loss(params, batch)
    halves = [loss(params, jax.tree.map(lambda x, i=i: x[i::2], batch)) for i in range(2)]
    weights = np.array([float(w) for (_, w), _ in halves])
    assert weights.sum() == float(weight) and len(set(weights)) == 2, "the case should have uneven halves"
    shares = weights / weights.sum()
    assert float(value) == pytest.approx(sum(s * float(v) for s, ((v, _), _) in zip(shares, halves, strict=True)), rel=1e-5)
    mean = jax.tree.map(lambda *g: sum(s * x for s, x in zip(shares, g, strict=True)), *(g for _, g in halves))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), grads, mean)


def test_where_nothing_counts_the_loss_is_zero_and_its_gradient_as_well(case):
    loss, params, _, nothing = case
    (value, weight), grads = loss(params, jax.tree.map(jnp.asarray, nothing))
    assert float(value) == float(weight) == 0
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(grads))


# ---- contrastive losses of which the halves have unequal numbers of comparisons -------------------------------------------------

B, K, D = 4, 2, 5
PRESENT = np.array([[1, 1], [1, 0], [1, 1], [0, 0]], bool)
Q, C, TEACHER = normal(0, B, D), normal(1, B, 1 + K, D), normal(2, B, 1 + K)
GROUPS = np.array([0, 0, 0, 1, 0, 1])


def listed(loss, rows):
    b = len(rows)
    own = np.where(PRESENT[rows], b + np.arange(b * K, dtype=np.int32).reshape(b, K), -1)
    candidates = jnp.concatenate([C[rows, 0], C[rows, 1:].reshape(-1, D)])
    also = np.zeros((b, len(candidates)), bool)
    also[np.arange(b)[:, None], np.maximum(own, np.arange(b)[:, None])] = True
    known = Known(own=jnp.asarray(own), teacher=TEACHER[rows], also=jnp.asarray(also))
    keep = jnp.asarray(np.eye(b, len(candidates), dtype=bool) | also)
    return loss(Q[rows], candidates, keep=keep, known=known)


@pytest.mark.parametrize("loss", [Triplet(1.0), MarginMSE(), MultiPositive()], ids=lambda x: type(x).__name__)
def test_of_lists_that_differ_in_length_the_halves_are_the_whole(loss):
    whole, halves = listed(loss, np.arange(B)), [listed(loss, np.arange(i, i + 2)) for i in (0, 2)]
    weights = [float(x.weight) for x in halves]
    assert float(whole.weight) == sum(weights) and weights[0] != weights[1]
    assert float(whole.value) == pytest.approx(sum(w * float(x.value) for w, x in zip(weights, halves, strict=True)) / sum(weights))


def test_of_semi_hard_triplets_the_weight_is_the_number_of_positives():
    labels = jnp.asarray(GROUPS)
    rows = normal(3, len(GROUPS), D)
    found = LabelledTriplets(margin=0.2, mining="semi_hard", themselves=True)(
        rows, rows, known=Known(labels=labels, candidate_labels=labels)
    )
    assert float(found.weight) == 4 * 3 + 2 * 1


# ---- what is logged of micro-batches ---------------------------------------------------------------------------------------------

LABELS = {"images": IMAGES, "labels": np.array([0, -1, 1, 2]), "size": np.array([1, 0, -1, 0])}
DECODER = Decoder(width=8, depth=1, blocks=(Block(Attention(2)),))


def drawn(model):
    return model, model.prepare({"images": IMAGES}, Draws((0,), 4))


LOGGED = {
    "NextToken": (CASES["NextToken"][0], tokens([6, 3, 2, 4])),
    "MaskedTokens": (MASKED, hidden([4, 3, 2, 1])),
    "IJEPA": (CASES["IJEPA"][0], blocks([4, 1, 2, 4])),
    "Classify": (Classify(encoder=VIT, label=("labels", "size"), classes=(3, 2)), LABELS),
    "MaskedAutoEncoding": (
        AUTO := MaskedAutoEncoding(encoder=MASKED.encoder, mask=16, sizes=((1, 4), (1, 8)), masks=RandomTokens(0.2)),
        AUTO.prepare(jax.device_get(tokens([6, 3, 2, 4])), Draws((0,), 4)),
    ),
    "VariableMisuse": (
        VariableMisuse(encoder=encoder(stem=Tokens(16), width=8, depth=1, blocks=(Block(Attention(2)),))),
        tokens([6] * 4)
        | {
            "candidates": np.ones((4, 6), bool),
            "error": np.array([2, 3, 0, 4]),
            "repairs": np.arange(6)[None] == np.array([[3], [2], [-1], [1]]),
        },
    ),
    "MAE": drawn(MAE(encoder=VIT, decoder=DECODER)),
    "HardPatches": drawn(HardPatches(encoder=VIT, decoder=DECODER, alpha=(1.0, 1.0))),  # no mask is drawn at random
    "Data2Vec": drawn(Data2Vec(encoder=VIT, target_layers=1)),
}
NO_MEANS = {"target_std"}
"""Deviations over the images of a batch: of micro-batches the mean of their own is logged."""


def test_every_loss_that_is_a_mean_over_rows_has_a_case():
    """Contrastive ones compare the rows of a micro-batch with each other."""
    assert set(LOGGED) == {m.name for m in members("objectives") if "loss" in vars(m.cls) and not issubclass(m.cls, Contrastive)}


def test_many_micro_batches_are_summed_in_single_precision():
    """In bfloat16 the sum of 256 weights of 8 stops growing on the way."""
    one = weighted(Averaged(jnp.asarray(0.3, jnp.bfloat16), jnp.asarray(8, jnp.bfloat16)))
    total = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), [one] * 256)
    assert float(mean_of(total)) == pytest.approx(0.3, rel=1e-2)


@pytest.mark.parametrize("name", LOGGED)
def test_micro_batches_log_what_the_whole_batch_does(name, monkeypatch):
    model, batch = LOGGED[name]
    batch = jax.tree.map(jnp.asarray, batch)
    params = jax.jit(model.init)(jax.random.key(1), batch)["params"]
    if "kernel" in params.get("head", {}):
        params["head"]["kernel"] = jax.random.normal(jax.random.key(2), params["head"]["kernel"].shape)

    def run(params, stats, part, key):
        targets = model.apply({"params": params}, part, NOW, method="targets")
        told = {"method": "loss", "rngs": {"dropout": key}, "mutable": ["losses"]}
        return model.apply({"params": params}, part, targets, NOW, **told)

    def found(params, batch, parts):
        return MicroBatches(run, batch, jax.random.key(0), parts, TrainState(0, params, {}, None, None, None)).gradient()[1]

    monkeypatch.setattr(
        jax, "grad", lambda f, has_aux: lambda params, *rest: (params, f(params, *rest)[1])
    )  # compiles forwards alone
    whole, halves = (jax.jit(found, static_argnums=2)(params, batch, parts) for parts in (1, 2))
    assert float(halves.value) == pytest.approx(float(whole.value), rel=1e-5)
    assert halves.logs.keys() == whole.logs.keys()
    for figure in whole.logs.keys() - NO_MEANS:
        assert float(halves.logs[figure]) == pytest.approx(float(whole.logs[figure]), rel=1e-5, abs=1e-6), figure
