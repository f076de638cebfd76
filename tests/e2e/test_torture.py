"""Three kills and some damage on real training processes, in a process that forks them; `scripts/torture.py` does hundreds."""

import csv
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "torture.py"


def test_a_kill_while_it_trains_in_a_save_and_in_its_commit_and_a_damaged_file(tmp_path):
    table = tmp_path / "torture.csv"
    command = [
        sys.executable,
        str(SCRIPT),
        "--kills",
        "3",
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
    assert {row["kind"] for row in rows} == {"kill", "kill in save", "kill in commit", "file"}
    assert len(rows) == 4 and {row["verdict"] for row in rows} == {"fine"}
    assert all(int(row["restored"]) >= int(row["complete"]) for row in rows if row["kind"] != "file")
    assert "violations" in done.stdout and f"4/4  {rows[-1]['kind']}" in done.stdout
