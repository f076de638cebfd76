"""What the documentation shows is true: its blocks run, its commands are understood, its links lead somewhere."""

import ast
import functools
import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pretrained import bert, chain

from jaxemb.cli import main, parser
from jaxemb.cli.describe import catalogue
from jaxemb.config import override
from jaxemb.data.digits import Digits
from jaxemb.discover import families, members
from jaxemb.experiment import Experiment, find, find_all
from jaxemb.io.embedder import Embedder
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.train.setup import new_state
from jaxemb.train.sharding import make_mesh
from jaxemb.train.summary import count_parameters

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("experiments/*/README.md")),
]
EXPERIMENTS = sorted(ROOT.glob("experiments/*/*.py"))
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b|\.\.\.|<\w+>")
"""RUN, FILE, INPUT, ...: what a reader replaces."""


def name_of(path):
    return str(path.relative_to(ROOT))


# ---- reading the pages -----------------------------------------------------------------------------------------------------------


def blocks(page, language="python"):
    """(first line, text) of the fenced blocks."""
    text = page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return [(text[: m.start(1)].count("\n") + 1, m.group(1)) for m in found]


def file_of(block):
    """The path in the first line, `# jaxemb/pooling/gem.py`, of a block that is a whole file."""
    first = re.match(r"# (\S+\.py)\n", block)
    return first and first.group(1)


def commands(path):
    """The command lines of a page, or of the docstring of a Python file, without what is said about them."""
    text = path.read_text()
    if path.suffix == ".py":
        lines = [line.strip() for line in (ast.get_docstring(ast.parse(text)) or "").splitlines()]
    else:
        text = re.sub(r"^```python\n.*?^```$", "", text, flags=re.M | re.S)
        fenced = "".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S))
        indented = re.findall(r"^ {4,}(.*)$", text, re.M)
        lines = [*fenced.splitlines(), *indented, *re.findall(r"`([^`\n]+)`", text)]
    return list(told("\n".join(lines)))


def told(text):
    for line in text.replace("\\\n", " ").splitlines():
        words = re.sub(r"^(\$ )?(\.venv/bin/)?", "", line.strip())
        if words.startswith("jaxemb "):
            yield re.split(r"\s{2,}|\s#", words)[0]


def help_texts():
    """The examples of `jaxemb --help` and of each verb's."""
    return "\n".join(v for k, v in vars(sys.modules["jaxemb.cli.parser"]).items() if k.isupper() and isinstance(v, str))


