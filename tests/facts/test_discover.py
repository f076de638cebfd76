"""Members are found by walking a family's package."""

import importlib
import sys
import textwrap

import pytest

from jaxemb.config import ConfigError, find_class
from jaxemb.discover import FAMILIES, list_methods, members
from jaxemb.types import Paper


def names(family: str) -> set[str]:
    return {m.name for m in members(family)}


def test_members_of_the_families():
    assert {"Learned", "NoPos", "SinCos"} <= names("posemb")
    assert {"Mean", "Token"} <= names("pooling")
    assert {"Classify", "IJEPA"} <= names("objectives")
    assert "PosEmb" not in names("posemb") and "Data" not in names("data")  # a base is no member
    assert "ImageData" not in names("data")  # nor is an abstract class


def test_a_member_tells_its_paper_its_defaults_and_one_line():
    (sincos,) = [m for m in members("posemb") if m.name == "SinCos"]
    assert isinstance(sincos.paper, Paper) and sincos.paper.year == 2017
    assert sincos.defaults == {"axes": 2, "base": 10_000.0}
    assert sincos.summary and "\n" not in sincos.summary
    (images,) = [m for m in members("data") if m.name == "Images"]
    assert "name" not in images.defaults  # a required field has no default


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_is_described_and_can_be_named_in_a_config(family):
    found = members(family)
    assert found and [m.name for m in found] == sorted(m.name for m in found)
    for m in found:
        assert m.summary, f"{m.name} has no docstring"
        assert find_class(f"{m.cls.__module__}:{m.cls.__qualname__}") is m.cls


def test_all_families_together():
    assert [m.name for m in list_methods()] == [m.name for f in FAMILIES for m in members(f)]
    assert list_methods("pooling") == members("pooling")


def test_an_unknown_family_is_answered():
    with pytest.raises(ConfigError, match=r"no family 'poolings'; did you mean 'pooling'\? valid: data, evals"):
        members("poolings")


def test_new_files_are_found_without_registration(tmp_path, monkeypatch):
    (tmp_path / "fresh.py").write_text(
        textwrap.dedent("""
            from jaxemb.pooling.base import Pooling
            from jaxemb.pooling.mean import Mean  # imported: belongs to its own file

            class Fresh(Pooling):
                "Newest of all."

            class Fresher(Fresh):
                "Builds on another member, which stays one."

            class _Helper(Pooling):
                "Not for users."

            class Other:
                "Not of the family."
        """)
    )
    package = importlib.import_module("jaxemb.pooling")
    before = names("pooling")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    try:
        assert names("pooling") - before == {"Fresh", "Fresher"}
    finally:
        sys.modules.pop("jaxemb.pooling.fresh", None)
        vars(package).pop("fresh", None)
