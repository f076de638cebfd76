"""Packages offer their members by name, import them when they are used, and type checkers know."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from jaxemb.discover import families, list_methods
from jaxemb.lazy import attach, offered

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("short_imports", ROOT / "scripts" / "short_imports.py")
assert SPEC and SPEC.loader
short_imports = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(short_imports)


def package_of(cls):
    return importlib.import_module(".".join(cls.__module__.split(".")[:2]))


@pytest.mark.parametrize("member", list_methods(), ids=lambda m: f"{m.family}-{m.name}")
def test_every_member_is_offered_by_its_package(member):
    package = package_of(member.cls)
    assert getattr(package, member.name) is member.cls
    assert member.name in dir(package)


@pytest.mark.parametrize("family", families())
def test_the_base_of_a_family_is_offered(family):
    base = families()[family]
    assert getattr(package_of(base), base.__name__) is base


def test_every_package_with_a_family_offers_its_names():
    assert {package_of(base).__name__ for base in families().values()} <= set(short_imports.packages())
    assert "jaxemb.nn" in short_imports.packages()


@pytest.mark.parametrize("package", short_imports.packages())
def test_type_checkers_are_told_the_same(package):
    file = ROOT.joinpath(*package.split("."), "__init__.py")
    assert file.read_text() == short_imports.text(package), "run `make docs`"
    assert all(len(homes) == 1 for homes in offered(package).values()), "two modules define one name"


def test_one_name_imports_one_module():
    """And data sets come without JAX, in a fresh process."""
    code = (
        "import sys; from jaxemb.data import Shapes; print(*(m for m in ('jax', 'flax', 'jaxemb.data.text') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", ["jaxemb.data", "jaxemb.views"])
def test_a_star_brings_all_that_is_offered_and_nothing_else(package):
    names: dict = {}
    exec(f"from {package} import *", names)
    assert names.keys() - {"__builtins__"} == set(offered(package))


def test_a_name_that_is_not_there():
    with pytest.raises(ImportError, match="cannot import name 'SeqPe' from 'jaxemb.posemb'"):
        from jaxemb.posemb import SeqPe  # noqa: F401  # pyright: ignore[reportAttributeAccessIssue]
    from jaxemb.posemb import seqpe  # a module is found as ever

    assert seqpe.__name__ == "jaxemb.posemb.seqpe"


def test_new_files_records_and_twins(tmp_path, monkeypatch):
    (tmp_path / "novel_short").mkdir()
    (tmp_path / "novel_short" / "__init__.py").touch()
    texts = {
        "a": "class Knot:\n    pass\n\n\nclass Bend(Knot):\n    pass\n\n\ndef tie():\n    pass\n",
        "b": "class Bend:\n    pass\n\n\nclass Note(NamedTuple):\n    pass\n\n\nclass _Own:\n    pass\n",
        "presets": "def reef():\n    return 4\n\n\ndef _own():\n    pass\n",
    }
    for name, text in texts.items():
        (tmp_path / "novel_short" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("novel_short")
    get, names = attach("novel_short")
    assert {"Knot", "reef"} == {n for n in names() if not n.startswith("__")}
    assert get("Knot").__module__ == "novel_short.a" and get("reef")() == 4
    with pytest.raises(AttributeError, match="novel_short: Bend is defined in novel_short.a and novel_short.b"):
        get("Bend")
    for name in [n for n in sys.modules if n.startswith("novel_short")]:
        sys.modules.pop(name)
