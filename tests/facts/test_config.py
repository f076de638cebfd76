"""Objects <-> JSON: nothing is lost, nothing foreign gets in, and every refusal names the field and what is valid."""

import json
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxemb import config, packages
from jaxemb.config import ConfigError, diff, from_json, override, parse, to_json
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.pooling.token import Token
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.sincos import SinCos
from jaxemb.train.optim import Optim

KINDS = """
    import dataclasses
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar, Literal

    from flax import linen as nn

    @dataclasses.dataclass(frozen=True)
    class Leaf:
        n: int = 1

    @dataclasses.dataclass(frozen=True)
    class Twig(Leaf):
        pass

    class Layer(nn.Module):
        leaf: Leaf = Leaf()
        table: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @dataclasses.dataclass(frozen=True)
    class Kinds:
        constant: ClassVar[int] = 3
        i: int = 0
        f: float = 0.0
        b: bool = False
        s: str = ""
        maybe: float | None = None
        either: int | tuple[float, ...] = 1
        count_or_share: int | float = 0.1
        pair: tuple[int, str] = (1, "a")
        many: tuple[float, ...] = ()
        nested: tuple[tuple[str, float], ...] = ()
        mode: Literal["fast", "exact", 1] = "fast"
        weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
        leaf: Leaf = Leaf()
        leaves: Mapping[str, Leaf] = dataclasses.field(default_factory=dict)
        anything: Any = None
        call: Callable | None = None
        hidden: int = dataclasses.field(default=0, init=False)

    def make_local():
        @dataclasses.dataclass(frozen=True)
        class Local:
            n: int = 1
        return Local()
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A module `experiments.probe.kinds`, with a field of every kind that a config may have."""
    root = tmp_path_factory.mktemp("root")
    folder = root / "experiments" / "probe"
    folder.mkdir(parents=True)
    (folder / "kinds.py").write_text(textwrap.dedent(KINDS))
    (folder / "broken.py").write_text("import a_package_that_is_not_there\nclass X: pass\n")
    packages.use_project(root)
    packages.find("experiments.probe.kinds:Kinds")
    import experiments.probe.kinds as module  # pyright: ignore

    yield module
    packages._named.remove(root)
    sys.path.remove(str(root))
    for name in [n for n in sys.modules if n.startswith("experiments.probe")]:
        del sys.modules[name]


def roundtrip(x):
    return from_json(json.loads(json.dumps(to_json(x))))


# ---- round trips -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        Optim("sgd", lr=0.1, decay=(0.04, 0.4), no_decay=("pos",), lr_multipliers=(("stem", 0.1),), options={"momentum": 0.9}),
        Transformer(
            stem=Patches(4), width=24, depth=1, blocks=(Block(Attention(3)),), pos=SinCos(axes=2, base=100.0), class_token=True
        ),
        IJEPA(encoder=Transformer(pos=Learned(shape=(2, 2)))),
        Classify(encoder=Transformer(), pooling=Token(last=True), classes=3),
    ],
    ids=lambda x: type(x).__name__,
)
def test_objects_of_the_package_come_back_equal(x):
    again = roundtrip(x)
    assert again == x and type(again) is type(x)
    assert to_json(again) == to_json(x)


def test_every_kind_of_field_comes_back(kinds):
    x = kinds.Kinds(
        i=3,
        f=0.5,
        b=True,
        s="ü",
        maybe=2.0,
        either=(1.0, 2.0),
        pair=(2, "b"),
        many=(1.0,),
        nested=(("a", 1.0), ("b", 2.0)),
        mode=1,
        weights={"x": 1.0},
        leaf=kinds.Twig(4),
        leaves={"y": kinds.Leaf(2)},
        anything=((), {"z": None}, "text"),
    )
    assert roundtrip(x) == x
    assert type(roundtrip(x).leaf) is kinds.Twig
    layer = kinds.Layer(leaf=kinds.Leaf(7), table={"a": 1})
    assert roundtrip(layer) == layer  # linen freezes the mapping
    assert "hidden" not in to_json(x) and "constant" not in to_json(x)
    assert set(to_json(layer)) == {"@", "leaf", "table"}  # neither `name` nor `parent`


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text().filter(lambda k: k != "@"), inner),
    max_leaves=12,
)


