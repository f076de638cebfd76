"""The experiment on AfLite, at the smallest size."""

import numpy as np

from experiments.text import aflite
from experiments.text.rows import write
from jaxemb.data.filter import AfLite


def test_rows_of_aflite_are_judged_and_written(monkeypatch, tmp_path):
    monkeypatch.setitem(aflite.LITE, "noise", AfLite(size=60, partitions=6, cut=20))
    rng = np.random.default_rng(0)
    x, y, planted = (part[:200] for part in aflite.noise(rng))
    rows = aflite.run("noise", (x, y, planted), 0)
    figures = {(how, figure): value for _, how, _, figure, value in rows}
    assert figures["AfLite", "planted"] < figures["all rows", "planted"]
    assert figures["AfLite", "rows"] == figures["at random", "rows"] == figures["by confidence", "rows"]
    write(rows, tmp_path / "out.csv", "a command")
    assert (
        (tmp_path / "out.csv")
        .read_text()
        .startswith("part,system,figure,mean,values,seeds,command\nnoise,all rows,rows,200,200,0,")
    )
