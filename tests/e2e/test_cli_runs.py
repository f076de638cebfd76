"""The command line on a run, in this process: judged, embedding, compared, drawn."""

import csv
import json

import numpy as np
from home import refused
from PIL import Image

from jaxemb.cli import main
from jaxemb.run.folder import Run

# ---- eval, encode ----------------------------------------------------------------------------------------------------------------


def test_eval_prints_the_figures_and_writes_where_they_come_from(here, capsys):
    assert main(["eval", "runs/small@5", "--evals", "knn", "--weights", "params"]) == 0
    record = json.loads((here / "runs/small/evals/knn@5-params.json").read_text())
    assert record["weights"] == "params"
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["evaluation", "figure", "value"], ["knn", "top1", f"{record['figures']['top1']:.4g}"]]


def test_eval_reads_a_run_with_changes_that_leave_its_parameters_alone(here, capsys):
    change = "objective.encoder.pos=jaxemb.posemb.rescale:Interpolated(of=jaxemb.posemb.sincos:SinCos(axes=2), factor=3.0)"
    assert main(["eval", "runs/small", "--evals", "knn", "--set", change]) == 0
    (file,) = (here / "runs/small/evals").glob("knn@10-????????.json")
    record = json.loads(file.read_text())
    assert record["changes"] == [change] and "knn" in capsys.readouterr().out
    said = refused(capsys, "eval", "runs/small", "--set", "objective.encoder.depth=2")
    assert "other parameters than the run" in said and "encoder/block_1/" in said


def test_encode_writes_a_row_an_image_and_their_names(here, tmp_path, capsys, caplog):
    rng = np.random.default_rng(0)
    for name in ("b.png", "a/z.png", "c.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(file)
    (tmp_path / "photos" / "broken.png").write_text("no image")
    out = tmp_path / "deep" / "out.npy"
    assert main(["encode", "runs/small", str(tmp_path / "photos"), str(out), "--batch", "2"]) == 0
    said = capsys.readouterr().out
    assert f"{out}: 3 embeddings of 16 numbers" in said and "out.txt: the files, a line a row" in said
    names = (tmp_path / "deep" / "out.txt").read_text().splitlines()
    assert names == [str(tmp_path / "photos" / n) for n in ("a/z.png", "b.png", "c.png")]
    assert "broken.png" in caplog.text
    z = np.load(out)
    assert z.shape == (3, 16) and z.dtype == np.float32

    assert main(["encode", "runs/small", names[1], str(tmp_path / "one.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "one.npy"), z[1:2], atol=1e-5)

    np.savez(tmp_path / "images.npz", images=np.stack([np.asarray(Image.open(n))[..., None] for n in names]))
    assert main(["encode", "runs/small@10", str(tmp_path / "images.npz"), str(tmp_path / "rows.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), z, atol=1e-5)
    assert not (tmp_path / "rows.txt").exists()  # rows of an array have no names


def test_what_encode_refuses(here, tmp_path, capsys):
    assert "OUT must be the name of an .npy file, not 'out.npz'" in refused(capsys, "encode", "runs/small", "x", "out.npz")
    assert "there is no file or folder nowhere" in refused(capsys, "encode", "runs/small", "nowhere", str(tmp_path / "out.npy"))
    assert "runs/smal does not exist; runs here: runs/small" in refused(
        capsys, "encode", "runs/smal", "x", str(tmp_path / "out.npy")
    )
    np.save(tmp_path / "images.npy", np.zeros((2, 8, 8, 1), np.uint8))
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.npy").mkdir()
    for out in ("file/out.npy", "folder.npy"):
        assert f"{out} cannot be written: " in refused(
            capsys, "encode", "runs/small", str(tmp_path / "images.npy"), str(tmp_path / out)
        )
    assert "batch_size must be at least 1, not 0" in refused(
        capsys, "encode", "runs/small", str(tmp_path / "images.npy"), str(tmp_path / "out.npy"), "--batch", "0"
    )


# ---- compare, plot ---------------------------------------------------------------------------------------------------------------


def test_compare_sets_seeds_side_by_side(here, other, tmp_path, capsys):
    assert main(["compare", "runs/small", str(other), "--csv", str(tmp_path / "out.csv")]) == 0
    said = capsys.readouterr().out
    assert "small, untrained (n=2)" in said and "small, step 10 (n=2)" in said and "out.csv: every step" in said
    value = f"{Run('runs/small').figures(10)['knn/top1']:.4g} ± 0"
    assert any(line.startswith("knn/top1") and line.endswith(value) for line in said.splitlines())
    with open(tmp_path / "out.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert {row["step"] for row in rows} == {"0", "10"} and {row["seeds"] for row in rows} == {"0 1"}


def test_compare_the_figures_that_are_asked_for(here, capsys):
    assert main(["compare", "runs/small", "--y", "loss"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["figure", "loss"]
    assert main(["compare", "runs/small", "--y", "loss", "--markdown"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["| experiment | loss |", "| --- | --- |"]
    assert "no run has the figure 'knn/top'; did you mean 'knn/top1'?" in refused(capsys, "compare", "runs/small", "--y", "knn/top")


def test_plot_draws_curves_into_the_run_or_where_it_is_told(here, other, tmp_path, capsys):
    assert main(["plot", "runs/small"]) == 0
    assert capsys.readouterr().out == "runs/small/curves.png\n"
    out = tmp_path / "loss.png"
    assert main(["plot", "runs/small", str(other), "--y", "loss", "--x", "seconds", "--out", str(out)]) == 0
    for file, panels in ((here / "runs/small/curves.png", 2), (out, 1)):  # knn/top1 and loss; loss
        with Image.open(file) as image:
            assert image.size == (round(panels * 4.6 * 160), round(3.4 * 160))


def test_plot_draws_feature_maps(here, capsys):
    assert main(["plot", "runs/small@5", "--features", "--images", "2"]) == 0
    assert capsys.readouterr().out == "runs/small/features.png\n"
    with Image.open("runs/small/features.png") as image:
        assert image.size[0] == 2 * 1.5 * 160


def test_plot_draws_attention_maps(here, capsys):
    assert main(["plot", "runs/small@5", "--attention", "--images", "2"]) == 0
    assert capsys.readouterr().out == "runs/small/attention.png\n"
    with Image.open("runs/small/attention.png") as image:
        assert image.size[0] == 2 * 1.5 * 160


def test_compare_picks_a_setting_without_labels(here, other, capsys):
    runs = ["compare", "runs/small", str(other)]
    refusal = "--pick and --oracle go together: the figure to choose by, and the one to judge the choice by"
    assert refusal in refused(capsys, *runs, "--pick", "knn/top1")
    assert "a pick needs runs of two settings or more" in refused(capsys, *runs[:2], "--pick", "loss", "--oracle", "knn/top1")
