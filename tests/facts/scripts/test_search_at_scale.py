"""scripts/search_at_scale.py: rows that are drawn on the device are searched as any."""

import csv

import numpy as np
import pytest


def test_queries_a_second_and_the_share_of_reading(script, tmp_path):
    file = tmp_path / "own" / "search.csv"
    script("search_at_scale").main(["--rows=700", "--width=8", "--batches=1,5", "--rounds=1", "--k=3", f"--csv={file}"])
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["batch"] for row in rows] == ["1", "5"] and all(row["reads"] == "1" and row["agree"] == "1.0" for row in rows)
    for row in rows:
        assert float(row["share"]) == pytest.approx(float(row["read_s"]) / float(row["seconds"]), rel=1e-2)
        assert float(row["gb_s"]) == pytest.approx(700 * 8 * 2 / float(row["seconds"]) / 1e9, rel=1e-2)


def test_rows_of_several_blocks_are_all_drawn(script):
    x = np.asarray(script("search_at_scale").drawn(2**20 + 5, 8, "float32", 0))
    assert x.shape == (2**20 + 5, 8) and abs(x.std() - 1) < 0.01 and x[-5:].std() > 0.5 and not np.array_equal(x[:5], x[-5:])
