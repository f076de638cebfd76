"""A folder with a vector a token, compared and judged by MaxSim."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from fakes import write_collection
from pretrained import WIDTH, bert, chain

from jaxemb.config import ConfigError
from jaxemb.evals.clustering import Clustering
from jaxemb.evals.pair_classification import PairClassification
from jaxemb.evals.retrieval import Retrieval
from jaxemb.evals.sts import STS
from jaxemb.io.embedder import Embedder
from jaxemb.io.mteb import MTEBModel
from jaxemb.io.text_model import TextModel
from jaxemb.ops.maxsim import Matrices
from jaxemb.train.sharding import make_mesh

TEXTS = ["the cat sat on the mat", "a dog", "a big red dog ran"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    dense = {"in_features": WIDTH, "out_features": 3, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
    folder = chain(bert(tmp_path_factory.mktemp("late")), ("Dense", dense), ("Normalize", None))
    return Embedder.from_pretrained(folder, mesh=make_mesh({"data": 1}, jax.devices()[:1]))


def score(q, d):
    return (q @ d.T).max(1).sum()


def test_similarities_are_sums_over_the_tokens_of_the_query(model):
    z, one = model.encode(TEXTS), model.encode(TEXTS[0])
    wanted = np.array([[score(q, d) for d in z] for q in z])
    np.testing.assert_allclose(model.similarity(z, z), wanted, rtol=1e-5)
    np.testing.assert_allclose(np.diagonal(wanted), [len(x) for x in z], rtol=1e-5)
    np.testing.assert_allclose(model.similarity(one, z), wanted[:1], rtol=1e-5)  # a matrix alone is one text
    assert model.similarity(one, one).shape == (1, 1)
    np.testing.assert_allclose(model.similarity_pairwise(z[:2], z[1:]), [wanted[0, 1], wanted[1, 2]], rtol=1e-5)


def test_searches_and_pairs_are_judged(model, tmp_path):
    documents = {str(i): text for i, text in enumerate(TEXTS)} | {"9": TEXTS[1]}
    path = write_collection(tmp_path / "beir", documents, {"q": TEXTS[0], "r": TEXTS[2]}, "q\t0\t1\nr\t2\t1\n")
    got = Retrieval(path=path, at=(1, 3)).run(TextModel(model), None)
    assert got["mrr@1"] == 1 and got["documents"] == 4  # a text is as similar to itself as it has tokens, which is the most
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"{TEXTS[0]},{TEXTS[0]},5\n{TEXTS[0]},{TEXTS[1]},1\n{TEXTS[0]},{TEXTS[2]},2\n")
    z = model.encode(TEXTS)
    wanted = np.corrcoef([5, 1, 2], [score(z[0], z[i]) for i in (0, 1, 2)])[0, 1]
    assert STS(path=str(pairs)).run(TextModel(model), None)["pearson"] == pytest.approx(wanted, abs=1e-5)
    pairs.write_text(f"{TEXTS[0]},{TEXTS[0]},1\n{TEXTS[0]},{TEXTS[1]},0\n")
    assert PairClassification(path=str(pairs)).run(TextModel(model), None)["ap"] == 1


def test_tokens_stand_beside_what_pools_them(tmp_path):
    """Of a model that pools; its report stays that of its vectors."""
    pooled = TextModel(Embedder.from_pretrained(bert(tmp_path / "mean"), mesh=make_mesh({"data": 1}, jax.devices()[:1])))
    path = write_collection(tmp_path / "beir", {str(i): x for i, x in enumerate(TEXTS)}, {"q": TEXTS[0]}, "q\t0\t1\n")
    got = Retrieval(path=path, at=(1,), references=("bm25", "late_interaction")).run(pooled, None)
    assert got["late_interaction/mrr@1"] == got["bm25/mrr@1"] == got["mrr@1"] == 1
    tokens = pooled.encode_texts(TEXTS, role="document", prompt=None, tokens=True)
    assert isinstance(tokens, Matrices) and tokens.each[1].shape[1] == WIDTH and "late" not in str(pooled.notes)


def test_what_needs_a_vector_a_text_says_so(model, tmp_path):
    (tmp_path / "texts.csv").write_text(f"{TEXTS[0]},a\n{TEXTS[1]},b\n")
    with pytest.raises(ConfigError, match="one vector a text; the model gives arrays of shape"):
        Clustering(path=str(tmp_path / "texts.csv"), texts=2).run(TextModel(model), None)
    task = SimpleNamespace(name="STS", type="STS")
    with pytest.raises(ConfigError, match="mteb keeps one vector a text, and this model gives a matrix"):
        MTEBModel(model).encode([{"text": TEXTS}], task_metadata=task, hf_split="test", hf_subset="default")
