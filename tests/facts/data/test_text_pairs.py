"""Pairs of texts: what a batch holds, one task at a time, and what is said of files that are wrong."""

import dataclasses
import json

import numpy as np
import pytest
from pretrained import WORDS, bert, write_json

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.pair_order import BLOCK, TaskOrder
from jaxemb.data.text_pairs import TextPairs

ROWS = [
    {"query": f"q {i % 18}", "positive": f"a {i}", "negatives": [f"n {i}", f"m {i}"][: i % 3], "score": i % 6} for i in range(20)
]


@pytest.fixture
def write(tmp_path):
    def written(rows, name="own.jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        return str(tmp_path / name)

    return written


def read(tokens, mask):
    return bytes(tokens[mask].astype(np.uint8)).decode()


def everything(path, **fields):
    return TextPairs(path, **{"length": 16, "test_share": 0.1, "valid_share": 0.0, **fields})


def test_a_batch_holds_its_texts_by_role_and_says_which_are_equal(write):
    data = everything(write(ROWS), negatives=2, scores=(0, 5), prompts={"query": "?"})
    batch = next(data.batches(30, seed=0))
    rows = {r["positive"]: r for r in ROWS}
    for i in range(30):
        row = rows[read(batch["positive"]["tokens"][i], batch["positive"]["mask"][i])]
        assert read(batch["query"]["tokens"][i], batch["query"]["mask"][i]) == "?" + row["query"]
        assert batch["present"][i].tolist() == [j < len(row["negatives"]) for j in range(2)]
        found = [
            read(t, m) for t, m, p in zip(batch["negatives"]["tokens"][i], batch["negatives"]["mask"][i], batch["present"][i]) if p
        ]
        assert found == row["negatives"] and batch["scores"][i] == np.float32(row["score"] / 5)
        assert (batch["negative_id"][i] >= 0).tolist() == batch["present"][i].tolist()
    texts = [rows[read(t, m)]["query"] for t, m in zip(batch["positive"]["tokens"], batch["positive"]["mask"])]
    same = np.array(texts)[:, None] == np.array(texts)[None]
    assert ((batch["query_id"][:, None] == batch["query_id"][None]) == same).all()
    assert len(np.unique(batch["positive_id"])) < 30, "a batch above an epoch repeats pairs, which the ids say"


def test_equal_queries_stay_in_one_split(write):
    data = TextPairs(write(ROWS), test_share=0.3, valid_share=0.3, length=8)
    parts = [{p.query for p in data._pairs(name)} for name in ("train", "valid", "test")]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert sum(len(data.split(name)) for name in ("train", "valid", "test")) == len(ROWS)


def test_a_batch_holds_one_task_and_small_ones_come_more_often_at_a_high_temperature(write):
    rows = [{"query": f"q {i}", "positive": f"a {i}", "task": "small" if i % 10 == 0 else "large"} for i in range(200)]
    path, shares = write(rows), []
    for temperature in (1.0, 1e6):
        stream = everything(path, tasks=True, temperature=temperature).batches(4, seed=0)
        tasks = [set(next(stream)["task"].tolist()) for _ in range(200)]
        assert all(len(found) == 1 for found in tasks)
        shares.append(np.mean([found == {1} for found in tasks]))
    assert everything(path, tasks=True).label_names("task") == ("large", "small")
    assert 0.04 < shares[0] < 0.18 and 0.4 < shares[1] < 0.6


def test_rows_of_a_task_come_once_an_epoch(write):
    rows = [{"query": f"{i:02}", "positive": f"a {i}", "task": "ab"[i % 2]} for i in range(40)]
    data = everything(write(rows), tasks=True, test_path=write(rows, "test.jsonl"))
    stream, seen = data.batches(3, seed=1), {0: [], 1: []}
    for _ in range(40):
        batch = next(stream)
        seen[batch["task"][0]] += [read(t, m) for t, m in zip(batch["query"]["tokens"], batch["query"]["mask"])]
    for own in seen.values():
        assert len(set(own[:20])) == 20 and set(own[20:40]) == set(own[:20]) and own[20:40] != own[:20]


@pytest.mark.parametrize("kind", ["labelled", "buckets"])
def test_processes_share_the_rows_the_partners_and_the_length_of_a_batch(write, kind):
    """Every process draws for the whole batch and takes its rows of it; one that drew for its own would disagree."""
    rows = [{"text": "x" * (i % 12 + 1) + f"{i:02}", "label": i % 2} for i in range(24)]
    if kind == "buckets":
        rows = [{"query": row["text"], "positive": row["text"]} for row in rows]
    fields = {"labelled": True} if kind == "labelled" else {"length": 16, "buckets": (11, 16)}
    data = everything(write(rows), **fields)
    one = data.batches(4, seed=0)
    two = [data.batches(2, seed=0, shard=(p, 2)) for p in (0, 1)]
    lengths = set()
    for _ in range(20):
        batches = [next(stream) for stream in (one, *two)]
        for role in ("query", "positive"):
            whole, *parts = (batch[role]["tokens"] for batch in batches)
            np.testing.assert_array_equal(np.stack(parts, 1).reshape(whole.shape), whole)
        lengths.add(whole.shape[1])
    assert len(lengths) == len(data.specs)


def test_partners_are_drawn_anew_in_each_batch(write):
    """With as many rows as a batch has, each row is in every batch: its partners over the batches are many."""
    rows = [{"text": f"{i:02}", "label": i % 2} for i in range(24)]
    data = everything(write(rows), labelled=True, test_path=write(rows, "test.jsonl"))
    stream, found = data.batches(24, seed=0), []
    for _ in range(2):
        batch = next(stream)
        # The draws of the i-th rows of two batches, as places among the 11 others of a label.
        texts = [[int(read(t, m)) for t, m in zip(batch[r]["tokens"], batch[r]["mask"])] for r in ("query", "positive")]
        found.append([p // 2 - (p > q) for q, p in zip(*texts)])
    assert sum(a == b for a, b in zip(*found)) < 12, "one draw for the i-th row of all batches"


def test_scores_of_any_range_come_to_lie_between_0_and_1(write):
    rows = [{"query": f"{i:02}", "positive": "a", "score": i % 5 - 1} for i in range(20)]
    batch = next(everything(write(rows), scores=(-1, 3)).batches(8, seed=0))
    expected = [(int(read(t, m)) % 5) / 4 for t, m in zip(batch["query"]["tokens"], batch["query"]["mask"])]
    np.testing.assert_array_equal(batch["scores"], np.float32(expected))


def test_the_task_of_any_batch_is_known_without_those_before():
    order, again = (TaskOrder(np.array([5, 0, 20]), 3, 2.0) for _ in range(2))
    counts = {0: 0, 2: 0}
    for place in range(2 * BLOCK + 5):
        task, before = order[place]
        assert before == counts[task]
        counts[task] += 1
    assert again[2 * BLOCK + 4] == (task, before) and order.shares == pytest.approx([1 / 3, 0, 2 / 3])


def test_labelled_texts_are_paired_with_another_one_of_their_label(write):
    rows = [{"text": f"{'xy'[i % 2]} {i:02}", "label": i % 2} for i in range(24)]
    data = everything(write(rows), labelled=True)
    stream, pairs = data.batches(8, seed=0), set()
    for _ in range(20):
        batch = next(stream)
        for i in range(8):
            query, positive = (read(batch[r]["tokens"][i], batch[r]["mask"][i]) for r in ("query", "positive"))
            assert query[0] == positive[0] == "xy"[batch["labels"][i]] and query != positive
            pairs.add((query, positive))
    assert len(pairs) > 60, "drawn anew each time"
    assert data.label_names() == ("0", "1")


def test_names_are_those_of_all_splits_and_of_a_label_nothing_is_held_out_that_would_be_alone(write):
    rows = [{"text": f"{i:02}", "label": ["a", "b", f"rare {i // 7}"][i % 3], "task": f"t{i}"} for i in range(42)]
    data = TextPairs(write(rows), test_share=0.3, valid_share=0.3, labelled=True, tasks=True, length=8)
    assert len(data.label_names()) == 2 + 6 and len(data.label_names("task")) == 42
    for name in ("train", "valid", "test"):
        found = data.split(name)[:]
        texts = [[read(t, m) for t, m in zip(found[r]["tokens"], found[r]["mask"])] for r in ("query", "positive")]
        assert all(q != p for q, p in zip(*texts)), "no text is its own positive"
        label = {row["text"]: row["label"] for row in rows}
        assert all(label[q] == label[p] == data.label_names()[i] for q, p, i in zip(*texts, found["labels"]))
        assert len(set(texts[0])) > 5
    next(dataclasses.replace(data, tasks=False).batches(4, seed=0))


def test_a_lone_text_of_a_label_in_a_file_of_tests_is_named(write):
    rows = [{"text": f"{i:02}", "label": "ab"[i % 2]} for i in range(20)]
    data = TextPairs(write(rows), test_path=write(rows[:3], "test.jsonl"), labelled=True, length=8)
    with pytest.raises(DataError, match="test.jsonl, line 2: the label b has one member"):
        data.split("test")


def test_a_positive_of_its_own_goes_before_one_of_the_label(write):
    rows = [{"text": f"{i:02}", "label": "ab"[i % 2], "positive": f"own {i:02}" if i % 4 == 0 else None} for i in range(24)]
    data = everything(write(rows), labelled=True)
    for batch in (next(data.batches(24, seed=0)), data.split("train")[:]):
        for i in range(len(batch["labels"])):
            query, positive = (read(batch[r]["tokens"][i], batch[r]["mask"][i]) for r in ("query", "positive"))
            assert positive == f"own {query}" if int(query) % 4 == 0 else positive != query and len(positive) == 2


def test_batches_have_the_smallest_length_that_fits_and_roles_their_own(write):
    rows = [{"query": "q" * (i % 12 + 1), "positive": "a" * (2 * (i % 12) + 1)} for i in range(40)]
    data = everything(write(rows), length=24, query_length=6, buckets=(8, 24))
    stream = data.batches(2, seed=0)
    shapes = {(b["query"]["tokens"].shape[1], b["positive"]["tokens"].shape[1]) for b in (next(stream) for _ in range(40))}
    assert shapes == {(6, 8), (6, 24)} == {tuple(s[r]["tokens"].shape[0] for r in ("query", "positive")) for s in data.specs}


def test_the_tokenizer_of_a_folder_and_that_of_a_guide_cut_the_texts_each(write, tmp_path):
    folder = str(bert(tmp_path / "model") or tmp_path / "model")
    data = everything(write(ROWS), folder=folder, guide=folder, guide_length=10, prompts={"query": "a "}, include_prompt=False)
    batch, spec = next(data.batches(4, seed=0)), data.spec
    assert batch["query"].keys() == spec["query"].keys() == {"tokens", "mask", "pooled", "guide"}
    assert batch["positive"]["guide"]["tokens"].shape == (4, 10) and "pooled" not in batch["positive"]
    assert not batch["query"]["pooled"][:, 0].any() and batch["query"]["mask"][:, 0].all()
    bare = everything(write(ROWS), folder=folder, guide_length=10)
    np.testing.assert_array_equal(
        next(bare.batches(4, seed=0))["query"]["tokens"][:, :4], batch["query"]["guide"]["tokens"][:, :4]
    )  # without the prompt
    assert data.preprocess(["a"], "query")["tokens"].shape[1] > 0 and data.vocabulary == data.preprocess.ids


def test_a_guide_reads_the_texts_of_its_row(write, tmp_path):
    folder = str(bert(tmp_path / "model") or tmp_path / "model")
    rows = [{"query": f"the {w}", "positive": f"{w} ran {w}"} for w in ("cat", "dog", "mat", "sat")] * 3
    batch = next(everything(write(rows), guide=folder, guide_length=8).batches(6, seed=0))
    for role in ("query", "positive"):
        text, by = batch[role], batch[role]["guide"]
        for i in range(6):
            words = read(text["tokens"][i], text["mask"][i]).split()
            assert by["tokens"][i][by["mask"][i]].tolist() == [2, *(4 + WORDS.index(w) for w in words), 3]


WRONG = [
    (ROWS[:3] + [{"query": " ", "positive": "x"}], {}, r"line 4: 'query' is empty; a text has at least one character"),
    (ROWS[:1], {}, "has 1 row: pairs are compared with those of other rows"),
    ([*ROWS, {"query": "x"}], {}, r"line 21: 'positive' is missing; there are 'query'"),
    (
        [{"title": "x", "body": "y"}] * 2,
        {},
        r"line 1: there is no query, under none of the names query, .*columns=\{'query': NAME\}",
    ),
    (
        [*ROWS, ROWS[0] | {"score": 7}],
        {"scores": (0, 5)},
        r"line 21: 'score' is 7, and scores=\(0, 5\) says that it lies in 0 to 5",
    ),
    ([*ROWS, ROWS[0] | {"score": "many"}], {"scores": (0, 5)}, "line 21: 'score' must be a number, not 'many'"),
    ([ROWS[0], ROWS[1] | {"negatives": [3]}], {"negatives": 1}, r"line 2: 'negatives\[0\]' must be text, not 3"),
    ([ROWS[0], ROWS[1] | {"negatives": 3}], {"negatives": 1}, "line 2: 'negatives' must be a text or a list of texts, not 3"),
    (ROWS, {"negatives": 1, "teacher": True}, "line 1: there is no teacher"),
    ([r | {"teacher": [1.0]} for r in ROWS], {"negatives": 2, "teacher": True}, "line 2: 'teacher' must be a list of 2 numbers"),
    ([{"text": f"{i}", "label": i // 2} for i in range(5)], {"labelled": True}, r"line 5: the label 2 has one member"),
    ([r | {"task": i // 19} for i, r in enumerate(ROWS)], {"tasks": True}, "line 20: the task 1 has one row to train on, and a"),
    ([{"text": f"{i}", "label": 1} for i in range(5)], {"labelled": True}, "all texts have the label 1: there are no negatives"),
]


@pytest.mark.parametrize(("rows", "fields", "message"), WRONG, ids=lambda x: x if isinstance(x, str) else "")
def test_records_that_are_wrong_are_named_with_their_line(write, rows, fields, message):
    own = write(rows)
    data = TextPairs(own, test_path=write(ROWS, "test.jsonl"), valid_share=0.0, length=8, **fields)
    if "labelled" in fields or "tasks" in fields:
        data = TextPairs(own, test_path=own, valid_share=0.0, length=8, **fields)
    with pytest.raises(DataError, match=message):
        next(data.batches(2, seed=0))


def test_a_folder_may_be_an_id_of_the_hub_in_its_offline_cache(write, tmp_path, monkeypatch):
    """As for `Embedder.from_pretrained`: the library itself looks there. Here the tokenizer is in its first module."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="no tokenizer to cut .* org/own is not in the cache of the hub .*HF_HUB_OFFLINE is set"):
        everything(write(ROWS), folder="org/own").batches(2, seed=0)
    cached = tmp_path / "models--org--own"
    write_json(cached / "snapshots" / "abc" / "modules.json", [{"path": "0_Transformer", "type": "x.Transformer"}])
    bert(cached / "snapshots" / "abc" / "0_Transformer")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    found = everything(write(ROWS), folder="org/own", guide="org/own")
    own = everything(write(ROWS), folder=str(cached / "snapshots" / "abc" / "0_Transformer"))
    batch = next(found.batches(4, seed=0))
    np.testing.assert_array_equal(batch["query"]["tokens"], next(own.batches(4, seed=0))["query"]["tokens"])
    assert "guide" in batch["positive"] and found.vocabulary == own.vocabulary


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"query_length": 9}, "query_length must lie in 1 to length=8, not 9"),
        ({"negatives": -1}, "negatives is a number of texts, not -1"),
        ({"scores": (1, 1)}, r"scores=\(1, 1\) must be \(lowest, highest\)"),
        ({"temperature": 0.0}, "temperature must be above 0, is 0"),
        ({"temperature": float("inf")}, "temperature must be above 0, is inf, and finite: 1e6 draws all tasks alike"),
        ({"prompts": {"doc": "x"}}, "prompts: 'doc' is no role; valid: query, document"),
        ({"include_prompt": False}, "include_prompt=False needs the tokenizer of a folder"),
        ({"teacher": True}, "teacher=True: scores of the positive alone say nothing; set negatives"),
        ({"buckets": (4,)}, "buckets must rise and end in length=8"),
    ],
)
def test_fields_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        TextPairs("x.jsonl", length=8, **fields)


def test_files_and_folders_that_are_not_there(write):
    with pytest.raises(DataError, match="there is no file .*nowhere.*set data.path to"):
        TextPairs("nowhere.jsonl").batches(2, seed=0)
    with pytest.raises(DataError, match="there are no pairs"):
        TextPairs().split("train")
    with pytest.raises(DataError, match="no tokenizer to cut the texts with: there is no folder nowhere.* written org/name"):
        everything(write(ROWS), folder="nowhere").batches(2, seed=0)
    with pytest.raises(DataError, match="no row is held out for validation with valid_share=0"):
        everything(write(ROWS)).split("valid")
    with pytest.raises(DataError, match="columns: 'qeury' is no field of a pair; did you mean 'query'"):
        everything(write(ROWS), columns={"qeury": "x"}).batches(2, seed=0)


def test_a_run_does_not_go_on_with_pairs_of_another_content(write):
    """A file cut in half, or one with a text mended, would be drawn from as if nothing had been."""
    path, rows = write(ROWS), [r | {"positive": r["positive"].upper()} for r in ROWS]
    stream = everything(path).batches(4, seed=0)
    next(stream)
    place = stream.get_state()
    everything(write(ROWS, "again.jsonl")).batches(4, seed=0).set_state(place)  # the same in another place
    for other in (ROWS[:10], rows):
        with pytest.raises(DataError, match="the pairs are no longer those that this run was trained on, there are .* rows now"):
            everything(write(other, "other.jsonl")).batches(4, seed=0).set_state(place)


def test_a_label_or_task_that_is_null_is_no_group_of_its_own(write):
    rows = [{"text": f"t {i}", "label": i % 3, "task": "a"} for i in range(12)]
    for field, value, how in (("label", None, {"labelled": True}), ("task", " ", {"labelled": True, "tasks": True})):
        path = write([*rows, {"text": "u", "label": 1, "task": "a"} | {field: value}])
        with pytest.raises(DataError, match=f"line 13: '{field}' is empty; leave the record out, or give it a {field}"):
            everything(path, **how).split("train")


def test_a_task_has_scores_in_all_its_records_or_in_none(write):
    rows = [{"query": f"q {i}", "positive": f"a {i}", "task": "ab"[i % 2]} for i in range(20)]
    rows = [row | ({"score": 3} if row["task"] == "b" else {}) for row in rows]
    found = everything(write(rows), tasks=True, scores=(0, 5)).split("train")[:]
    np.testing.assert_array_equal(np.isnan(found["scores"]), found["task"] == 0)
    del rows[7]["score"]
    with pytest.raises(DataError, match="line 8: this record has no score, unlike .* line 2, of the same task b: all of a task"):
        everything(write(rows), tasks=True, scores=(0, 5)).split("train")
    with pytest.raises(DataError, match="line 1: there is neither a positive nor a label"):
        everything(
            write([{"query": "q", "task": "a"}, {"query": "r", "label": "b", "task": "b"}]), tasks=True, labelled=True
        ).split("train")
