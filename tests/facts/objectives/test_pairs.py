"""Pairs: any loss of the family on a batch by roles, the same in any number of pieces and devices; bugs of others by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids
from compiled import apply, init
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError
from jaxemb.contrastive import (
    GIST,
    AdaptiveLayer,
    CoSENT,
    Hinge,
    InfoNCE,
    KaLM,
    Matryoshka,
    Matryoshka2D,
    MultiSimilarity,
    Sigmoid,
    Starbucks,
    Triplet,
)
from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.layers.feedforward import FeedForward, dropped
from jaxemb.layers.heads import DenseHead
from jaxemb.nn.attention import Attention
from jaxemb.nn.base import Encoder
from jaxemb.nn.block import Block
from jaxemb.nn.mlp import MLP
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.stem import Tokens
from jaxemb.objectives.pairs import Pairs, also, kept, of_bytes
from jaxemb.ops.allow import Allow
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.posemb.none import NoPos
from jaxemb.train.sharding import on_mesh
from jaxemb.types import Features, Loss, Now

B, N, K, D = 16, 4, 2, 8
NOW = Now(0, 1, jax.random.key(0))
SCORES = jnp.asarray(np.random.default_rng(1).random(B), jnp.float32)
CLIP = InfoNCE(0.1, directions=("q2d", "d2q"), partition="each")


class Dropping(Encoder):
    """A row of a table for each token, some of it dropped: an encoder that compiles at once."""

    stem: Tokens = Tokens(32)

    @nn.compact
    def __call__(self, inputs, *, allow=None, train=False):
        x = dropped(nn.Embed(32, D, name="table")(inputs), 0.3, train)
        return Features(jnp.tanh(x), jnp.ones(inputs.shape, bool) if allow is None or allow.valid is None else allow.valid)


def text(seed, *shape):
    mask = np.random.default_rng(seed).integers(1, N + 1, shape)[..., None] > np.arange(N)
    return {"tokens": token_ids(seed, 32, *shape, N), "mask": jnp.asarray(mask)}


def batch():
    """Sixteen rows with two hard negatives, some of which lack; row 5 has the positive of row 2, row 7 the query of row 3."""
    rng = np.random.default_rng(0)
    ids = np.arange(B, dtype=np.int32)
    positive_id, query_id = ids.copy(), 100 + ids
    positive_id[5], query_id[7] = 2, query_id[3]
    negative_id = 200 + np.arange(B * K, dtype=np.int32).reshape(B, K)
    negative_id[4, 1], negative_id[9, 0] = 4, 2  # its own positive, drawn again; the positive of row 2
    present = rng.random((B, K)) < 0.8
    arrays = {"query_id": query_id, "positive_id": positive_id, "negative_id": negative_id, "present": present}
    roles = {"query": text(1, B), "positive": text(2, B), "negatives": text(3, B, K)}
    return roles | {name: jnp.asarray(x) for name, x in arrays.items()}


def compiled(model, variables, devices=1):
    """rows -> (value, gradient) of the loss, the rows over so many devices."""
    mesh = Mesh(np.array(jax.devices()[:devices]).reshape(devices, 1), ("data", "fsdp"))
    rest = {name: x for name, x in variables.items() if name != "params"}

    def loss(params, placed):
        held = {"params": params, **rest}
        targets = jax.lax.stop_gradient(model.apply(held, placed, NOW, method="targets"))
        return model.apply(held, placed, targets, NOW, method="loss", rngs={"dropout": jax.random.key(2)}).value

    params = jax.device_put(variables["params"], NamedSharding(mesh, P()))
    run = jax.jit(on_mesh(jax.value_and_grad(loss), mesh))
    return lambda rows: jax.device_get(run(params, jax.device_put(rows, NamedSharding(mesh, P("data")))))


def gradient(model, variables, rows, devices=1):
    """(value, gradient) of the loss, the rows over so many devices."""
    return compiled(model, variables, devices)(rows)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-6), a, b)


def made(contrast, encoder=None, scored=False, **fields):
    model = Pairs(encoder=Dropping() if encoder is None else encoder, contrast=contrast, **fields)
    rows = batch() | {"task": jnp.zeros(B, jnp.int32)} | ({"scores": SCORES} if scored else {})
    return model, jax.jit(model.init)({"params": jax.random.key(0), "dropout": jax.random.key(1)}, rows)


LOSSES = {
    "symmetric InfoNCE": (CLIP, {}),
    "GIST": (GIST(0.1), {"guide": Pooled(Dropping())}),
    "sigmoid": (Sigmoid(), {}),
    "Matryoshka": (Matryoshka(InfoNCE(0.1), (2, 8)), {}),
    "MaxSim": (InfoNCE(1.0), {"pooling": LateInteraction()}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_cached_loss_has_the_gradients_of_all_mini_batches(name):
    """sentence-transformers #3862, #3854: all but the last were dropped. With dropout, hard negatives and ids, over 8 devices."""
    contrast, fields = LOSSES[name]
    model, variables = made(contrast, **fields)
    one = gradient(model.clone(pieces=1), variables, batch())
    assert_close(gradient(model.clone(pieces=2), variables, batch(), 8), one)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(one[1]))


