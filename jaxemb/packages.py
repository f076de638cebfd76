"""Whose code a config may name: classes of jaxemb, of the user's own project, and of packages that he allows.

Configs come with runs, and runs from strangers: a name in a config must not decide what is imported. So a module is imported
only where it is one of

    jaxemb.<package>....   of the packages that define methods (`OURS`), never the command line
    experiments....        of a project that the user named: by the experiment file that he gave, `--project DIR` or
                           JAXEMB_PROJECT, and of the checkout that jaxemb itself lies in; never of a run or the current folder
    <package>....          that the user allows: JAXEMB_PACKAGES=a,b, `[tool.jaxemb] packages = ["a", "b"]` in the
                           pyproject.toml of his project, or the entry points `jaxemb.packages` of what he installed

and only where its source, which is read first, defines the class.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxemb import files
from jaxemb.lazy import offered

OURS = frozenset(
    "contrastive data diffusion evals experiment graph index layers masks nn objectives ops pooling posemb preprocess static "
    "tables token_masks train transforms views".split()
)
"""What below `jaxemb` defines configs."""

PROJECT, PACKAGES, GROUP = "JAXEMB_PROJECT", "JAXEMB_PACKAGES", "jaxemb.packages"
HOW = (
    f'allow it with {PACKAGES}={{0}} in the environment, with `[tool.jaxemb] packages = ["{{0}}"]` in the pyproject.toml of your '
    "project (named by --project DIR), or with an entry point of the group `jaxemb.packages`"
)
NAME = re.compile(r"[^\W\d]\w{0,99}(\.[^\W\d]\w{0,99}){0,19}")
"""A dotted name of at most twenty parts."""

_named: list[Path] = []


class Refused(ValueError):
    """A class that is not read from a config, or is not there; the message says why and what to do."""


# ---- what the user allows --------------------------------------------------------------------------------------------------------


def use_project(folder: str | Path) -> Path:
    """From now on `experiments.` and the packages that its pyproject.toml allows may come from this folder."""
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise Refused(f"there is no project folder {str(folder)!r}")
    if is_run(root):
        raise Refused(
            f"{folder} is a run folder: its own code is never run; name the folder of your project, which holds experiments/"
        )
    if root not in _named:
        _named.insert(0, root)
        _settings(root)
        for place in (root / "src", root):
            if place.is_dir() and str(place) not in sys.path:
                sys.path.insert(0, str(place))
    return root


def is_run(folder: Path) -> bool:
    """Whether a folder holds a stored config."""
    try:
        found = files.read_json(folder / "config.json")
    except files.FileError:
        return False
    return isinstance(found, dict) and "@" in found


def projects() -> tuple[Path, ...]:
    """The folders whose experiments may be imported, the last one named first, jaxemb's own checkout at the end."""
    if os.environ.get(PROJECT):
        use_project(os.environ[PROJECT])
    checkout = Path(__file__).resolve().parents[1]
    own = [checkout] if (checkout / "experiments").is_dir() and (checkout / "pyproject.toml").is_file() else []
    return tuple(dict.fromkeys([*_named, *own]))


def allowed() -> frozenset[str]:
    """The names of the user's own packages."""
    given = os.environ.get(PACKAGES, "").replace(" ", "").split(",")
    return frozenset(filter(None, [*given, *(name for root in projects() for name in _settings(root)), *_installed()]))


def is_allowed(module: str) -> bool:
    """Whether classes of this module may stand in a config; nothing is imported to find out."""
    top, _, rest = module.partition(".")
    if not NAME.fullmatch(module) or any(part.startswith("__") for part in module.split(".")):
        return False
    if top == "jaxemb":
        return rest.partition(".")[0] in OURS
    return bool(rest) if top == "experiments" else top not in sys.stdlib_module_names and top in allowed()


def own_packages(doc: Any) -> set[str]:
    """The packages other than jaxemb that a stored config names: what must be there where it is read."""
    if isinstance(doc, dict):
        name = doc.get("@")
        here = {name.partition(":")[0].partition(".")[0]} if isinstance(name, str) else set()
        return here.union(*map(own_packages, doc.values())) - {"jaxemb"}
    return set().union(*map(own_packages, doc)) if isinstance(doc, list) else set()


