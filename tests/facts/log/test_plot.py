"""Learning curves and feature maps, drawn from files written by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxemb.config import ConfigError
from jaxemb.log.plot import (
    PlotError,
    attention_map,
    band,
    choose_figures,
    curves,
    feature_map,
    group_by_seed,
    neighbour_map,
    pca_rgb,
)
from jaxemb.run.files import RunError
from jaxemb.run.metrics import read_series


@pytest.fixture
def fake(tmp_path):
    """fake("a", {"step": 1, "loss": 0.5}, ..., seed=1): a run folder of these rows; other keywords are fields of its config."""

    def make(folder, *rows, **config):
        run = tmp_path / folder
        run.mkdir(parents=True)
        (run / "config.json").write_text(json.dumps({"@": "x:X", "name": "exp", "seed": 0, "optim": {"lr": 0.1}} | config))
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return run

    return make


@pytest.fixture
def drawn(monkeypatch):
    """drawn(runs, ...): the figure that `curves` would have saved."""
    import matplotlib.pyplot as plt

    kept = []

    def keep(figure, out):
        kept.append(figure)
        return epath.Path(out)

    monkeypatch.setattr("jaxemb.log.plot.save", keep)

    def draw(*runs, **options):
        curves(runs, Path("nowhere.png"), **options)
        return kept[-1]

    yield draw
    for figure in kept:
        plt.close(figure)


def panels(figure):
    return {axis.get_title(): axis for axis in figure.axes if axis.get_visible()}


def lines(axis):
    """The points of each line by its label."""
    return {line.get_label(): np.column_stack(line.get_data()).tolist() for line in axis.lines}


# ---- reading ---------------------------------------------------------------------------------------------------------------------


def test_metrics_are_one_series_a_figure(fake):
    run = fake("a", {"step": 0, "knn/top1": 0.1}, {"step": 5, "loss": 2, "note": "text"}, {"step": 5, "knn/top1": 0.5})
    assert read_series(run) == {"knn/top1": {0: 0.1, 5: 0.5}, "loss": {5: 2}}


def test_a_loss_that_was_not_finite_leaves_a_gap(fake):
    run = fake("a", {"step": 1, "loss": 0.5}, {"step": 2, "loss": None}, {"step": 3, "loss": 0.4})
    assert read_series(run) == {"loss": {1: 0.5, 3: 0.4}}


def test_the_line_that_a_killed_run_left_half_written_is_left_out(fake):
    run = fake("a", {"step": 1, "loss": 0.5})
    with open(run / "metrics.jsonl", "a") as f:
        f.write('{"step": 2, "lo')
    assert read_series(run) == {"loss": {1: 0.5}}


def test_what_is_no_run(fake, tmp_path):
    run = fake("a", {"step": 1, "loss": 0.5})
    with pytest.raises(PlotError, match="nowhere is no run folder: it has no config.json"):
        curves([tmp_path / "nowhere"], tmp_path / "out.png")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match="a is no run folder: it has no metrics.jsonl"):
        curves([run], tmp_path / "out.png")
    (run / "config.json").write_text("{")
    with pytest.raises(PlotError, match="config.json is damaged"):
        curves([run], tmp_path / "out.png")


def test_a_run_that_has_written_nothing_yet_is_answered(fake, tmp_path):
    with pytest.raises(PlotError, match="nothing has been written to metrics.jsonl yet"):
        curves([fake("a")], tmp_path / "out.png")


# ---- seeds -----------------------------------------------------------------------------------------------------------------------


def test_runs_that_differ_in_the_seed_alone_are_one_group(fake):
    a, b, c = fake("a"), fake("b", seed=7), fake("c", name="other")
    assert group_by_seed([a, c, b]) == {"exp": [a, b], "other": [c]}
    newer = fake("newer", seed=8, added_later=None)
    assert group_by_seed([a, newer]) == {"exp": [a, newer]}, "of a version with a field that the other lacks, and that is off"


def test_any_other_difference_keeps_runs_apart_and_one_name_is_told_apart_by_the_folder(fake):
    a, b, c = fake("a"), fake("b", optim={"lr": 0.2}), fake("c", optim={"lr": 0.2}, seed=1)
    assert group_by_seed([a, b, c]) == {"exp (a)": [a], "exp (b)": [b, c]}


def test_a_band_is_taken_at_the_steps_that_all_seeds_have():
    steps, mean, low, high = band([{0: 1.0, 5: 3.0, 9: 8.0}, {5: 5.0, 0: 2.0}, {0: 6.0, 5: 4.0, 7: 0.0}])
    assert steps.tolist() == [0, 5]
    assert mean.tolist() == [3.0, 4.0] and low.tolist() == [1.0, 3.0] and high.tolist() == [6.0, 5.0]


# ---- which figures ---------------------------------------------------------------------------------------------------------------


def test_without_a_wish_the_headlines_and_the_loss_are_drawn():
    every = {"knn/top1", "knn/shape/top1", "pixels_knn/top1", "probe/top1", "probe/l2", "rankme/rankme", "rankme/std", "loss", "lr"}
    assert choose_figures([every], []) == ["knn/top1", "probe/top1", "rankme/rankme", "loss"]
    assert choose_figures([{"loss"}, {"knn/top1"}], []) == ["knn/top1", "loss"]


def test_a_level_without_its_figure_is_drawn_itself():
    assert choose_figures([{"pixels_knn/top1"}], []) == ["pixels_knn/top1"]


def test_runs_without_headlines_show_what_there_is():
    assert choose_figures([set("fedcba")], []) == ["a", "b", "c", "d"]


def test_the_figures_that_were_asked_for_stay_in_order():
    assert choose_figures([{"a", "b", "c"}], ["c", "a"]) == ["c", "a"]


def test_an_unknown_figure_is_answered_with_the_nearest():
    with pytest.raises(PlotError, match=r"no run has the figure 'knn/top'; did you mean 'knn/top1'\? valid: knn/top1, loss"):
        choose_figures([{"knn/top1"}, {"loss"}], ["knn/top"])


# ---- curves ----------------------------------------------------------------------------------------------------------------------


def test_seeds_become_a_mean_and_a_band(fake, drawn):
    runs = [fake(f"{s}", {"step": 0, "loss": 1.0 + s}, {"step": 5, "loss": 0.5 * s}, seed=s) for s in (0, 1, 2)]
    axis = panels(drawn(*runs))["loss"]
    assert lines(axis) == {"exp (n=3)": [[0, 2.0], [5, 0.5]]}
    (filled,) = axis.collections
    assert {tuple(v) for v in filled.get_paths()[0].vertices} == {(0, 1.0), (0, 3.0), (5, 0.0), (5, 1.0)}


def test_a_single_run_has_no_band(fake, drawn):
    axis = panels(drawn(fake("a", {"step": 1, "loss": 0.5})))["loss"]
    assert lines(axis) == {"exp": [[1, 0.5]]} and not axis.collections


def test_raw_pixels_are_a_dashed_level_in_the_panel_of_what_they_are_compared_with(fake, drawn):
    rows = ({"step": 0, "knn/top1": 0.2}, {"step": 9, "knn/top1": 0.6, "probe/top1": 0.7, "pixels_knn/top1": 0.3})
    found = panels(drawn(fake("a", *rows), fake("b", *rows[:1], {"step": 9, "pixels_knn/top1": 0.5}, name="other")))
    assert set(found) == {"knn/top1", "probe/top1"}
    level = next(line for line in found["knn/top1"].lines if line.get_label() == "pixels")
    assert level.get_linestyle() == "--" and level.get_ydata() == pytest.approx([0.4, 0.4])
    assert "pixels" not in lines(found["probe/top1"])


def test_a_part_of_the_loss_is_not_a_level_of_the_loss(fake, drawn):
    assert set(lines(panels(drawn(fake("a", {"step": 1, "loss": 1.0, "own_loss": 0.7})))["loss"])) == {"exp"}


def test_the_legend_names_every_run_though_the_first_panel_lacks_some(fake, drawn):
    a = fake("a", {"step": 1, "knn/top1": 0.5, "loss": 1.0})
    b = fake("b", {"step": 1, "loss": 2.0}, name="supervised")
    figure = drawn(a, b)
    assert set(lines(panels(figure)["knn/top1"])) == {"exp"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["exp", "supervised"]


def test_seconds_on_the_horizontal_axis(fake, drawn):
    a = fake("a", {"step": 1, "loss": 1.0, "seconds": 10.0}, {"step": 2, "loss": 0.5, "seconds": 20.0})
    b = fake("b", {"step": 1, "loss": 3.0, "seconds": 14.0}, {"step": 2, "loss": 1.5, "seconds": 40.0}, seed=1)
    axis = panels(drawn(a, b, x="seconds"))["loss"]
    assert lines(axis) == {"exp (n=2)": [[12.0, 2.0], [30.0, 1.0]]} and axis.get_xlabel().startswith("seconds")


def test_a_seed_without_a_figure_does_not_keep_the_others_from_it(fake, drawn):
    a = fake("a", {"step": 1, "loss": 1.0, "seconds": 1.0}, {"step": 5, "knn/top1": 0.5, "seconds": 9.0})
    b = fake("b", {"step": 1, "loss": 3.0, "seconds": 3.0}, seed=1)  # stopped before its first evaluation
    found = panels(drawn(a, b, x="seconds"))
    assert lines(found["knn/top1"]) == {"exp": [[9.0, 0.5]]} and lines(found["loss"]) == {"exp (n=2)": [[2.0, 2.0]]}


def test_an_axis_that_is_not_written_along_is_refused(fake, tmp_path):
    run = fake("a", {"step": 1, "loss": 1.0, "lr": 0.1}, {"step": 2, "loss": 0.5})
    for x in ("lr", "epochs"):
        with pytest.raises(PlotError, match=f"--x {x}: it is not written at the steps of 'loss'; valid: step"):
            curves([run], tmp_path / "out.png", x=x)


def test_a_star_is_the_horizontal_axis(fake, drawn):
    rows = [
        {"step": 9, "longer/x1_top1": 0.9, "longer/x1.5_top1": 0.8 - 0.1 * s, "longer/x8_top1": 0.5, "knn/top1": 1} for s in (0, 1)
    ]
    runs = [fake(f"{s}", {"step": 0, "longer/x1_top1": 0.1}, row, seed=s) for s, row in enumerate(rows)]
    (axis,) = panels(drawn(*runs, y=["longer/x*_top1"])).values()
    assert lines(axis) == {"exp (n=2)": [[1, 0.9], [1.5, 0.75], [8, 0.5]]}
    assert axis.get_xscale() == "log" and axis.get_ylabel() == "accuracy"
    with pytest.raises(PlotError, match=r"no run has the figure 'longer/x\*_loss'"):
        drawn(*runs, y=["longer/x*_loss"])


def test_curves_are_written_as_an_image(fake, tmp_path):
    rows = [{"step": s, "loss": 1.0 / s, "knn/top1": 0.1, "probe/top1": 0.2, "rankme/rankme": 3.0} for s in (1, 2)]
    out = curves([fake("a", *rows)], tmp_path / "deep" / "er" / "curves.png")
    assert out == tmp_path / "deep" / "er" / "curves.png"
    with Image.open(out) as image:
        assert image.size == (round(3 * 4.6 * 160), round(2 * 3.4 * 160))  # four panels, three to a row
        assert len(image.convert("L").getcolors()) > 50


def test_a_path_that_cannot_be_written_is_named(fake, tmp_path):
    run = fake("a", {"step": 1, "loss": 1.0})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PlotError, match="the figure cannot be written to .*file/out.png: .*(Not a directory|File exists)"):
        curves([run], tmp_path / "file" / "out.png")
    with pytest.raises(PlotError, match="cannot be written to .*out.xyz: Format 'xyz' is not supported"):
        curves([run], tmp_path / "out.xyz")


# ---- feature maps ----------------------------------------------------------------------------------------------------------------


def test_three_directions_become_the_three_colours():
    """Orthogonal patterns a, b, c of different weight along random orthogonal directions: the colours are a, b, c up to sign."""
    rng = np.random.default_rng(0)
    patterns = np.linalg.qr(rng.standard_normal((2 * 4 * 4, 3)))[0]
    patterns = np.linalg.qr(patterns - patterns.mean(0))[0]
    directions = np.linalg.qr(rng.standard_normal((10, 3)))[0]
    features = (patterns * [9.0, 3.0, 1.0] @ directions.T + 5.0).reshape(2, 4, 4, 10)
    colours = pca_rgb(features.astype(np.float32)).reshape(-1, 3)
    for colour, pattern in zip(colours.T, patterns.T, strict=True):
        low, high = np.percentile(pattern, [2, 98])
        inside = (low < pattern) & (pattern < high)  # what lies outside of the percentiles is clipped
        assert abs(np.corrcoef(colour[inside], pattern[inside])[0, 1]) == pytest.approx(1, abs=1e-6)
    assert colours.min() == 0 and colours.max() == 1


def test_a_few_tokens_far_away_do_not_take_the_colours_from_the_others():
    """101 values 0 .. 100, the last one a million: the percentiles are 2 and 98, so that 50 is half-way, whatever the sign."""
    values = np.r_[np.arange(100.0), 1e6].reshape(1, 1, 101, 1)
    red = pca_rgb(values)[0, 0, :, 0]
    assert red[50] == pytest.approx(0.5, abs=1e-6) and abs(red[26] - red[50]) == pytest.approx(0.25, abs=1e-6)
    assert {red[0], red[-1]} == {0, 1}


@pytest.mark.parametrize("width", [1, 2, 5])
def test_features_that_do_not_vary_or_have_few_dimensions_have_finite_colours(width):
    constant = pca_rgb(np.full((2, 3, 3, width), 7.0, np.float32))
    assert constant.shape == (2, 3, 3, 3) and np.isfinite(constant).all()
    varied = pca_rgb(np.random.default_rng(0).standard_normal((2, 3, 3, width)).astype(np.float32))
    assert np.isfinite(varied).all() and varied.min() == 0 and varied.max() == 1
    assert (varied[..., width:] == 0).all()  # no third component: no third colour


def test_a_feature_map_has_a_row_for_each_model_below_the_images(tmp_path):
    rng = np.random.default_rng(0)
    maps = {name: rng.standard_normal((4, 2, 2, 5)).astype(np.float32) for name in ("untrained", "trained")}
    for channels in (1, 3):
        out = feature_map(rng.random((4, 8, 8, channels)).astype(np.float32), maps, tmp_path / f"{channels}.png")
        with Image.open(out) as image:
            assert image.size == (round(4 * 1.5 * 160), int(3 * 1.62 * 160))


def test_a_feature_map_of_no_images_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no images to draw a map of"):
        feature_map(np.zeros((0, 8, 8, 1), np.float32), {}, tmp_path / "out.png")


def test_attention_maps_have_a_scale(monkeypatch, tmp_path):
    """A row has one, from 0 to its largest weight; even weights stand out by nothing."""
    import matplotlib.pyplot as plt

    kept = []
    monkeypatch.setattr("jaxemb.log.plot.save", lambda figure, out: kept.append(figure) or epath.Path(out))
    weights = np.full((2, 2, 2, 2), 0.25)
    weights[0, 1] = [[0.5, 0.25], [0.125, 0.125]]
    attention_map(np.zeros((2, 8, 8, 1)), weights, tmp_path / "x.png")
    (figure,) = kept
    pictures, bars = figure.axes[:8], figure.axes[8:]
    assert len(bars) == 3  # of all heads, and of each
    limits = [axis.images[0].get_clim() for axis in pictures[2:]]
    assert limits == [(0, 0.375)] * 2 + [(0, 0.25)] * 2 + [(0, 0.5)] * 2
    assert [[t.get_text() for t in bar.get_yticklabels()] for bar in bars] == [
        ["0", "0.38", "0.25 even"],
        ["0", "0.25"],
        ["0", "0.5", "0.25 even"],
    ]
    plt.close(figure)


def test_neighbours_are_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    found = {"untrained": rng.random((2, 4, 8, 8, 1)), "trained": rng.random((2, 4, 8, 8, 1))}
    for labels, height in ((3, 0.45 + 0.98 * 2), (0, 0.45 + 0.84 * 2)):
        out = neighbour_map(
            rng.random((2, 8, 8, 1)), found, dict.fromkeys(found, rng.integers(0, 4, (2, 4))), labels, tmp_path / "a.png"
        )
        with Image.open(out) as image:
            assert image.size == (int((1.1 + 2 * (0.82 * 4 + 0.2)) * 160), int(height * 160))
    with pytest.raises(ConfigError, match="no images to find neighbours of"):
        neighbour_map(np.zeros((0, 8, 8, 1)), found, {}, 0, tmp_path / "b.png")
