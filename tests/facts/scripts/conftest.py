import importlib
import pathlib
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module")
def script():
    """script("bench_steps"): the module. Scripts import each other by their bare names, as `python scripts/x.py` lets them."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)