class Each(ContrastiveLoss):
    """`known.task` says how much each of some losses counts: they are compiled once, all in one function."""

    needs = ("task", "scores")

    def layers(self):
        return (0, 1, -1)

    def compare(self, queries, candidates, positives, weights, keep, known):
        def of(loss):
            layers = loss.layers()
            chosen = -1 if layers is None else np.array([self.layers().index(layer) for layer in layers])
            return loss(queries[chosen], candidates[chosen], positives, weights, keep, known).value

        each = [of(loss) for loss in STRUCTURES.values()]
        return Loss(known.task[: len(each)].astype(queries.dtype) @ jnp.stack(each), weight=weights.sum())


STRUCTURES = {
    "CoSENT": CoSENT(0.1),
    "GIST": GIST(0.1),
    "KaLM": KaLM(0.1),
    "Triplet": Triplet(0.5),
    "Hinge": Hinge(0.5),
    "hardest": Hinge(0.5, negatives="hardest", directions=("q2d",)),
    "AdaptiveLayer": AdaptiveLayer(InfoNCE(0.1), (0,)),
    "Matryoshka2D": Matryoshka2D(InfoNCE(0.1), (1,), (4,)),
}


@pytest.fixture(scope="module")
def in_pieces():
    """(name of a loss, pieces, devices) -> (value, gradient); on so many devices one compilation for all losses."""
    block = Block(Attention(2), FeedForward(hidden=D, dropout=0.3))
    encoder = of_bytes(stem=Tokens(32), width=D, depth=1, blocks=(block,))
    model, variables = made(Each(), encoder=encoder, scored=True, guide=Pooled(Dropping()))
    run = {}

    def gradient_of(name, pieces, devices):
        counts = jnp.asarray(np.eye(B, dtype=np.int32)[list(STRUCTURES).index(name)])
        if (pieces, devices) not in run:
            run[pieces, devices] = compiled(model.clone(pieces=pieces), variables, devices)
        return run[pieces, devices](batch() | {"task": counts, "scores": SCORES})

    return gradient_of


@pytest.mark.parametrize("name", STRUCTURES)
def test_any_loss_is_that_of_the_whole_batch_in_pieces_and_on_1_2_and_8_devices(in_pieces, name):
    """Of each structure one. ms-swift #6273: rows that were gathered from other devices carried no gradient."""
    value, grads = in_pieces(name, 1, 1)
    assert value > 0 and all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads["encoder"]["block_0"]["mlp"]))
    for pieces, devices in ((8, 2), (2, 8)):
        assert_close(in_pieces(name, pieces, devices), (value, grads))


def test_gradients_are_those_of_finite_differences_of_the_loss_in_pieces():
    model, variables = made(CLIP, pieces=4)
    value, grads = gradient(model, variables, batch())
    table = variables["params"]["encoder"]["table"]["embedding"]
    way = normal(7, *table.shape)
    moved = [{"params": {"encoder": {"table": {"embedding": table + s * 1e-2 * way}}}} for s in (1, -1)]
    up, down = (gradient(model, v, batch())[0] for v in moved)
    slope = float((grads["encoder"]["table"]["embedding"] * way).sum())
    assert (up - down) / 2e-2 == pytest.approx(slope, rel=1e-2) and np.isfinite(value)


