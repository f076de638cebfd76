"""Negatives are mined and files of pairs joined by running the scripts, on a model of random weights."""

import importlib
import json
import pathlib
import sys

import pretrained
import pytest

from jaxemb.data.pair_records import Wanted, found_file, read_pairs

SCRIPTS = pathlib.Path(__file__).parents[3] / "scripts"
ROWS = [("the cat", "cat sat on mat"), ("the cat", "a cat"), ("a dog", "dog ran"), ("big dog", "Dog  ran"), ("red mat", "red mat")]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """What a script prints; it runs in a folder with pairs.jsonl and a model."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.chdir(tmp_path)
    write("pairs.jsonl", ROWS)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        importlib.import_module(name).main()
        return json.loads(capsys.readouterr().out)

    yield run
    for name in ("mine_negatives", "join_pairs"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = pretrained.bert(tmp_path_factory.mktemp("model"))
    return pretrained.chain(folder, ("Pooling", {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}))


def write(name, rows):
    lines = [json.dumps({"anchor": q, "positive": d}) for q, d in rows]
    pathlib.Path(name).write_text("\n".join(lines) + "\n")


def read(name, **wanted):
    return read_pairs(*found_file(name, "path"), Wanted(0, None, False, False, False, ())._replace(**wanted))


def test_negatives_of_a_file(run, model):
    report = run("mine_negatives", model, "pairs.jsonl", "mined.jsonl", "--number", 2, "--guide", model)
    found = read("mined.jsonl", negatives=2, teacher=True)
    assert [(p.query, p.positive) for p in found] == ROWS
    for p in found:
        own = {d.casefold().split().__str__() for q, d in ROWS if q == p.query}
        assert not {n.casefold().split().__str__() for n in p.negatives} & own and p.query not in p.negatives
        assert len(p.teacher) == 1 + len(p.negatives) and all(t < p.teacher[0] for t in p.teacher[1:])  # the guide is the model
    assert report["pairs"] == report["kept"] == 5 and report["negatives"] == sum(len(p.negatives) for p in found)
    assert json.loads(pathlib.Path("mined.jsonl.report.json").read_text()) == report
    # two positives of "the cat", one of the others; "red mat" is a document that is its own query
    assert report["documents left out"]["a known positive of the query"] == 2 + 2 + 1 + 1 + 1


def test_files_become_one(run, model):
    write("other.jsonl", [("The CAT", "a  cat"), ("big cat", "a big cat")])
    assert run("join_pairs", "all.jsonl", "one=pairs.jsonl", "two=other.jsonl") == {
        "rows": {"one": 5, "two": 1},
        "equal": 1,
        "near": 0,
    }
    assert [p.task for p in read("all.jsonl", tasks=True)] == ["one"] * 5 + ["two"]
    write("other.jsonl", [("the cat ", "a cat"), ("the cat", "a cat"), ("sat ?", "ran !"), ("sat !", "ran ?")])
    near = run("join_pairs", "all.jsonl", "two=other.jsonl", "--near", ".9999", "--model", model)
    assert near == {"rows": {"two": 2}, "equal": 1, "near": 1}  # signs that the model does not know are one


def test_all_that_a_row_holds_goes_from_joining_through_mining_to_a_batch(run, model):
    """Negatives of numbered columns, tasks, scores, labels; and fields that nothing here reads."""
    rows = [{"question": q, "answer": d, "similarity": i, "negative_2": f"no {i}", "page": i} for i, (q, d) in enumerate(ROWS)]
    pathlib.Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pathlib.Path("texts.jsonl").write_text('{"text": "a cat", "label": "x"}\n{"text": "a cat", "label": "y"}\n')
    assert run("join_pairs", "all.jsonl", "one=rows.jsonl", "two=texts.jsonl")["rows"] == {"one": 5, "two": 2}
    joined = [json.loads(line) for line in pathlib.Path("all.jsonl").read_text().splitlines()]
    assert [(r["negatives"], r["score"], r["page"], r["task"]) for r in joined[:5]] == [
        ([f"no {i}"], i, i, "one") for i in range(5)
    ]
    assert joined[5:] == [{"query": "a cat", "label": x, "task": "two"} for x in "xy"]
    assert run("join_pairs", "again.jsonl", "all.jsonl")["rows"] == {"one": 5, "two": 2}  # a file that has tasks keeps them
    run("join_pairs", "all.jsonl", "one=rows.jsonl")
    report = run("mine_negatives", model, "all.jsonl", "mined.jsonl", "--number", 2)
    assert report["negatives of the file that gave way"] == 5
    found = read("mined.jsonl", negatives=2, teacher=True, tasks=True, scores=(0, 4))
    assert [(p.query, p.score, p.task) for p in found] == [(q, i, "one") for i, (q, _) in enumerate(ROWS)]
    assert all(p.negatives and "no" not in p.negatives[0] for p in found)
    assert [json.loads(line)["page"] for line in pathlib.Path("mined.jsonl").read_text().splitlines()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("mine_negatives", ("M", "pairs.jsonl", "x", "--percentage", "95"), r"percentage must lie in \(0, 1\]"),
        ("mine_negatives", ("M", "none.jsonl", "x"), "there is no file none.jsonl"),
        ("join_pairs", ("x", "pairs.jsonl"), "a source is NAME=FILE, not 'pairs.jsonl'"),
        ("mine_negatives", ("M", "pairs.jsonl", "x", "--columns", "query:anchor"), "--columns takes query=A,positive=B, not 'qu"),
        ("join_pairs", ("nowhere/x", "a=pairs.jsonl"), "nowhere/x cannot be written: No such file"),
        ("join_pairs", ("x", "a="), "a source is NAME=FILE, not 'a=', which is no file"),
        ("join_pairs", ("x", "a=names.jsonl"), "line 1: there is no query, under none of the names query, anchor"),
        ("join_pairs", ("none/x", "a=pairs.jsonl"), "none/x cannot be written: No such file or directory"),
        ("join_pairs", ("x", "a=empty.jsonl"), "line 1: 'positive' is empty"),
    ],
)
def test_what_is_wrong_ends_with_a_sentence(run, script, arguments, said):
    pathlib.Path("names.jsonl").write_text('{"head": "a"}\n')
    pathlib.Path("empty.jsonl").write_text('{"query": "a", "positive": " "}\n')
    with pytest.raises(SystemExit, match=said):
        run(script, *arguments)
    assert not pathlib.Path("x").exists()
