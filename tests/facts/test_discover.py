"""Members are found by walking a family's package."""

import importlib
import sys
import textwrap

import pytest

import jaxemb
from jaxemb.config import ConfigError, find_class
from jaxemb.discover import families, list_methods, members
from jaxemb.types import Paper


def names(family: str) -> set[str]:
    return {m.name for m in members(family)}


def test_members_of_the_families():
    assert {"Learned", "NoPos", "SinCos"} <= names("posemb")
    assert {"Mean", "Token"} <= names("pooling")
    assert {"Classify", "IJEPA"} <= names("objectives")
    assert "PosEmb" not in names("posemb") and "Data" not in names("data")  # a base is no member
    assert "ImageData" not in names("data")  # nor is an abstract class


def test_families_are_the_base_files():
    """No table names them: masks, views and augmentations are families like all others, and two can share a package."""
    found = families()
    assert {"augment", "data", "evals", "masks", "objectives", "pooling", "posemb", "views"} <= set(found)
    assert list(found) == sorted(found)
    assert found["augment"].__module__ == found["data"].__module__ == "jaxemb.data.base"
    assert {"FixedBlocks", "MultiBlock", "RandomPatches", "Blockwise"} == names("masks") and names("views") == {"CropViews"}
    assert {"Flip", "Mixup"} <= names("augment") and not names("augment") & names("data")


@pytest.fixture
def novel(tmp_path, monkeypatch):
    """Writes packages into a folder that belongs to jaxemb for one test."""
    monkeypatch.setattr(jaxemb, "__path__", [*jaxemb.__path__, str(tmp_path)])

    def write(file, text):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in path.relative_to(tmp_path).parents:
            if folder.name:
                (tmp_path / folder / "__init__.py").touch()
        path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    yield write
    for name in [n for n in sys.modules if n.startswith("jaxemb.novel")]:
        sys.modules.pop(name)
    vars(jaxemb).pop("novel", None)


BASE = """
    import dataclasses
    from typing import ClassVar
    from jaxemb.types import Paper

    class Figure:
        "A record, no base: it declares no paper."

    @dataclasses.dataclass(frozen=True)
    class Knot:
        "Base."
        paper: ClassVar[Paper | None] = None
"""


def test_a_new_package_with_a_base_file_is_a_family_also_a_nested_one(novel):
    novel("novel/deep/knots/base.py", BASE)
    more = """
    @dataclasses.dataclass(frozen=True)
    class Loop:
        "Another base of the same file."
        family: ClassVar[str] = "loops"
        paper: ClassVar[Paper | None] = None
    """
    novel("novel/deep/knots/base.py", BASE + more)
    novel(
        "novel/deep/knots/inner/reef.py",
        """
        import dataclasses
        from jaxemb.novel.deep.knots.base import Knot, Loop

        @dataclasses.dataclass(frozen=True)
        class Reef(Knot):
            "Square."

        @dataclasses.dataclass(frozen=True)
        class Bow(Loop):
            "Two ears."
        """,
    )
    assert set(families()) >= {"knots", "loops"} and "deep" not in families() and "figure" not in families()
    assert names("knots") == {"Reef"} and names("loops") == {"Bow"}


def test_two_families_of_one_name_are_refused(novel):
    novel("novel/pooling/base.py", BASE)
    with pytest.raises(ConfigError, match=r"two families are called 'pooling': .*Knot.* give one of them another name"):
        families()


def test_a_member_tells_its_paper_its_defaults_and_one_line():
    (sincos,) = [m for m in members("posemb") if m.name == "SinCos"]
    assert isinstance(sincos.paper, Paper) and sincos.paper.year == 2017
    assert sincos.defaults == {"axes": 2, "base": 10_000.0}
    assert sincos.summary and "\n" not in sincos.summary
    (images,) = [m for m in members("data") if m.name == "Images"]
    assert "name" not in images.defaults  # a required field has no default


@pytest.mark.parametrize("family", families())
def test_every_member_is_described_and_can_be_named_in_a_config(family):
    found = members(family)
    assert found and [m.name for m in found] == sorted(m.name for m in found)
    for m in found:
        assert m.summary, f"{m.name} has no docstring"
        assert find_class(f"{m.cls.__module__}:{m.cls.__qualname__}") is m.cls


def test_all_families_together():
    assert [m.name for m in list_methods()] == [m.name for f in families() for m in members(f)]
    assert list_methods("pooling") == members("pooling")


def test_an_unknown_family_is_answered():
    with pytest.raises(ConfigError, match=r"no family 'poolings'; did you mean 'pooling'\? valid: augment, contrastive, data"):
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