# ---- running them ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def at_home(monkeypatch):
    """The repository's root is where commands are given."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


@pytest.fixture
def new_methods(tmp_path, monkeypatch):
    """The files that the pages tell a reader to write below jaxemb/ are there, found as they would be. One that is there already
    is shown as it is."""
    made = []
    for page in PAGES:
        for _, block in blocks(page):
            file = file_of(block)
            if file and file.startswith("jaxemb/"):
                if (ROOT / file).exists():
                    shown = block.split("\n", 1)[1]
                    assert shown == (ROOT / file).read_text(), f"{name_of(page)} shows another {file} than there is"
                    continue
                _, family, _ = file.split("/")
                folder = tmp_path / "new" / family
                folder.mkdir(parents=True, exist_ok=True)
                (folder / Path(file).name).write_text(block)
                package = importlib.import_module(f"jaxemb.{family}")
                monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
                made.append((package, Path(file).stem))
    importlib.invalidate_caches()
    yield made
    for package, module in made:
        sys.modules.pop(f"{package.__name__}.{module}", None)
        vars(package).pop(module, None)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """`load("runs/...")` gives an encoder that was never trained; cat.jpg, dog.jpg and a small model in the place of MiniLM are
    there."""
    encoder = Transformer(stem=Patches(2), width=16, depth=1, blocks=(Block(Attention(2)),))
    experiment = Experiment(name="stand-in", objective=Classify(encoder=encoder), data=Digits(), steps=1, batch=1)

    def load(run, **options):
        assert re.fullmatch(r"runs/\w+(@\d+)?", run) and set(options) <= {"step", "weights", "say"}
        mesh = make_mesh({"data": 1})
        return Embedder(experiment.objective, new_state(experiment, mesh).variables(), experiment.data.preprocess, mesh=mesh)

    monkeypatch.setattr("jaxemb.io.embedder.load", load)
    chain(bert(tmp_path / "all-MiniLM-L6-v2"), ("Pooling", {"pooling_mode": "mean"}), ("Normalize", None))
    for name in ("cat.jpg", "dog.jpg"):
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=name_of)
def test_the_blocks_of_a_page_run_from_top_to_bottom(page, at_home, new_methods, stand_in, monkeypatch):
    """A block goes on where the one before ended; one that is a whole file of tests is run as such."""
    monkeypatch.chdir(stand_in)
    shared = {"__name__": "page"}
    for line, block in blocks(page):
        file = file_of(block) or ""
        own = {"__name__": Path(file).stem} if file else shared
        code = compile("\n" * (line - 1) + block, str(page), "exec", dont_inherit=True)  # errors name the page and its line
        if not file.startswith("jaxemb/"):
            exec(code, own)
        if file.startswith("tests/"):
            facts = {name: f for name, f in own.items() if name.startswith("test_")}
            assert facts, f"{file} in {name_of(page)} tests nothing"
            for fact in facts.values():
                fact()


def test_the_methods_of_the_guide_are_found_named_and_part_of_the_model(at_home, new_methods, capsys):
    """What docs/add_a_method.md says after the files: the classes are listed, and swap in by one field."""
    told = commands(ROOT / "docs" / "add_a_method.md")
    for name, listed, field, more in (
        ("alibi", "ALiBi()", "objective.encoder.pos", 0),
        ("scaled", "Scaled()", "objective.pooling", 96),  # a factor for each feature
    ):
        ask, show = (c for c in told if name in c)
        assert main(shlex.split(ask)[1:]) == 0 and listed in capsys.readouterr().out
        args = parser().parse_args(shlex.split(show)[1:])
        experiment = override(find(args.target), args.set)
        made = functools.reduce(getattr, field.split("."), experiment)
        assert type(made).__name__ == listed.removesuffix("()")
        assert count_parameters(experiment) == count_parameters(find(args.target)) + more


# ---- commands --------------------------------------------------------------------------------------------------------------------


def understood(command):
    """The parsed command; None where it is a verb alone, or where placeholders keep it from being a command."""
    try:
        return parser().parse_args(shlex.split(command)[1:])
    except (SystemExit, ValueError):
        verb_alone = f"\n    {command.removeprefix('jaxemb ')} " in parser().format_help()
        assert verb_alone or PLACEHOLDER.search(command), f"not understood: {command}"
        return None


def check_commands(found):
    for command in found:
        args = understood(command)
        target = getattr(args, "experiment", getattr(args, "target", ""))
        if ".py" in target and not PLACEHOLDER.search(target):
            for experiment in find_all(target):
                override(experiment, args.set)  # an unknown file, name, field or type is an error that says so
        if hasattr(args, "family") and not PLACEHOLDER.search(command):
            assert main(shlex.split(command)[1:]) == 0, command


@pytest.mark.parametrize("path", [p for p in [*PAGES, *EXPERIMENTS] if commands(p)], ids=name_of)
def test_the_commands_of_a_page_are_understood_and_what_they_name_is_there(path, at_home, new_methods):
    check_commands(commands(path))


def test_the_examples_of_the_help_are_understood_and_what_they_name_is_there(at_home):
    found = list(told(help_texts()))
    assert len(found) > 25
    check_commands(found)


@pytest.mark.parametrize(
    "command",
    ["jaxemb trian x.py", "jaxemb paint", "jaxemb eval runs/a --evalss knn", "jaxemb encode runs/a photos"],
)
def test_a_command_that_does_not_exist_is_found_out(command, capsys):
    with pytest.raises(AssertionError, match="not understood"):
        understood(command)
    capsys.readouterr()


def test_placeholders_are_no_mistakes_and_remarks_no_arguments(capsys):
    assert understood("jaxemb VERB ...") is None and understood("jaxemb eval") is None
    assert understood("jaxemb eval RUN").run == "RUN"
    text = "  jaxemb train a.py --seed 1          in runs/a-seed1\n$ jaxemb show a.py  # what it is\nprose\n    --no jaxemb x"
    assert list(told(text)) == ["jaxemb train a.py --seed 1", "jaxemb show a.py"]
    capsys.readouterr()


# ---- links and the catalogue -----------------------------------------------------------------------------------------------------


def headings(page):
    """The anchors of a page, as they are made on GitHub."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in found}


def broken(page, text):
    """The links and file names of a page that lead nowhere."""
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if re.match(r"\w+:", link):
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            yield link
    written = {file_of(block) for _, block in blocks(page)}
    for name in re.findall(r"`((?:jaxemb|tests|scripts|docs|experiments)/[\w./-]+)`", text):
        if not (ROOT / name).exists() and name not in written:
            yield name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_and_file_names_of_a_page_lead_somewhere(page):
    assert list(broken(page, page.read_text())) == []


def test_a_link_that_leads_nowhere_is_found_out():
    page = ROOT / "docs" / "concepts.md"
    text = (
        "[a](nowhere.md) [b](../README.md) [c](https://x.y/z) [d](#no-such-heading) `tests/no.py` `jaxemb/types.py` [e](#why-linen)"
    )
    assert list(broken(page, text)) == ["nowhere.md", "#no-such-heading", "tests/no.py"]


def test_the_table_of_the_front_page_names_every_member():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", (ROOT / "README.md").read_text(), re.M)
    told = {family: set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", cell))) for family, cell in rows}
    assert told == {f: {m.name for m in members(f)} for f in families()}


def test_the_catalogue_of_methods_is_that_of_the_code():
    found = (ROOT / "docs" / "methods.md").read_text()
    assert found == catalogue({f: members(f) for f in families()}) + "\n", "docs/methods.md is out of date: run `make docs`"


def test_the_readme_lists_every_method_of_its_families():
    """`jaxemb list FAMILY` is the truth; a row of the table is a family."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", (ROOT / "README.md").read_text(), re.M)
    listed = {family: set(re.findall(r"`(\w+)`", names)) for family, names in rows}
    assert {"posemb", "pooling", "objectives", "data", "evals"} <= listed.keys()
    there = {family: {m.name for m in members(family)} for family in listed if family in families()}
    assert {family: names - listed[family] for family, names in there.items() if names - listed[family]} == {}
