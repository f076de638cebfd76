"""What importing costs, what worker processes give, what is kept in memory."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jaxemb.data.pipeline import Kept

WORKERS = """
import json
import sys
from jaxemb.data.augment import Flip, RandomResizedCrop
from jaxemb.data.base import DataError
from jaxemb.data.digits import Digits
import numpy as np

def equal(x, y):
    return all(np.array_equal(x[k], y[k]) and type(y[k]) is np.ndarray for k in x)

def main(fresh):
    augment = (RandomResizedCrop(), Flip())
    here, there = (Digits(augment=augment, workers=w) for w in (0, 2))
    alone, together = here.batches(16, seed=3), there.batches(16, seed=3)
    for step in range(9):
        x, y = next(alone), next(together)
        assert equal(x, y), step
        if step == 5:
            state = json.loads(json.dumps(together.get_state()))
    again = there.batches(16, seed=3) if fresh else together
    again.set_state(state)
    assert equal(x, [next(again) for _ in range(3)][-1])
    try:
        alone.set_state(state)
    except DataError as e:
        print(e)

if __name__ == "__main__":
    main(sys.argv[1] == "fresh")
"""


def test_importing_costs_nothing():
    code = (
        "import sys, pkgutil, importlib, json, jaxemb.data as d\n"
        "for m in pkgutil.iter_modules(d.__path__): importlib.import_module(f'jaxemb.data.{m.name}')\n"
        "from jaxemb.data.shapes import Shapes; Shapes().spec\n"
        "heavy = ('jax', 'flax', 'grain', 'tensorflow_datasets', 'sklearn', 'cv2', 'PIL')\n"
        "print(json.dumps([m for m in heavy if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


@pytest.mark.parametrize("resumed", ["same", pytest.param("fresh", marks=pytest.mark.slow)])  # new workers start in seconds
def test_worker_processes_give_the_same_stream(tmp_path, resumed):
    (tmp_path / "run.py").write_text(WORKERS)
    out = subprocess.run([sys.executable, tmp_path / "run.py", resumed], capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    assert "saved with workers=2, but this stream has workers=0: set workers back" in out.stdout
    assert "Traceback" not in out.stderr and "Exception" not in out.stderr


def test_kept_reads_once_up_to_the_budget():
    reads = []

    def read(indices):
        reads.extend(indices)
        return [{"images": np.full((10, 10, 1), i, np.uint8)} for i in indices]

    kept = Kept(read, 20, budget=550)
    for _ in range(2):
        assert [int(e["images"][0, 0, 0]) for e in kept.rows(range(20))] == list(range(20))
    assert reads == [*range(20), *range(5, 20)]  # five of a hundred bytes fit
    kept = Kept(read, 20, budget=2000)
    kept.load()
    reads.clear()
    assert kept[7]["images"][0, 0, 0] == 7 and kept.rows([3, 3])[1]["images"][0, 0, 0] == 3 and reads == []


def test_kept_does_not_load_what_does_not_fit():
    reads = []
    kept = Kept(lambda i: [reads.append(k) or {"images": np.zeros((10, 10, 1), np.uint8)} for k in i], 100, budget=5000)
    kept.load()
    assert len(reads) < 20
