"""scripts/bench_search.py: its figures, with a stand-in for faiss."""

import csv

import numpy as np
import pytest


def test_a_table_with_recall_and_bytes(script, monkeypatch, tmp_path, capsys):
    bench = script("bench_search")

    def theirs(case, x, passes, threads):
        worse = np.where(passes, 0, -np.inf) if case == "filtered" else 0

        def search(q):
            return np.where(np.arange(bench.K) < 9, np.argsort(-(q @ x.T + worse), axis=1)[:, : bench.K], -1)

        sides.append(search)
        return bench.Side(search, 0.1, 32.0)

    sides = []
    monkeypatch.setattr(bench, "seconds", lambda search, q, calls: (2.0, 6.0) if search in sides else (1.0, 2.0))
    monkeypatch.setattr(bench, "theirs", theirs)
    monkeypatch.setattr(bench, "CASES", {"exact": {3: 1.3}, "filtered": {3: 2.0}})
    monkeypatch.setattr(bench, "SHARE", 0.2)
    file = tmp_path / "own" / "bench.csv"
    for _ in range(2):
        bench.main(["--rows=200", "--width=8", "--rounds=2", "--cases=exact,filtered", f"--csv={file}"])
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == 4 and [row["case"] for row in rows[:2]] == ["exact", "filtered"]
    assert all(float(row["recall"]) == 1 and float(row["recall_faiss"]) == 0.9 and float(row["bytes"]) == 32 for row in rows)
    assert all(float(row["ratio"]) == 2 and float(row["cpu"]) == 3 and float(row["qps"]) == 3 for row in rows)
    assert "times faiss" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["--cases=none"])
