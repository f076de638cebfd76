"""A run folder in a bucket does what one on a disk does."""

import json

import numpy as np

import jaxemb
from jaxemb.cli import main
from jaxemb.train.loop import train

RUN = "gs://any/runs/tiny"


def test_train_cut_off_go_on_evaluate_encode_plot(experiment, run, cloud, images, model, read_rows, capsys, tmp_path):
    train(experiment, RUN)
    here = cloud.path_of(RUN)
    assert read_rows(here) == read_rows(run)
    assert "step 10/10" in (here / "log.txt").read_text()
    assert not (here / "claim.json").exists() and not (here / ".lock").exists()
    written = [n for n in cloud.written if n.endswith("metrics.jsonl")]
    assert len(written) < len(read_rows(here)) / 2  # at its start, evaluations and saves

    # Killed in the save of step 10: no mark that it is whole, and no manifest. Step 5 stands.
    (here / "checkpoints" / "10" / "commit_success.txt").unlink()
    (here / "checkpoints" / "10.manifest.json").unlink()
    stale = {"host": "gone", "pid": 1, "time": 0, "name": "other"}
    (here / "claim.json").write_text(json.dumps(stale))
    capsys.readouterr()
    train(experiment, RUN)
    said = capsys.readouterr().out
    assert "checkpoint 10 is passed over" in said and "going on from step 5" in said
    assert read_rows(here) == read_rows(run)

    again = jaxemb.load(RUN)
    np.testing.assert_array_equal(again.encode(images), model.encode(images))
    assert main(["plot", RUN, "--out", str(tmp_path / "curves.png")]) == 0
    assert main(["eval", RUN]) == 0
    assert list((here / "evals").glob("*@10.json"))
