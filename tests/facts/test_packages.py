"""Whose code a config may name: what the user allowed and nothing else, and never what a stranger's folder holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxemb import packages
from jaxemb.config import ConfigError, conform, find_class, from_json, parse, to_json
from jaxemb.data.base import Data
from jaxemb.experiment import find
from jaxemb.packages import Refused, import_file, is_allowed, own_packages, use_project

ROOT = Path(__file__).parents[2]

CLASS = """
import dataclasses
open({sign!r}, "w").close()
@dataclasses.dataclass(frozen=True)
class Own:
    n: int = 1
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """write("project/experiments/a/own.py") puts a class `Own` there, whose import leaves a sign; afterwards all is forgotten."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != ""])
    monkeypatch.setattr(packages, "_named", [])
    for name in (packages.PROJECT, packages.PACKAGES):
        monkeypatch.delenv(name, raising=False)
    before = dict(sys.modules)
    sign = tmp_path / "it_ran"

    def write(path, text=CLASS):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{sign!r}", repr(str(sign))))
        return file

    write.sign, write.root = sign, tmp_path
    for name in [n for n in sys.modules if n.split(".")[0] == "experiments"]:
        del sys.modules[name]
    packages._installed.cache_clear()
    yield write
    for name in set(sys.modules) - set(before):
        if name.split(".")[0] in ("experiments", "mine", "lone", "evil"):
            del sys.modules[name]
    sys.modules.update(before)
    packages._installed.cache_clear()


def test_experiments_of_the_current_folder_are_not_imported(world, monkeypatch):
    """A stranger's run brings experiments/ of its own; being there is no consent."""
    world("run/experiments/evil/own.py")
    world("run/config.json", '{"@": "experiments.evil.own:Own"}')
    monkeypatch.chdir(world.root / "run")
    with pytest.raises(ConfigError, match="there is no module experiments.evil.own in your projects"):
        from_json({"@": "experiments.evil.own:Own"})
    monkeypatch.syspath_prepend(str(world.root / "run"))  # not even where Python would find it
    with pytest.raises(ConfigError, match="there is no module experiments.evil.own in your projects"):
        from_json({"@": "experiments.evil.own:Own"})
    with pytest.raises(Refused, match="is a run folder: its own code is never run"):
        use_project(".")
    with pytest.raises(Refused, match="there is no project folder 'nowhere'"):
        use_project("nowhere")
    assert not world.sign.exists()


@pytest.mark.parametrize("way", ["named", "environment"])
def test_experiments_of_a_named_project_are_imported(world, monkeypatch, way):
    world("project/experiments/topic/own.py")
    if way == "named":
        use_project(world.root / "project")
    else:
        monkeypatch.setenv(packages.PROJECT, str(world.root / "project"))
    assert from_json({"@": "experiments.topic.own:Own", "n": 3}).n == 3


def test_the_file_that_the_user_gives_names_its_project(world):
    world("project/experiments/topic/own.py")
    file = world("project/experiments/topic/more.py", "from experiments.topic.own import Own\nmain = Own(2)")
    assert import_file(file).__name__ == "experiments.topic.more"
    assert from_json(to_json(import_file(file).main)).n == 2


def test_an_init_file_of_the_users_hides_none_of_ours(world):
    world("project/experiments/__init__.py", "MARK = 1")
    file = world("project/experiments/topic/own.py")
    import_file(file)
    assert find_class("experiments.topic.own:Own").__name__ == "Own"
    assert sys.modules["experiments"].MARK == 1
    assert find(str(ROOT / "experiments/jepa/shapes.py")).name == "shapes"


def test_a_module_that_does_not_define_the_class_is_not_run(world):
    """A script below experiments/ would be started by a config that names it."""
    world("project/experiments/topic/script.py", "open({sign!r}, 'w').close()\nclass Other: pass")
    use_project(world.root / "project")
    with pytest.raises(ConfigError, match="experiments.topic.script has no class 'Own'; valid: Other"):
        from_json({"@": "experiments.topic.script:Own"})
    with pytest.raises(ConfigError, match="there is no module experiments.topic.script.more"):
        from_json({"@": "experiments.topic.script.more:Own"})
    world("project/experiments/topic/broken.py", "class Own(:")
    with pytest.raises(ConfigError, match="broken.py is no Python"):
        from_json({"@": "experiments.topic.broken:Own"})
    assert not world.sign.exists()


def test_a_package_of_the_users_is_asked_for_by_name(world, monkeypatch):
    world("site/mine/__init__.py", "")
    world("site/mine/models.py")
    monkeypatch.syspath_prepend(str(world.root / "site"))
    with pytest.raises(ConfigError, match=r"If the package 'mine' is yours.* allow it with JAXEMB_PACKAGES=mine .*pyproject.toml"):
        from_json({"@": "mine.models:Own"})
    assert not world.sign.exists() and "mine" not in sys.modules
    monkeypatch.setenv(packages.PACKAGES, "other, mine")
    x = from_json({"@": "mine.models:Own", "n": 4})
    assert to_json(x) == {"@": "mine.models:Own", "n": 4}
    with pytest.raises(ConfigError, match="needs the package 'other', which is not installed here"):
        from_json({"@": "other.models:Own"})
    with pytest.raises(ConfigError, match="no module mine.nothing in the package 'mine'"):
        from_json({"@": "mine.nothing:Own"})
    with pytest.raises(ConfigError, match="is refused"):
        from_json({"@": "mine.__main__:Own"})


