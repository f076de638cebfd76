"""Five kills and some damage on real training processes, in a process that forks them; `scripts/torture.py` does hundreds."""

import csv
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "torture.py"


def test_five_kills_and_a_damaged_file(tmp_path):
    table = tmp_path / "torture.csv"
    command = [
        sys.executable,
        str(SCRIPT),
        "--kills",
        "5",
        "--steps",
        "8",
        "--damages",
        "1",
        "--others",
        "0",
        "--pairs",
        "0",
        "--csv",
        str(table),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 6 and {row["verdict"] for row in rows} == {"fine"}
    assert all(int(row["restored"]) >= int(row["complete"]) for row in rows if row["kind"] != "file")
    assert "violations" in done.stdout and f"6/6  {rows[-1]['kind']}" in done.stdout