@functools.cache
def _settings(root: Path) -> tuple[str, ...]:
    """`[tool.jaxemb] packages` of a project."""
    file = root / "pyproject.toml"
    if not file.is_file():
        return ()
    try:
        found = tomllib.loads(file.read_text()).get("tool", {}).get("jaxemb", {}).get("packages", [])
    except (ValueError, OSError, AttributeError) as e:
        raise Refused(f"{file} cannot be read: {e}") from e
    if not isinstance(found, list) or not all(isinstance(name, str) and NAME.fullmatch(name) for name in found):
        raise Refused(f"{file}: packages of [tool.jaxemb] must be a list of names, not {found!r}")
    return tuple(found)


@functools.cache
def _installed() -> tuple[str, ...]:
    """Packages that register themselves; those of the current folder, which is no installation, do not count."""
    found = importlib.metadata.distributions(path=[p for p in sys.path if p not in ("", ".")])
    return tuple(e.value.partition(":")[0].partition(".")[0] for d in found for e in d.entry_points if e.group == GROUP)


# ---- from a name to a class ------------------------------------------------------------------------------------------------------


def find(name: Any) -> Any:
    """What "module:Class" names; the caller looks at what it is."""
    module, _, qualname = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not NAME.fullmatch(module) or not NAME.fullmatch(qualname):
        raise Refused(f"{shorten(name)} is not of the form 'module:Class'")
    if not is_allowed(module):
        raise Refused(why_not(module, name))
    module = _home(module, qualname)
    found = _import(module, qualname)
    for part in qualname.split("."):
        if part not in vars(found):
            raise LookupError(module, qualname, found)
        found = vars(found)[part]
        if not isinstance(found, type):
            raise Refused(f"{name} is not a dataclass or module, so it cannot stand in a config")
    if not is_allowed(found.__module__):  # what a module of ours imports from elsewhere is not ours
        raise Refused(f"{name} is refused: it is {found.__module__}.{found.__qualname__}, which no config may name")
    return found


def why_not(module: str, name: str) -> str:
    """Why classes of a module are refused, and what can be done."""
    top = module.partition(".")[0]
    if top == "jaxemb":
        return f"{name} is refused: configs name classes of {', '.join(sorted(OURS))} below jaxemb"
    if top in ("__main__", "__mp_main__"):
        return (
            f"{name} lives in a script or notebook, where no other process finds it: move the class into a file of its own, "
            "experiments/<topic>/<file>.py or a module of a package of yours, and import it from there"
        )
    if top == "experiments" or top in sys.stdlib_module_names:
        return f"{name} is refused: only classes under jaxemb., experiments. and packages that you allow are read from a config"
    return (
        f"{name} is refused: only classes under jaxemb., experiments. and packages that you allow are read from a config. "
        f"If the package {top!r} is yours or you trust it, {HOW.format(top)}"
    )


def _home(module: str, qualname: str) -> str:
    """The module that defines a class which a package of ours offers by name: `jaxemb.contrastive:CoSENT`, as Python imports it."""
    top, _, rest = module.partition(".")
    spec = importlib.util.find_spec(module) if top == "jaxemb" and rest.isidentifier() else None
    if spec is None or spec.submodule_search_locations is None:
        return module
    importlib.import_module(module)
    known, wanted = offered(module), qualname.partition(".")[0]
    homes = known.get(wanted, [])
    if not homes and wanted not in vars(sys.modules[module]):
        raise LookupError(module, qualname, sorted(known))
    if len(homes) > 1:
        raise Refused(f"{module}:{qualname} is defined in {' and '.join(homes)}; name one of them")
    return homes[0] if homes else module


def _import(module: str, qualname: str) -> types.ModuleType:
    """The module, imported where that has not been done, and then only where its source defines the class."""
    if module in sys.modules:
        return sys.modules[module]
    if module.startswith("experiments."):
        _join_experiments()
    spec = None
    for depth, whole in enumerate(_prefixes(module)):
        spec = _spec(whole)
        inside = depth < module.count(".")
        if spec is None or (inside and spec.submodule_search_locations is None):  # a file is no package: it is not run either
            raise Refused(_missing(module, whole))
        if inside:
            importlib.import_module(whole)
    wanted = qualname.partition(".")[0]
    if spec is not None and wanted not in (there := list(_classes(spec))):
        raise LookupError(module, qualname, there)
    return importlib.import_module(module)