def test_a_package_that_is_not_allowed_is_text_on_the_command_line(world):
    assert parse("mine.models:Own(n=1)") == "mine.models:Own(n=1)"
    with pytest.raises(ConfigError, match=r"expected Data, got 'mine.models:Own\(n=1\)'; .*JAXEMB_PACKAGES=mine"):
        conform("mine.models:Own(n=1)", Data, "config.data")


def test_a_project_allows_packages_in_its_pyproject(world):
    world("project/pyproject.toml", '[tool.jaxemb]\npackages = ["mine"]')
    world("project/src/mine/models.py")
    file = world("project/src/mine/work/first.py", "from mine.models import Own\nmain = Own(5)")
    assert import_file(file).__name__ == "mine.work.first"
    assert to_json(import_file(file).main) == {"@": "mine.models:Own", "n": 5}
    assert is_allowed("mine.models") and not is_allowed("mine.__main__") and not is_allowed("minex.models")


@pytest.mark.parametrize("text", ["[tool.jaxemb]\npackages = 'mine'", "[tool.jaxemb]\npackages = ['a b']", "[tool", "tool = 3"])
def test_a_pyproject_that_says_nonsense(world, text):
    world("project/pyproject.toml", text)
    with pytest.raises(Refused, match="pyproject.toml"):
        use_project(world.root / "project")


def test_an_installed_package_registers_itself(world, monkeypatch):
    world("site/mine/models.py")
    world("site/mine-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    world("site/mine-1.0.dist-info/entry_points.txt", "[jaxemb.packages]\nmine = mine\n")
    monkeypatch.syspath_prepend(str(world.root / "site"))
    assert from_json({"@": "mine.models:Own"}).n == 1


def test_a_notebook_opened_in_a_strangers_folder(world, monkeypatch):
    """Python looks into the current folder first there; what it holds is neither an installed package nor allowed."""
    world("run/mine/models.py")
    world("run/evil-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    world("run/evil-1.0.dist-info/entry_points.txt", "[jaxemb.packages]\nevil = evil\n")
    world("run/evil/models.py")
    monkeypatch.chdir(world.root / "run")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv(packages.PACKAGES, "mine")
    for name in ("mine", "evil"):
        with pytest.raises(ConfigError):
            from_json({"@": f"{name}.models:Own"})
    assert not world.sign.exists()


def test_the_standard_library_cannot_be_allowed(monkeypatch):
    monkeypatch.setenv(packages.PACKAGES, "subprocess,os,this")
    for name in ("subprocess:Popen", "os.path:join", "this:X"):
        with pytest.raises(ConfigError, match="is refused"):
            from_json({"@": name})


def test_a_class_of_a_notebook_is_told_where_to_go():
    with pytest.raises(ConfigError, match="lives in a script or notebook.*move the class into a file of its own, experiments/"):
        from_json({"@": "__main__:Own"})


def test_a_file_whose_name_is_no_module(world):
    with pytest.raises(Refused, match="cannot be imported as 'my-file': name files and folders with letters"):
        import_file(world("lone/my-file.py"))


def test_packages_that_a_config_needs():
    doc = {"@": "jaxemb.a:B", "x": [{"@": "mine.models:Own"}, {"y": {"@": "experiments.a:B"}}], "z": {"@": 3}}
    assert own_packages(doc) == {"mine", "experiments"}


@pytest.mark.parametrize("start", [["-m", "jaxemb"], ["-c", "from jaxemb.cli import main; import sys; sys.exit(main())"]])
def test_the_command_line_in_a_strangers_run(world, start):
    """Modules of the folder shadow none of Python's, and the config's names start nothing: a process of its own, as typed."""
    for name in ("experiments/evil/own.py", "rich.py"):
        world(f"run/{name}")
    for name in ("experiments.evil.own:Own", "jaxemb.__main__:E"):
        world("run/config.json", json.dumps({"@": name}))
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1" if start[0] == "-c" else ""}
        command = [sys.executable, *start, "show", "."]
        done = subprocess.run(command, capture_output=True, text=True, cwd=world.root / "run", env=env, timeout=120)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr[-2000:]
    assert not world.sign.exists()


def test_every_class_that_can_be_listed_may_be_named():
    from jaxemb.discover import list_methods

    assert [m.name for m in list_methods() if not is_allowed(m.cls.__module__)] == []
    for module in ("jaxemb.nn.transformer", "jaxemb.train.optim", "jaxemb.experiment"):
        assert is_allowed(module)