# ---- which rows are compared -----------------------------------------------------------------------------------------------------


class Seen(ContrastiveLoss):
    """Says what it is given."""

    alone = True

    def compare(self, queries, candidates, positives, weights, keep, known):
        return Loss(
            queries.sum(), views={"queries": queries, "candidates": candidates, "weights": weights, "keep": keep, "known": known}
        )


class Numbers(Encoder):
    """The first token's number, as a vector of one."""

    @nn.compact
    def __call__(self, inputs, **how):
        return Features(inputs[..., None].astype(jnp.float32), jnp.ones(inputs.shape, bool))


class Grouped(Seen):
    needs = ("labels",)


def seen(rows, devices=1, contrast=None, **fields):
    model = Pairs(encoder=Numbers(), contrast=contrast or Seen(), **fields)
    mesh = Mesh(np.array(jax.devices()[:devices]).reshape(devices, 1), ("data", "fsdp"))
    placed = jax.device_put(rows, NamedSharding(mesh, P("data")))
    run = on_mesh(lambda b: model.apply({"params": {}}, b, None, NOW, method="loss").views, mesh)
    return jax.jit(run)(placed)


def ids(*shape, start=0):
    return {"tokens": jnp.asarray(start + np.arange(np.prod(shape)).reshape(*shape, 1), jnp.int32)}


def test_gathered_candidates_are_all_positives_and_then_the_negatives_of_each_query_in_turn():
    """sentence-transformers #3453: PNNPNN was taken for PPNNNN after gathering."""
    rows = {"query": ids(8), "positive": ids(8, start=100), "negatives": ids(8, K, start=1000)}
    rows["present"] = jnp.asarray(np.arange(8)[:, None] % 3 >= np.arange(K)[None])
    one, eight = seen(rows), seen(rows, 8, pieces=1)
    np.testing.assert_array_equal(one["candidates"][:, 0], [*range(100, 108), *range(1000, 1000 + 8 * K)])
    own = np.asarray(one["known"].own)
    assert (own == np.where(rows["present"], 8 + np.arange(8 * K).reshape(8, K), -1)).all()
    assert (np.asarray(one["keep"])[:, 8:] == np.asarray(rows["present"]).reshape(-1)).all(), "what lacks is nobody's negative"
    one, eight = ({**views, "known": views["known"].own} for views in (one, eight))
    jax.tree.map(np.testing.assert_array_equal, one, eight)


def test_a_guide_masks_the_rows_it_was_given_when_they_are_gathered():
    """sentence-transformers #3817: GIST's mask was of other rows. The guide's vectors come in the order of the candidates."""
    rows = {"query": ids(8), "positive": ids(8, start=100), "negatives": ids(8, K, start=1000)}
    targets = {"query": rows["query"], "positive": rows["positive"], "negatives": rows["negatives"]}
    guided = {role: x["tokens"].astype(jnp.float32) for role, x in targets.items()}
    model = Pairs(encoder=Numbers(), contrast=Seen())
    views = model.apply({"params": {}}, rows, guided, NOW, method="loss").views
    np.testing.assert_array_equal(views["known"].guide[1], views["candidates"])
    np.testing.assert_array_equal(views["known"].guide[0], views["queries"])


def test_a_positive_drawn_again_as_its_own_negative_is_no_negative():
    """ms-swift #10068."""
    rows = {"positive_id": jnp.array([1, 2, 3]), "negative_id": jnp.array([[1, 7], [8, 2], [-1, 9]])}
    own = np.asarray(kept(rows, 3, 9, also(rows, 3, 9)))[:, 3:].reshape(3, 3, 2)[np.arange(3), np.arange(3)]
    np.testing.assert_array_equal(own, [[False, True], [True, False], [True, True]])


def test_curated_negatives_stay_though_they_are_false_negatives_of_other_queries():
    """ms-swift #6969: a mask for false negatives hit those that somebody chose."""
    rows = {
        "query_id": jnp.array([5, 5, 6]),
        "positive_id": jnp.array([1, 2, 3]),
        "negative_id": jnp.array([[3], [8], [9]]),
    }
    keep = np.asarray(kept(rows, 3, 6, also(rows, 3, 6)))
    assert keep[0, 3] and not keep[2, 3], "row 0 chose it, and it is the positive of row 2"


