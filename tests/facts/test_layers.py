"""The package keeps to its layers, and the check that says so finds every way of breaking them."""

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("check_layers", ROOT / "scripts" / "check_layers.py")
assert SPEC and SPEC.loader
layers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(layers)


def test_the_package_keeps_to_its_layers():
    assert layers.violations(ROOT / "jaxemb") == []


def test_every_part_of_the_package_has_a_layer():
    parts = {p.stem for p in (ROOT / "jaxemb").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert parts - {"__init__"} <= set(layers.LAYER)


@pytest.mark.parametrize(
    ("file", "code", "why"),
    [
        ("nn/x.py", "from jaxemb.objectives.base import Objective", "goes up: nn is layer 4, objectives is layer 5"),
        ("nn/x.py", "import jaxemb.train.loop", "goes up"),
        ("nn/x.py", "from jaxemb import train", "goes up"),
        ("nn/x.py", "def f():\n    from jaxemb.train import loop", "goes up"),  # inside a function is no excuse
        ("posemb/x.py", "from jaxemb.pooling.mean import Mean", "posemb does not know pooling"),
        ("data/x.py", "from jaxemb.objectives.base import Objective", "data does not know objectives"),
        ("evals/x.py", "from jaxemb.train.encode import bind", "evals does not know train"),
        ("train/x.py", "from jaxemb.experiment import Experiment", "goes up"),
        ("cli.py", "import experiments.jepa.shapes", "nothing in jaxemb knows the experiments"),
        ("log/x.py", "import matplotlib.pyplot as plt", "belongs into the function that needs matplotlib"),
        ("data/x.py", "import jax", "data workers must not pay for JAX"),
        ("masks/x.py", "import jax", "data workers must not pay for JAX"),
        ("nn/x.py", "from .dense import Dense", "is relative"),
        ("nn/x.py", "from jaxemb.novel import Thing", "names novel, which has no layer"),
        ("novel/x.py", "", "novel has no layer"),
    ],
)
def test_every_kind_of_breach_is_found(tmp_path, file, code, why):
    path = tmp_path / "jaxemb" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    (found,) = layers.violations(tmp_path / "jaxemb")
    assert why in found and str(path) in found


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("nn/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jaxemb.train.loop import train"),
        ("nn/x.py", "from jaxemb.posemb.base import PosEmb\nfrom jaxemb.layers.dense import Dense\nimport numpy"),
        ("io/x.py", "from jaxemb.run.checkpoint import Checkpoints"),
        ("log/x.py", "def f():\n    import matplotlib"),
    ],
)
def test_imports_that_go_down_pass(tmp_path, file, code):
    path = tmp_path / "jaxemb" / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert layers.violations(tmp_path / "jaxemb") == []
