"""What importing costs, what worker processes give, what is kept in memory."""

import json
import subprocess
import sys

import numpy as np
from photos import write_photos

from jaxemb.data.pipeline import Kept

WORKERS = """
import json
import sys
from jaxemb.data.augment import Flip, RandomResizedCrop
from jaxemb.data.image_shards import ImageShards
import numpy as np

def equal(x, y):
    return all(np.array_equal(x[k], y[k]) for k in x)

def take(stream, count):
    return [next(stream) for _ in range(count)]

def check(make):
    whole = take(make(0).batches(16, seed=3), 7)
    there = make(0).batches(16, seed=3)
    take(there, 4)
    state = json.loads(json.dumps(there.get_state()))
    halves = [make(workers).batches(8, seed=3, shard=(p, 2)) for p, workers in ((0, 2), (1, 0))]  # other processes, and workers
    for half in halves:
        half.set_state(state)
    for x, *parts in zip(whole[4:], *(take(half, 3) for half in halves)):
        assert all(type(v) is np.ndarray for y in parts for v in y.values())
        assert equal(x, {k: np.stack([y[k] for y in parts], 1).reshape(x[k].shape) for k in x})

def main(path):
    augment = (RandomResizedCrop(), Flip())
    check(lambda workers: ImageShards(path, size=8, groups=4, augment=augment, workers=workers))

if __name__ == "__main__":
    main(sys.argv[1])
"""


def test_importing_costs_nothing():
    code = (
        "import sys, pkgutil, importlib, json, jaxemb.data as d\n"
        "for m in pkgutil.iter_modules(d.__path__): importlib.import_module(f'jaxemb.data.{m.name}')\n"
        "from jaxemb.data.shapes import Shapes; Shapes().spec\n"
        "heavy = ('jax', 'flax', 'grain', 'pyarrow', 'array_record', 'tensorflow_datasets', 'sklearn', 'cv2', 'PIL')\n"
        "print(json.dumps([m for m in heavy if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_a_place_holds_for_any_number_of_workers_and_processes(tmp_path):
    (tmp_path / "run.py").write_text(WORKERS)
    out = subprocess.run(
        [sys.executable, tmp_path / "run.py", write_photos(tmp_path, "parquet")], capture_output=True, text=True, timeout=120
    )
    assert out.returncode == 0, out.stderr
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
