"""Every discovered member of every family: documented, built from names alone, stored and read back, and tested."""

import json
import pathlib

import pytest

from jaxemb.config import field_types, fields, from_json, to_json
from jaxemb.discover import families, list_methods

FACTS = pathlib.Path(__file__).parents[1] / "facts"
MEMBERS = list_methods()


@pytest.fixture(params=MEMBERS, ids=lambda m: f"{m.family}-{m.name}")
def member(request):
    return request.param


def test_every_family_has_members():
    assert {m.family for m in MEMBERS} == set(families())


def test_has_a_docstring_of_its_own(member):
    assert member.cls.__doc__ and member.summary
    assert not member.summary.startswith(f"{member.name}("), "the docstring that dataclass makes up says nothing"


def test_round_trip(member):
    needed = {name: field_types(member.cls)[name] for name in fields(member.cls) if name not in member.defaults}
    required = {name: 3 if hint is int else "a name" for name, hint in needed.items()}  # a count, or the path of a folder
    made = member.cls(**required)
    assert from_json(json.loads(json.dumps(to_json(made)))) == made


def test_has_a_fact_test(member):
    _, *packages, module = member.cls.__module__.split(".")
    path = FACTS.joinpath(*packages, f"test_{module}.py")
    assert path.is_file(), f"{member.name} has no fact test: write {path.relative_to(FACTS.parents[1])}"
    assert "def test_" in path.read_text()
