"""Docstring -> code pairs: nothing of the docstring in the code, nothing of what is held out in what is trained on."""

import ast
import json

import pytest

from jaxemb.data.beir import read_beir
from jaxemb.data.docstrings import PARTS, functions, installed, standard_library, write_functions
from jaxemb.data.pair_records import Wanted, found_file, read_pairs
from jaxemb.preprocess.base import DataError

FUNCTION = '''
def {name}(value):
    """{text}

    More of it, which is no part of the query."""
    # a comment
    def inner():
        """Of a function within another, which is no pair of its own."""
        return value
    return [inner() for each in range({number})]
'''


def library(folder, modules):
    folder.mkdir()
    for name, numbers in modules.items():
        source = "\n".join(FUNCTION.format(name=f"f{n}", text=f"Makes a list\n    of {n} equal values.", number=n) for n in numbers)
        (folder / name).write_text(source)
    return str(folder)


def test_text_and_code_of_a_function(tmp_path):
    found = functions([library(tmp_path / "one", {"a.py": [1]})], share=0.0)
    (f,) = found.train
    assert (f.library, f.module, f.name, f.text) == ("one", "a.py", "f1", "Makes a list of 1 equal values.")
    assert f.code.startswith("def f1(value):\n") and ast.parse(f.code)
    assert "comment" not in f.code and "More of it" not in f.code and "Makes" not in f.code


def test_what_occurs_twice_stays_where_it_is_held_out(tmp_path):
    one = library(tmp_path / "one", {f"m{i}.py": [10 + i, 50] for i in range(20)})
    two = library(tmp_path / "two", {"x.py": [10, 11, 99]})
    found = functions([one], [two], share=0.3, seed=1)
    every = [f for part in PARTS for f in getattr(found, part)]
    assert len({f.text for f in every}) == len({f.code for f in every}) == len(every) == 20 - 2 + 1 + 3
    assert [f.name for f in found.libraries] == ["f10", "f11", "f99"]  # and not in what is trained on
    assert found.modules and not {f.module for f in found.modules} & {f.module for f in found.train}
    assert sum(f.name == "f50" for f in found.modules) == 1
    assert found.dropped == {"its docstring or its code occurs before": 2 + 19}
    assert functions([one], [two], share=0.3, seed=1) == found != functions([one], [two], share=0.3, seed=2)


def test_a_copy_under_another_name_is_a_copy(tmp_path):
    folder = library(tmp_path / "one", {})
    for name, decorator in (("a", "@lru_cache(1)"), ("b", "@lru_cache(1)"), ("c", ""), ("d", "@other(2)\n@lru_cache")):
        text = FUNCTION.format(name=name, text=f"Makes a list for {name}, and no more.", number=7)
        (tmp_path / "one" / f"{name}.py").write_text(f"{decorator}\n{text.strip()}\n")
    assert [f.name for f in functions([folder], share=0.0).train] == ["a"]


def test_equal_names_in_a_module_are_told_apart(tmp_path):
    folder = library(tmp_path / "one", {})
    branches = [FUNCTION.format(name="f", text=f"Makes {n} values of one.", number=n).replace("\n", "\n    ") for n in (3, 4)]
    (tmp_path / "one" / "a.py").write_text(f"if True:{branches[0]}\nelse:{branches[1]}\n")
    (tmp_path / "one" / "broken.py").write_text("def (:\n")
    found = functions([folder], share=0.0)
    assert [f.name for f in found.train] == ["f", "f#2"]
    assert found.dropped == {"its module is not Python of this version": 1}


def test_files_are_pairs_and_collections_and_always_the_same(tmp_path):
    one, two = library(tmp_path / "one", {f"m{i}.py": [i, i + 50] for i in range(9)}), library(tmp_path / "two", {"x.py": [98, 99]})
    found = functions([one], [two], share=0.4)
    counts = write_functions(found, str(tmp_path / "out"))
    assert counts == {part: len(getattr(found, part)) for part in PARTS} and sum(counts.values()) == 20
    pairs = read_pairs(*found_file(str(tmp_path / "out" / "train.jsonl"), "path"), Wanted(0, None, False, False, False, ()))
    assert [(p.query, p.positive) for p in pairs] == [(f.text, f.code) for f in found.train]
    for part in ("modules", "libraries"):
        own, read = getattr(found, part), read_beir(str(tmp_path / "out" / part))
        assert read.queries == [f.text for f in own] and read.documents == [f.code for f in own]
        assert all(read.judgements[i] == {i: 1} for i in read.query_ids)
    assert json.loads((tmp_path / "out" / "counts.json").read_text())["train"] == counts["train"]
    write_functions(functions([one], [two], share=0.4), str(tmp_path / "again"))
    for file in (tmp_path / "out").rglob("*.*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "again" / file.relative_to(tmp_path / "out")).read_bytes()


def test_the_standard_library_and_installed_packages_are_found():
    found = functions([f"{standard_library()}/json"], [installed("etils")])
    assert {f.library for f in found.libraries} == {"etils"} and "JSONDecoder.decode" in {
        f.name for f in found.train + found.modules
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"share": 1.0}, r"share must lie in \[0, 1\), not 1.0"),
        ({"held_out": ["{one}"]}, "is both trained on and held out"),
        ({"train": ["{nothing}"]}, "holds no Python source"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, arguments, said):
    places = {"{one}": library(tmp_path / "one", {"a.py": [1]}), "{nothing}": str(tmp_path / "nothing")}
    given = {"train": ["{one}"]} | arguments
    given = {k: [places[p] for p in v] if isinstance(v, list) else v for k, v in given.items()}
    with pytest.raises(DataError, match=said):
        functions(**given)
    with pytest.raises(DataError, match="there is no package 'no_such'|there is no package no_such"):
        installed("no_such")