def test_masked_items_and_duplicates_by_id_are_never_negatives():
    """sentence-transformers #3640."""
    rows = {name: x for name, x in batch().items() if name != "scores"}
    keep, m = np.asarray(kept(rows, B, B + B * K, also(rows, B, B + B * K))), B + B * K
    assert not keep[2, 5] and not keep[5, 2], "one positive in two rows"
    assert not keep[3, 7] and not keep[7, 3], "one query in two rows"
    assert not keep[2, B + 9 * K], "row 9's hard negative is the positive of row 2"
    assert not keep[:, B:][:, ~np.asarray(rows["present"]).reshape(-1)].any()
    assert np.array_equal(np.asarray(also(rows, B, m))[:, :B].diagonal(), np.ones(B, bool))
    unknown = {"positive_id": jnp.full(3, -1)}
    assert np.asarray(kept(unknown, 3, 3, also(unknown, 3, 3))).all(), "-1 is equal to nothing, itself included"
    assert kept({}, 3, 3, also({}, 3, 3)) is None


def told(**rows):
    """(kept, also) of two or three rows by their ids."""
    arrays = {name: jnp.asarray(x) for name, x in rows.items()}
    b, m = len(rows["query_id"]), len(rows["query_id"]) + np.size(rows.get("negative_id", ()))
    known = also(arrays, b, m)
    return np.asarray(kept(arrays, b, m, known)).astype(int).tolist(), np.asarray(known).astype(int).tolist()


def test_a_query_is_no_negative_of_itself():
    """Of the pairs (a, b) and (b, a) in one batch; nor is a hard negative that is the query's own text; nor a positive."""
    assert told(query_id=[0, 1], positive_id=[1, 0]) == ([[0, 0], [0, 0]], [[1, 0], [0, 1]])
    keep, positive = told(query_id=[0, 1], positive_id=[2, 3], negative_id=[[0], [5]])
    assert keep == [[0, 1, 0, 1], [1, 0, 1, 1]] and positive == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_positives_of_equal_queries_are_spared_wherever_they_stand():
    assert told(query_id=[5, 5, 6], positive_id=[1, 2, 2])[1] == [[1, 1, 1], [1, 1, 1], [0, 1, 1]]


def test_a_pair_of_a_low_score_makes_no_positive_of_equal_queries():
    positive = told(query_id=[5, 5], positive_id=[1, 2], scores=[1.0, 0.0])[1]
    assert positive == [[1, 0], [1, 1]]


def test_what_lacks_is_no_positive_and_rows_of_weight_0_are_nobodys_negatives():
    rows = {"query_id": [8, 9], "positive_id": [1, 2], "negative_id": [[1], [7]]}
    assert told(**rows, present=[[False], [True]]) == ([[0, 1, 0, 1], [1, 0, 0, 1]], [[1, 0, 0, 0], [0, 1, 0, 0]])
    assert told(**rows, weights=[1.0, 0.0])[0][0] == [0, 0, 0, 0]
    assert told(**rows, weights=[1.0, 0.5])[0][0] == [0, 1, 0, 1]


def test_weights_a_teacher_and_the_key_reach_the_loss():
    rows = {"query": ids(2), "positive": ids(2), "negatives": ids(2, 1)}
    views = seen(rows | {"weights": jnp.array([1.0, 0.5]), "teacher": jnp.array([[3.0, 1.0], [2.0, 0.0]])})
    np.testing.assert_array_equal(views["weights"], [1, 0.5])
    np.testing.assert_array_equal(views["known"].teacher, [[3, 1], [2, 0]])
    assert views["known"].key == NOW.key
    model = Pairs(encoder=Numbers(), contrast=Seen())
    other = model.apply({"params": {}}, rows, None, NOW._replace(key=jax.random.key(7)), method="loss").views["known"].key
    assert other == jax.random.key(7)