@given(json_values)
def test_plain_values_come_back(x):
    assert roundtrip(x) == x


@given(json_values)
def test_a_literal_on_the_command_line_is_its_json(x):
    if not isinstance(x, str):
        assert parse(repr(x)) == to_json(x)
    assert parse(json.dumps(to_json(x))) == to_json(x)


# ---- what cannot be stored -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_stored_is_refused_by_place(kinds):
    with pytest.raises(ConfigError, match=r"config\.anything: a set cannot be stored"):
        to_json(kinds.Kinds(anything={1}))
    with pytest.raises(ConfigError, match=r"config\.anything: a function cannot be stored"):
        to_json(kinds.Kinds(anything=roundtrip))
    with pytest.raises(ConfigError, match="keys of a mapping must be strings other than '@', not 1"):
        to_json({1: 2})
    with pytest.raises(ConfigError, match="not '@'"):
        to_json({"@": 2})
    with pytest.raises(ConfigError, match=r"config\.anything: experiments\.probe\.kinds:make_local.* could not be read back"):
        to_json(kinds.Kinds(anything=kinds.make_local()))


def test_classes_from_elsewhere_cannot_be_stored():
    import optax

    state = optax.ScaleByScheduleState(1)  # a NamedTuple: stored as a tuple
    assert to_json(state) == [1]
    with pytest.raises(ConfigError, match="could not be read back: .*is refused: only classes under jaxemb., experiments."):
        to_json(Foreign())


import dataclasses  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Foreign:
    n: int = 1