def _prefixes(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def _spec(module: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module would be imported from, if it may come from there."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its parent is a file, not a package
        return None
    except ValueError:  # made by hand in this process, without a spec
        return importlib.machinery.ModuleSpec(module, None)
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    files = [Path(p).resolve() for p in places if p and p not in ("namespace", "built-in", "frozen")]
    roots = projects()
    if module.startswith("experiments."):
        return spec if any(f.is_relative_to(root / "experiments") for f in files for root in roots) else None
    here = Path.cwd()
    stray = "" in sys.path and str(here) not in sys.path and here not in roots  # a notebook opened in somebody's folder
    return None if stray and any(f.is_relative_to(here) for f in files) and "site-packages" not in str(files[0]) else spec


def _missing(module: str, part: str) -> str:
    top = module.partition(".")[0]
    if top == "jaxemb":
        return f"there is no module {module}"
    known = ", ".join(map(str, projects())) or "none"
    if top == "experiments":
        return (
            f"there is no module {module} in your projects ({known}); name the folder that holds your experiments/ with "
            f"--project DIR or {PROJECT} (code is never taken from a run or from the folder you happen to be in)"
        )
    if part == top:
        return (
            f"the config needs the package {top!r}, which is not installed here: install it, or name its project with --project DIR"
        )
    return f"there is no module {module} in the package {top!r} that is installed here"


def _classes(spec: importlib.machinery.ModuleSpec) -> Iterator[str]:
    """The classes that the source of a module defines, read without running it."""
    source = getattr(spec.loader, "get_source", lambda _: None)(spec.name)
    if source is None:
        return
    try:
        nodes = list(ast.parse(source).body)
    except (SyntaxError, ValueError, RecursionError) as e:
        raise Refused(f"{spec.origin} is no Python: {e}") from e
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, (ast.If, ast.Try, ast.With)):  # a class for each version of something
            nodes = [*node.body, *getattr(node, "orelse", ()), *(n for h in getattr(node, "handlers", ()) for n in h.body), *nodes]


# ---- the package `experiments` ---------------------------------------------------------------------------------------------------


def _join_experiments() -> None:
    """One package `experiments` over all projects: an `__init__.py` of the user's hides none of ours."""
    package = sys.modules.get("experiments")
    if package is None:
        package = sys.modules["experiments"] = types.ModuleType("experiments", "The experiments of all projects.")
        package.__spec__ = importlib.machinery.ModuleSpec("experiments", None, is_package=True)
        package.__path__ = []
    path = list(package.__path__)
    folders = [root / "experiments" for root in projects() if (root / "experiments").is_dir()]
    new = [f for f in folders if str(f) not in path]
    package.__path__ = [*map(str, new), *path]
    for folder in new:
        if (folder / "__init__.py").is_file():
            source = (folder / "__init__.py").read_text()
            exec(compile(source, str(folder / "__init__.py"), "exec"), vars(package))  # of the user's own project


def import_file(path: Path) -> types.ModuleType:
    """An experiment file under the name by which stored configs find its classes; its project is the user's from now on.

    Below `experiments/` that is experiments.<folder>.<file>, below a package that the user allows the name within it, and the
    file's own name otherwise: such a file may use classes, but those it defines cannot be stored.
    """
    parts = path.with_suffix("").parts
    own = {"experiments"} & set(parts[:-1]) or allowed_near(path) & set(parts[:-1])
    at = max((i for i, part in enumerate(parts[:-1]) if part in own), default=len(parts) - 1)
    module = ".".join(parts[at:])
    if not NAME.fullmatch(module):
        raise Refused(f"{path} cannot be imported as {module!r}: name files and folders with letters, digits and _ alone")
    if parts[at] == "experiments":
        use_file(Path(*parts[:at]))
        _join_experiments()
    else:
        if str(Path(*parts[:at])) not in sys.path:
            sys.path.insert(0, str(Path(*parts[:at])))
    return importlib.import_module(module)


def allowed_near(path: Path) -> frozenset[str]:
    """The allowed packages, with those of the nearest pyproject.toml above a file that the user named."""
    for folder in path.parents:
        if (folder / "pyproject.toml").is_file():
            use_file(folder)
            break
    return allowed()


def use_file(root: Path) -> None:
    """The project of a file that the user named."""
    if not is_run(root):
        use_project(root)


def shorten(x: Any, most: int = 200) -> str:
    """What was given, in a message: not pages of it."""
    text = ascii(x) if isinstance(x, str) and not x.isprintable() else repr(x)
    return text if len(text) <= most else f"{text[: most - 1]}…"