def test_labels_without_partners_make_a_model():
    model = Pairs(encoder=Dropping(), contrast=MultiSimilarity(themselves=True))
    rows = {"query": text(1, 4), "labels": jnp.array([0, 1, 0, 1])}
    variables = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, rows)
    found = [model.apply(variables, rows, role, method="encode") for role in ("document", "query")]
    np.testing.assert_array_equal(*found)


def test_a_mask_by_ids_changes_the_loss_as_leaving_the_row_out_does():
    rows = {"query": ids(3, start=1), "positive": ids(3, start=1)}
    model = Pairs(encoder=Dropping(), contrast=InfoNCE(0.1))
    variables = model.init(jax.random.key(0), rows)

    def value(rows):
        return gradient(model.clone(encoder=Dropping()), variables, rows)[0]

    masked = rows | {"positive_id": jnp.array([0, 0, 2])}
    assert value(masked) < value(rows)


def test_one_pair_without_a_negative_is_refused():
    """FlagEmbedding #823: the loss was 0 for ever."""
    with pytest.raises(ConfigError, match="InfoNCE: one pair and no negative give the same loss"):
        rows = {"query": ids(1), "positive": ids(1)}
        Pairs(encoder=Numbers()).apply({"params": {}}, rows, None, NOW, method="loss")


# ---- sides, layers, learned scalars ----------------------------------------------------------------------------------------------

TEXT = of_bytes(stem=Tokens(32), width=D, depth=2, blocks=(Block(Attention(2)),))


def test_images_and_their_captions_have_an_encoder_each():
    model = Pairs(encoder=Dropping(), document=Pooled(MLP((6,)), heads=(DenseHead(D, activation=None),)), contrast=CLIP)
    rows = {"query": text(1, 4), "positive": {"images": normal(0, 4, 2, 2, 3)}}
    variables = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, rows)
    assert set(variables["params"]) == {"encoder", "document"} and set(variables["params"]["document"]) == {"encoder", "heads_0"}
    by_role = [
        model.apply(variables, part, role, method="encode")
        for role, part in (("query", rows["query"]), ("document", rows["positive"]))
    ]
    nested = [model.apply(variables, rows, role, method="encode") for role in ("query", "document")]
    assert_close(by_role, nested)
    assert {x.shape for x in by_role} == {(4, D)}


def test_several_layers_are_pooled_the_first_is_the_embeddings_and_the_last_what_the_encoder_gives():
    model = Pairs(encoder=TEXT.clone(pos=NoPos()), contrast=AdaptiveLayer(InfoNCE(0.1), (0, 1)))
    rows = {"query": text(1, 4), "positive": text(2, 4)}
    variables = init(model, jax.random.key(0), rows)
    z = apply(model, variables, rows["query"], "query", method="embed")
    assert z.shape == (4, 3, D)
    np.testing.assert_allclose(z[:, -1], apply(model, variables, rows["query"], method="encode"), rtol=1e-5)
    tokens, mask = rows["query"]["tokens"], np.asarray(rows["query"]["mask"])[..., None]
    table = np.asarray(variables["params"]["encoder"]["stem"]["embedding"])
    np.testing.assert_allclose(z[:, 0], (table[tokens] * mask).sum(1) / mask.sum(1), rtol=1e-5, atol=1e-6)
    below = apply(model.encoder, {"params": variables["params"]["encoder"]}, tokens, allow=Allow(mask[..., 0]), layers=(0,))
    np.testing.assert_allclose(z[:, 1], (np.asarray(below.layers[0]) * mask).sum(1) / mask.sum(1), rtol=1e-5, atol=1e-6)


def test_layers_that_the_encoder_has_not_are_refused():
    rows = {"query": text(1, 4), "positive": text(2, 4)}
    with pytest.raises(ConfigError, match="Dropping gives only what comes last"):
        Pairs(encoder=Dropping(), contrast=Starbucks(sizes=((1, 4), (2, 8)))).init(jax.random.key(0), rows)
    with pytest.raises(
        ConfigError, match=r"layers \(0, 3, -1\); with depth 2 they are of 0 .what enters the first one. to 2, then"
    ):
        Pairs(encoder=TEXT, contrast=AdaptiveLayer(shallow=(0, 3))).init(jax.random.key(0), rows)