# ---- what is refused on reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "antigravity:Thing",
        "os:system",
        "jaxemb:Thing",
        "jaxembx.a:B",
        "experimentsx.a:B",
        "builtins:eval",
        "jaxemb.__main__:E",
        "jaxemb.cli:main",
        "jaxemb.cli.verbs:Path",
        "jaxemb.data.__main__:E",
        "experiments:X",
        "__main__:X",
    ],
)
def test_foreign_classes_are_refused_before_import(name):
    code = f"""
        import sys
        from jaxemb import packages
        from jaxemb.config import ConfigError, from_json
        packages.allowed()
        before = set(sys.modules)
        sys.meta_path.insert(0, type("Spy", (), {{"find_spec": staticmethod(lambda name, *_: seen.append(name))}}))
        seen = []
        try:
            from_json({{"@": {name!r}, "n": 1}})
        except ConfigError as e:
            assert "is refused: " in str(e) or "in a script or notebook" in str(e), e
            assert seen == [] and set(sys.modules) == before, (seen, set(sys.modules) - before)
            print("refused")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr


@pytest.mark.parametrize(
    "name", ["jaxemb.nn.transformer:nn.Dense", "jaxemb.data.base:dataclasses.Field", "jaxemb.data.folder:Path"]
)
def test_what_our_modules_import_is_not_ours(name):
    with pytest.raises(ConfigError, match=r"refused: it is|not a dataclass|has no class"):
        from_json({"@": name})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jaxemb.posemb.sincos", "not of the form 'module:Class'"),
        (7, "not of the form 'module:Class'"),
        ("jaxemb.posemb.nothing:SinCos", "there is no module jaxemb.posemb.nothing$"),
        ("experiments.probe.nothing:X", "name the folder that holds your experiments/ with --project DIR or JAXEMB_PROJECT"),
        ("jaxemb.posemb" + ".a" * 30 + ":X", "not of the form"),
        ("jaxemb.posemb.sincos:SinCos:SinCos", "not of the form"),
        ([], "not of the form"),
        ({"@": 1}, "not of the form"),
        ("experiments.probe.broken:X", "experiments.probe.broken needs the package 'a_package_that_is_not_there'"),
        ("jaxemb.posemb:SinCoz", "no class 'SinCoz'; did you mean 'SinCos'.* valid: .*Learned.*SinCos"),
        ("jaxemb.posemb.sincos:SinCoz", "no class 'SinCoz'; did you mean 'SinCos'.* valid: SinCos$"),
        ("jaxemb.posemb.sincos:sincos", "is not a dataclass or module"),
    ],
)
def test_class_names_that_lead_nowhere(name, message, kinds):
    with pytest.raises(ConfigError, match=message):
        from_json({"@": name})


def test_misspelt_fields_are_answered_with_the_valid_ones():
    with pytest.raises(ConfigError, match=r"config\.pos: SinCos has no field 'axis'; did you mean 'axes'\? valid: axes, base"):
        from_json(to_json(Transformer()) | {"pos": {"@": "jaxemb.posemb.sincos:SinCos", "axis": 2}})


def test_a_missing_field_is_named():
    with pytest.raises(ConfigError, match=r"^config: Images: .*missing .*'name'"):
        from_json({"@": "jaxemb.data.images:Images"})


def test_errors_of_the_constructor_carry_the_place():
    with pytest.raises(ConfigError, match=r"^config\.encoder: "):
        from_json({"@": "jaxemb.objectives.ijepa:IJEPA", "encoder": to_json(Transformer()) | {"width": 7, "heads": 3}})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("i", 1.5, r"config\.i: expected int, got 1.5"),
        ("i", True, "expected int, got True"),
        ("i", "3", "expected int, got '3'"),
        ("f", True, "expected float, got True"),
        ("f", None, "expected float, got None"),
        ("b", 1, "expected bool, got 1"),
        ("s", 3, "expected str, got 3"),
        ("maybe", "x", "expected float or None, got 'x'"),
        ("pair", [1], r"expected \(int, str\), got \(1,\)"),
        ("pair", ["a", "b"], r"expected \(int, str\)"),
        ("many", 1.0, r"expected \(float, ...\), got 1.0"),
        ("many", "abc", r"expected \(float, ...\), got 'abc'"),
        ("nested", [["a", "b"]], r"config\.nested: expected"),
        ("mode", "slow", "expected 'fast' or 'exact' or 1, got 'slow'"),
        ("mode", True, "got True"),
        ("weights", {"x": "y"}, r"config\.weights: expected"),
        ("weights", [1], r"config\.weights: expected"),
        ("leaf", {"@": "jaxemb.train.optim:Optim"}, "expected Leaf, got a Optim"),
        ("leaf", "Twig", "expected Leaf, got 'Twig'; write an object as module:Class"),
        ("leaves", {"a": 1}, r"config\.leaves: expected"),
    ],
)
def test_wrong_types_are_refused(kinds, field, value, message):
    with pytest.raises(ConfigError, match=message):
        from_json({"@": "experiments.probe.kinds:Kinds", field: value})


@pytest.mark.parametrize(
    ("field", "value", "got"),
    [
        ("f", 3, 3.0),
        ("i", 1e4, 10_000),
        ("maybe", 3, 3.0),
        ("maybe", None, None),
        ("either", [1, 2], (1.0, 2.0)),
        ("either", 2, 2),
        ("count_or_share", 1, 1),
        ("count_or_share", 1.0, 1.0),
        ("many", [1, 2], (1.0, 2.0)),
        ("nested", [["a", 1]], (("a", 1.0),)),
        ("weights", {"x": 1}, {"x": 1.0}),
        ("call", None, None),
    ],
)
def test_numbers_take_the_type_of_their_field(kinds, field, value, got):
    found = getattr(from_json({"@": "experiments.probe.kinds:Kinds", field: value}), field)
    assert found == got and repr(found) == repr(got)  # repr: 1 is not 1.0


@pytest.mark.parametrize(
    ("doc", "message"),
    [
        ({"@": "jaxemb.nn.transformer:Transformer", "depth": 10**6}, r"config\.depth: 1000000 is more than 1024"),
        ({"@": "jaxemb.train.optim:Optim", "lr": float("nan")}, r"config\.lr: nan is no value"),
        ({"@": "jaxemb.train.optim:Optim", "lr": float("inf")}, r"config\.lr: inf is no value"),
        ({"@": "jaxemb.train.optim:Optim", "lr": 10**400}, "an integer of 1329 bits, more than 64"),
        ({"@": "jaxemb.train.optim:Optim", "freeze": ["(a+)+"]}, "a repeat inside of a repeat"),
        ({"@": "jaxemb.train.optim:Optim", "lr": {1}}, "a set is nothing that JSON holds"),
        (json.loads("[" * 70 + "]" * 70), "nested more than 60 deep"),
    ],
)
def test_values_that_make_no_sense_anywhere(doc, message):
    with pytest.raises(ConfigError, match=message):
        from_json(doc)


@pytest.mark.parametrize("text", ["[" * 200, "(" * 5000, "x=" + "[" * 99 + "]" * 99])
def test_values_nested_too_deep_are_answered(text):
    with pytest.raises(ConfigError, match="nested more than 60 deep"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["-" * 5000 + "1", "1+" * 3000 + "1", "a." * 3000 + "b", "\\d", "1is 2", "\udcff", "jaxemb.a:B(", "9" * 5000]
)
def test_text_that_breaks_a_parser_is_text(text):
    assert parse(text) == text


@pytest.mark.parametrize("index", ["²", "-1", "9" * 400, "1_0", "٣"])
def test_what_is_no_index(kinds, index):
    with pytest.raises(ConfigError, match="pair has 2 entries, write a number below that"):
        override(kinds.Kinds(), [f"pair.{index}=1"])


def test_within_names_field_value_and_limits():
    class Box:
        n, pair, nothing = 5, (0.5, float("nan")), None

    config.within(Box(), n=(1, 5), nothing=(0, 1))
    with pytest.raises(ConfigError, match="Box.n=5: valid: 6 to 1,000"):
        config.within(Box(), n=(6, 1000))
    with pytest.raises(ConfigError, match=r"Box.pair=\(0.5, nan\): valid: 0 to 1"):
        config.within(Box(), pair=(0, 1))


# ---- old configs -----------------------------------------------------------------------------------------------------------------


def test_renamed_classes_and_fields_are_read(kinds, monkeypatch):
    monkeypatch.setitem(config.RENAMED, "experiments.gone:OldLeaf", "experiments.probe.kinds:Leaf")
    monkeypatch.setitem(config.RENAMED, "experiments.probe.kinds:Leaf.count", "n")
    assert from_json({"@": "experiments.gone:OldLeaf", "count": 5}) == kinds.Leaf(5)
    with pytest.raises(ConfigError, match="Kinds has no field 'count'"):  # a rename holds for its own class only
        from_json({"@": "experiments.probe.kinds:Kinds", "count": 5})


# ---- overrides -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("encoder.depth=1", lambda x: x.encoder.depth == 1),
        ("encoder.pos.base=100", lambda x: x.encoder.pos.base == 100.0),
        ("encoder.pos=jaxemb.posemb.none:NoPos", lambda x: type(x.encoder.pos).__name__ == "NoPos"),
        (
            "encoder.pos=jaxemb.posemb:NoPos",
            lambda x: type(x.encoder.pos).__module__ == "jaxemb.posemb.none",
        ),  # as Python imports it
        ("encoder.pos=jaxemb.posemb.learned:Learned(shape=(4, 4))", lambda x: x.encoder.pos == Learned(shape=(4, 4))),
        ("encoder.pos = jaxemb.posemb.learned:Learned( shape = [4, 4] )", lambda x: x.encoder.pos == Learned(shape=(4, 4))),
        (
            "encoder=jaxemb.nn.transformer:Transformer(pos=jaxemb.posemb.sincos:SinCos(axes=1), depth=1)",
            lambda x: x.encoder == Transformer(pos=SinCos(axes=1), depth=1),
        ),
        ("loss_name=l2", lambda x: x.loss_name == "l2"),
        ('loss_name="l2"', lambda x: x.loss_name == "l2"),
        ("joint=true", lambda x: x.joint is True),
        ("joint=True", lambda x: x.joint is True),
    ],
)
def test_override_by_dotted_path(text, got):
    base = IJEPA(encoder=Transformer(pos=SinCos()))
    assert got(override(base, [text]))
    assert base == IJEPA(encoder=Transformer(pos=SinCos()))  # the original is left alone


def test_overrides_apply_in_order_and_reach_tuples_and_mappings(kinds):
    base = kinds.Kinds(pair=(1, "a"), nested=(("a", 1.0),), weights={"x": 1.0})
    new = override(base, ["pair.1=b", "nested.0.1=2", "weights.y=3", "weights.x=4", "weights.x=5", "many=1,2", "maybe=None"])
    assert (new.pair, new.nested, new.weights) == ((1, "b"), (("a", 2.0),), {"x": 5.0, "y": 3.0})
    assert new.many == (1.0, 2.0) and new.maybe is None
    assert override(base, ["leaves.a=experiments.probe.kinds:Leaf(n=2)", "leaves.a.n=3"]).leaves == {"a": kinds.Leaf(3)}
    assert override(base, ["leaves.a=experiments.probe.kinds:Leaf", "leaves.a.n=3"]).leaves == {"a": kinds.Leaf(3)}
    assert override(base, ["s=a=b"]).s == "a=b"  # the first '=' counts
    assert override(base, []) == base


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("i", "write it as field=value"),
        ("=3", "write it as field=value"),
        ("j=3", r"j: the experiment \(Kinds\) has no field 'j'; .*valid: anything, b, .*weights"),
        ("leaf.m=3", r"leaf\.m: leaf \(Leaf\) has no field 'm'; .*valid: n$"),
        ("lief.n=3", "has no field 'lief'; did you mean 'leaf'"),
        ("weights.z.y=3", "weights has no field 'z'; valid: x"),
        ("i.x=3", r"i\.x: i is 0, it has no fields"),
        ("pair.2=3", "pair has 2 entries, write a number below that instead of '2'"),
        ("pair.first=3", "instead of 'first'"),
        ("i=many", r"config\.i: expected int, got 'many'"),
        ("leaf=experiments.probe.kinds:Leaf(3)", r"name the fields, experiments\.probe\.kinds:Leaf\(field=value\)"),
        ("leaf=os:system(n=3)", "expected Leaf, got 'os:system"),
        ("@=os:system", "has no field '@'|refused"),
    ],
)
def test_bad_overrides_are_answered(kinds, text, message):
    with pytest.raises(ConfigError, match=message):
        override(kinds.Kinds(weights={"x": 1.0}), [text])


# ---- comparisons -----------------------------------------------------------------------------------------------------------------


def test_diff_names_the_paths_and_both_values():
    a = Transformer(depth=2, pos=SinCos(base=10.0))
    assert diff(a, a) == {}
    assert diff(a, override(a, ["depth=3", "pos.base=20"])) == {"depth": (2, 3), "pos.base": (10.0, 20.0)}
    other = override(a, ["pos=jaxemb.posemb.none:NoPos"])
    assert diff(a, other)["pos.@"] == ("jaxemb.posemb.sincos:SinCos", "jaxemb.posemb.none:NoPos")
    assert diff(a, other)["pos.base"] == (10.0, None)
    assert diff({"a": (1, 2)}, {"a": (1, 2, 3)}) == {"a.2": (None, 3)}


# ---- choices ---------------------------------------------------------------------------------------------------------------------


def test_a_field_that_is_none_of_its_choices_is_refused_with_the_nearest_one():
    class Scan:
        order, tail = "colum", None

    config.choices(Scan(), tail=(None, "clamp"))
    with pytest.raises(ConfigError, match=r"Scan\.order='colum'; did you mean 'column'\? valid: column, row"):
        config.choices(Scan(), tail=(None, "clamp"), order=("row", "column"))


def test_of_many_valid_names_some_are_shown():
    names = [f"lr_{i:02}" for i in range(90)]
    assert config.suggest("lr_7", names).endswith("lr_38, lr_39 and 50 more") and "did you mean 'lr_87'?" in config.suggest(
        "lr_7", names
    )
    assert config.suggest("x", names[:40]).endswith("lr_38, lr_39")
