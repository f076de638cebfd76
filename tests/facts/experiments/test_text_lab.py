"""The experiments on LIMIT, AfLite and merging, at the smallest size."""

import numpy as np
import pytest

from experiments.text import aflite, limit
from experiments.text.rows import write
from jaxemb.data.filter import AfLite


def test_relevance_of_all_pairs_is_one_shape_for_every_n():
    relevant, here = limit.pairs_of(4, 6)
    assert relevant.shape == (15, 6) and here.tolist() == [True] * 4 + [False] * 2
    assert (relevant.sum(1) == [2] * 6 + [0] * 9).all() and not relevant[:, 4:].any()


def test_three_documents_fit_into_a_plane_and_four_do_not():
    found = {n: limit.optimise(*limit.pairs_of(n, 4), 2, 3)[0] for n in (3, 4)}
    assert found[3].all() and not found[4].any()


def test_four_numbers_serve_any_pair_by_construction():
    assert limit.construction(50) == pytest.approx(2.1e-5, rel=0.05)
    assert np.polyval(limit.PUBLISHED, 512) == pytest.approx(512_290, rel=0.001)


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