def test_learned_scalars_of_a_loss_are_parameters_that_move():
    model, variables = made(Sigmoid(0.5, bias=-3.0))
    found = variables["params"]
    assert float(found["contrast_bias"]) == -3 and float(found["contrast_log_scale"]) == pytest.approx(np.log(2))
    grads = gradient(model, variables, batch())[1]
    assert float(grads["contrast_bias"]) != 0 and float(grads["contrast_log_scale"]) != 0


def test_a_guide_is_no_parameter_and_gets_no_gradient():
    model, variables = made(GIST(0.1), guide=Pooled(Dropping()))
    assert set(variables) == {"params", "guide"} and set(variables["params"]) == {"encoder"}
    same = {**variables, "guide": {"model": {"encoder": variables["params"]["encoder"]}}}
    assert gradient(model, same, batch())[0] != gradient(model, variables, batch())[0], "it decides what counts"


def test_a_guide_of_another_tokenizer_is_refused_or_reads_tokens_of_its_own():
    other = Pooled(of_bytes(stem=Tokens(7), width=D, depth=1, blocks=(Block(Attention(2)),)))
    model = Pairs(encoder=Dropping(), contrast=GIST(), guide=other)
    rows = {"query": text(1, 4), "positive": text(2, 4)}
    with pytest.raises(ConfigError, match=r"Pairs.guide has a table of 7 tokens, and the encoder one of 32.*TextPairs.guide"):
        jax.eval_shape(model.init, jax.random.key(0), rows)
    mine = {"tokens": token_ids(5, 7, 4, 3), "mask": jnp.ones((4, 3), bool)}
    own = {role: part | {"guide": mine} for role, part in rows.items()}
    read = model.clone(guide=Pooled(Dropping()))._read_by_guide(own["query"])
    assert read is own["query"]["guide"], "its own tokens, also where it could read the others"
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    assert jax.eval_shape(model.init, keys, own)["guide"]["model"]["encoder"]["stem"]["embedding"].shape == (7, D)


def test_texts_without_a_partner_are_paired_with_themselves_under_two_draws_of_dropout():
    model = Pairs(encoder=Dropping())
    variables = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, text(1, 6))
    z = model.apply(variables, text(1, 6), True, method="embedded", rngs={"dropout": jax.random.key(3)})
    assert set(z) == {"query", "positive"} and not np.allclose(z["query"], z["positive"])


def test_queries_are_the_candidates_where_there_is_no_positive():
    views = seen({"query": ids(4), "labels": jnp.array([0, 1, 0, 1])}, contrast=Grouped())
    np.testing.assert_array_equal(views["candidates"], views["queries"])
    np.testing.assert_array_equal(views["known"].candidate_labels, [0, 1, 0, 1])


def test_labels_of_hard_negatives_are_unknown_unless_they_are_given():
    rows = {"query": ids(2), "positive": ids(2), "negatives": ids(2, 1), "labels": jnp.array([0, 1])}
    np.testing.assert_array_equal(seen(rows, contrast=Grouped())["known"].candidate_labels, [0, 1, -1, -1])
    given = seen(rows | {"negative_labels": jnp.array([[1], [0]])}, contrast=Grouped())
    np.testing.assert_array_equal(given["known"].candidate_labels, [0, 1, 1, 0])


PAIRED = {"query": ids(2), "positive": ids(2, start=100)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"query": ids(2), "answer": ids(2)}, "'answer' is no role of a batch of pairs; valid: query, positive, negatives"),
        ({"positive": ids(2)}, "the batch has no 'query'; it holds positive"),
        (PAIRED | {"scores": jnp.ones(2)}, "InfoNCE does not read the scores of the batch: .* CoSENT.* data.scores=None"),
        (PAIRED | {"labels": jnp.arange(2)}, "InfoNCE does not read the labels of the batch: .* ClassNCE.* data.labelled=False"),
    ],
)
def test_batches_that_are_none_of_pairs_are_refused(rows, message):
    with pytest.raises(ConfigError, match=message):
        Pairs(encoder=Numbers()).apply({"params": {}}, rows, None, NOW, method="loss")
