import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, token_ids
from compiled import apply, init

from experiments.text.birads import SECTIONS, listed, reports, synthetic
from experiments.text.sections import AuxiliaryEncoder, Sections, auxiliary, decode
from jaxemb.data.base import DataError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Tokens
from jaxemb.objectives.masked_tokens import encoder

ENCODER = encoder(stem=Tokens(16), width=8, depth=1, blocks=(Block(Attention(2)),))
MODEL = Sections(encoder=ENCODER, classes=3)
REPORT = np.array([0, 0, 0, 1, 1])
BATCH = {"tokens": token_ids(0, 16, 5, 6), "labels": jnp.asarray([0, 1, 2, 0, 1]), "auxiliary": normal(1, 5, 3)}


@pytest.fixture(scope="module")
def variables():
    return init(MODEL, jax.random.key(0), BATCH)


def test_parameters_are_those_of_the_paper_and_u_lies_within_one():
    shapes = jax.eval_shape(lambda a: AuxiliaryEncoder().init(jax.random.key(0), a, False), BATCH["auxiliary"])
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == 11_008
    head = jax.eval_shape(MODEL.clone(classes=8).init, jax.random.key(0), BATCH)["params"]["head"]
    assert head["kernel"].shape == (8 + 128, 8)  # 896 of BERT's 768 gives (896 + 1) 8 = 7 176


def test_the_three_numbers():
    a = auxiliary(np.array([2, 0, 1, 1, 2]), REPORT)
    assert a.tolist() == [[-1, 0, 3], [2, 1, 3], [0, 2, 3], [-1, 0, 2], [1, 1, 2]]


def test_decoding_goes_from_left_to_right(variables):
    """Each prediction is that of the head with the prediction before it."""
    kernel = np.random.default_rng(0).normal(size=(8 + 128, 3)).astype(np.float32)
    own = {**variables, "params": variables["params"] | {"head": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(3)}}}
    h = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    found = decode(MODEL, own, h, REPORT)
    logits = apply(MODEL, own, jnp.asarray(h), jnp.asarray(auxiliary(found, REPORT), jnp.float32), method="judged")
    assert found.tolist() == np.asarray(logits).argmax(-1).tolist()
    assert np.abs(np.asarray(apply(MODEL, own, jnp.asarray(h), jnp.zeros((5, 3)), method="judged") - logits)).max() > 1e-3


def test_without_numbers_nothing_of_them_counts(variables):
    plain = MODEL.clone(numbers="none")
    h = normal(2, 5, 8)
    a, b = (apply(plain, variables, h, x, method="judged") for x in (BATCH["auxiliary"], jnp.ones((5, 3))))
    np.testing.assert_array_equal(a, b)


def test_reports_are_those_whose_sections_are_known(tmp_path):
    file = tmp_path / "x.json"
    file.write_text(
        '{"1": {"CONTEXTS": ["We ask. And why? Yes", "It is."], "LABELS": ["AIMS", "RESULTS"]},'
        ' "2": {"CONTEXTS": ["a"], "LABELS": ["SECRET"]}}'
    )
    (report,) = found = reports(str(file))
    assert report == [("We ask.", 0), ("And why?", 0), ("Yes", 0), ("It is.", list(SECTIONS).index("RESULTS"))]
    assert listed(found, np.array([0]))[2].tolist() == [0] * 4
    with pytest.raises(DataError, match="there is no file '': give --data the labelled PubMedQA abstracts"):
        reports("")


def test_the_history_has_another_value_in_the_same_words():
    whole, findings, values = synthetic(20, 0)
    for text, own in zip(whole, findings, strict=True):
        assert own in text and text.count("lesion") == 2 and own.count("lesion") == 1
    assert len(set(values.tolist())) == 4
