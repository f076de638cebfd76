"""Configs and methods in words."""

import dataclasses

import pytest

from jaxemb.cli.describe import arguments, brief, by_module, catalogue, matches, shape, signature, tree
from jaxemb.data.digits import Digits
from jaxemb.discover import Member, members
from jaxemb.evals.knn import KNN
from jaxemb.evals.raw import RawInputs
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.posemb.learned import Learned
from jaxemb.train.summary import Parameter, parameters
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Inner:
    x: int = 1
    y: tuple = ()


@dataclasses.dataclass(frozen=True)
class Outer:
    number: float = 0.5
    inner: Inner = Inner()
    needed: str = dataclasses.field(default="", kw_only=True)
    more: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Needs:
    path: str
    size: int = 8


@pytest.mark.parametrize(
    "value, text",
    [
        (0.5, "0.5"),
        ("a", "'a'"),
        (None, "None"),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, "b"), "(1, 'b')"),
        (Outer(), "Outer()"),
        (Outer(number=0.25, inner=Inner(y=(2,))), "Outer(number=0.25, inner=Inner(y=(2,)))"),
        (Outer(more=[]), "Outer()"),
        (Needs("a"), "Needs(path='a')"),
        (Needs("a", 4), "Needs(path='a', size=4)"),
        ((Inner(), Inner(2)), "(Inner(), Inner(x=2))"),
    ],
)
def test_a_value_in_a_few_characters(value, text):
    assert brief(value) == text


def test_objects_of_the_package_show_what_is_not_usual():
    assert brief(Digits()) == "Digits()" and brief(Digits(size=16)) == "Digits(size=16)"
    assert brief(RawInputs(of=KNN(k=5))) == "RawInputs(of=KNN(k=5))"
    encoder = Transformer(stem=Patches(2), width=32, pos=Learned(shape=(4, 4)))
    assert brief(encoder) == "Transformer(width=32, stem=Patches(size=2), pos=Learned(shape=(4, 4)))"


def test_a_config_as_indented_lines():
    doc = {"@": "a:Exp", "name": "x", "optim": {"@": "b:Optim", "lr": 0.1}, "evals": {}, "ema": [0.9, 1.0]}
    doc["augment"] = [{"@": "c:Crop", "size": 3}, {"@": "c:Flip"}]
    assert tree(doc) == [
        f"{'name':<24} x",
        f"{'optim':<24} b:Optim",
        f"  {'lr':<22} 0.1",
        f"{'evals':<24} {{}}",
        f"{'ema':<24} [0.9, 1.0]",
        "augment",
        f"  {'0':<22} c:Crop",
        f"    {'size':<20} 3",
        f"  {'1':<22} c:Flip",
    ]


def test_names_that_fill_the_line_are_not_cut():
    (line,) = tree({"a" * 40: 1})
    assert line == "a" * 40 + " 1"


def test_parameters_by_module_with_the_sums_of_the_parts():
    found = [
        Parameter("encoder/block_*/attn/qkv/bias", 3, (48,), "float32"),
        Parameter("encoder/block_*/attn/qkv/kernel", 3, (16, 48), "float32"),
        Parameter("encoder/norm/scale", 1, (16,), "float32"),
        Parameter("head/bias", 1, (10,), "float32"),
        Parameter("head/kernel", 1, (16, 10), "float32"),
        Parameter("temperature", 1, (), "float32"),
    ]
    assert by_module(found) == [
        ("encoder/block_*/attn/qkv", 3, "bias 48, kernel 16 x 48", "2,448"),
        ("encoder/norm", "", "scale 16", "16"),
        ("encoder in all", "", "", "2,464"),
        ("head", "", "bias 10, kernel 16 x 10", "170"),
        ("head in all", "", "", "170"),
        ("", "", "temperature scalar", "1"),
        ("temperature in all", "", "", "1"),
    ]


def test_layers_of_one_shape_are_one_row():
    import jax
    import jax.numpy as jnp

    array = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    other = jax.ShapeDtypeStruct((4,), jnp.float32)
    found = parameters({"block_0": {"w": array}, "block_1": {"w": array}, "block_2": {"w": other}})
    assert [(p.path, p.copies, p.count) for p in found] == [("block_*/w", 2, 12), ("block_2/w", 1, 4)]


@pytest.mark.parametrize("s, text", [((), "scalar"), ((3,), "3"), ((2, 3, 4), "2 x 3 x 4")])
def test_a_shape(s, text):
    assert shape(s) == text


def member(name="SinCos", summary="Fixed waves.", paper=None, cls=Needs, **defaults):
    return Member("posemb", name, cls, paper, summary, defaults)


@pytest.mark.parametrize("pattern", ["sincos", "SIN", "sin*", "*cos", "waves", "attention", "*2017*", "fixed waves?"])
def test_a_pattern_or_a_part_finds_name_summary_or_paper(pattern):
    assert matches(member(paper=Paper("Attention Is All You Need", 2017)), pattern)


@pytest.mark.parametrize("pattern", ["cosin", "*waves", "sin?", "2018"])
def test_what_a_pattern_does_not_find(pattern):
    assert not matches(member(paper=Paper("Attention Is All You Need", 2017)), pattern)


def test_the_signature_has_needed_fields_first_and_objects_in_brief():
    m = member("Needs", size=8, inner=Inner(2))
    assert arguments(m) == "path, size=8, inner=Inner(x=2)" and signature(m) == "Needs(path, size=8, inner=Inner(x=2))"


def test_the_catalogue_is_a_table_a_family():
    paper = Paper("A | B", 2020, "arxiv.org/abs/1")
    text = catalogue(
        {"posemb": [member(summary="a | b", paper=paper, size=8), member("Bare", "Nothing.", cls=Inner, x=1, y=())], "pooling": []}
    )
    lines = text.splitlines()
    assert lines[0] == "# Methods" and "## posemb" in lines and "## pooling" not in lines
    file = "../" + Needs.__module__.replace(".", "/") + ".py"
    assert lines[-2] == f"| [`SinCos`]({file}) | a \\| b | `path, size=8` | [A \\| B (2020)](https://arxiv.org/abs/1) |"
    assert lines[-1] == f"| [`Bare`]({file}) | Nothing. | `x=1, y=()` |  |"


def test_the_catalogue_links_to_files_and_papers_that_have_one_scheme():
    text = catalogue({family: members(family) for family in ("posemb", "data", "evals")})
    assert "](../jaxemb/posemb/sincos.py)" in text and "https://https://" not in text
    assert all(row.replace("\\|", "").count("|") == 5 for row in text.splitlines() if row.startswith("|"))
