"""Ten updates of three experiments give the metrics that are written down: a change of what is computed does not go unnoticed.

Where the change is meant: `JAXEMB_UPDATE_GOLDEN=1 .venv/bin/python -m pytest tests/golden`, look at the difference that git shows,
and say in the commit message why it is right.
"""

import json
import os
import pathlib

import pytest

from jaxemb.config import override
from jaxemb.experiment import find
from jaxemb.run.folder import Run
from jaxemb.train.loop import train

HERE = pathlib.Path(__file__).parent
FOLDER = HERE.parents[1] / "experiments" / "jepa"
SHORT = ("steps=10", "batch=16", "log_every=1", "evals={}", 'mesh={"data": 1}')
SMALL = ("objective.encoder.depth=1", "objective.encoder.width=32")
FEW = ("data.count_train=64", "data.count_test=16")
CASES = {
    "digits": ("digits.py", (*SHORT, *SMALL)),
    "digits_supervised": ("digits.py:supervised", (*SHORT, *SMALL)),
    "shapes": ("shapes.py", (*SHORT, *SMALL, *FEW)),
    "shapes_ijepa": ("shapes_search.py:former", (*SHORT, *SMALL, *FEW, "objective.target_layers=1")),
}
WATCHED = ("loss", "grad_norm", "lr", "target_std", "accuracy")


@pytest.mark.parametrize("name", CASES)
def test_metrics_of_ten_steps(name, tmp_path):
    target, changes = CASES[name]
    train(override(find(str(FOLDER / target)), changes), tmp_path / "run")
    rows = [{k: v for k, v in row.items() if k in ("step", *WATCHED)} for row in Run(tmp_path / "run").metrics()]
    file = HERE / f"{name}.json"
    if os.environ.get("JAXEMB_UPDATE_GOLDEN"):
        file.write_text("".join(f"{json.dumps({k: float(f'{v:.6g}') for k, v in row.items()})}\n" for row in rows))
        pytest.skip(f"wrote {file}")
    expected = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == len(expected) == 10
    for got, wanted in zip(rows, expected, strict=True):
        # Sums in another order change the last digits, and ten updates carry them on; a change of a method is far larger.
        # They may turn one example of 16, too: the head starts at zeros, and its first logits differ by little more than that.
        close = {k: pytest.approx(v, rel=2e-3, abs=1.01 / 16 if k == "accuracy" else 1e-5) for k, v in wanted.items()}
        assert got == close, f"step {wanted['step']}; meant? See the head of {__file__}"
