"""Figures from run folders: learning curves with seeds as bands, and feature maps. Nothing is computed that is not in the files,
except the features of a map."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxemb import files
from jaxemb.config import ConfigError, flatten, suggest
from jaxemb.run.files import RunError, Where, read_json
from jaxemb.run.metrics import Series, read_series

MANY = 6
"""Lines up to which the legend stands below the panels; of more it stands beside them."""


class PlotError(ValueError):
    """A figure that cannot be drawn from these runs; the message says what there is."""


def group_by_seed(runs: Sequence[Where]) -> dict[str, list[epath.Path]]:
    """Runs whose configs differ in the seed alone, under the name of the experiment (with the folder where names collide)."""
    groups: dict[str, list[epath.Path]] = {}
    for run in map(epath.Path, runs):
        if not files.is_regular(run / "config.json"):
            raise PlotError(f"{files.printable(run)} is no run folder: it has no config.json")
        # Runs of older versions lack newer fields.
        same = {k: v for k, v in flatten(read_config(run)).items() if k != "seed" and v is not None}
        groups.setdefault(json.dumps(same, sort_keys=True, default=str), []).append(run)
    names = [json.loads(key)["name"] for key in groups]
    named = [n if names.count(n) == 1 else f"{n} ({g[0].name})" for n, g in zip(names, groups.values(), strict=True)]
    return dict(zip(named, groups.values(), strict=True))


def read_config(run: Where) -> dict[str, Any]:
    """config.json of a run, which has a name and a seed."""
    file = epath.Path(run) / "config.json"
    try:
        config = read_json(file)
    except RunError as e:
        raise PlotError(str(e)) from e
    if not isinstance(config.get("name"), str) or type(config.get("seed", 0)) is not int:
        raise PlotError(f"{files.printable(file)} is damaged: it holds no experiment with a name and a seed")
    return {"seed": 0} | config


def band(series: Sequence[Mapping[Any, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(steps, mean, lowest, highest) over the runs, at the steps that all of them have."""
    steps = sorted(set.intersection(*(set(s) for s in series)))
    values = np.array([[s[t] for t in steps] for s in series])
    return np.array(steps), values.mean(0), values.min(0), values.max(0)


def choose_figures(available: Sequence[set[str]], asked: Sequence[str]) -> list[str]:
    """The asked-for figures; without a wish, the headline of each evaluation and the loss."""
    every = set.union(*available)
    if not every:
        raise PlotError("nothing has been written to metrics.jsonl yet")
    for name in asked:
        if name not in every and not any(at_star(name, other) is not None for other in every):
            raise PlotError(f"no run has the figure {name!r}{suggest(name, every)}")
    if asked:
        return list(asked)
    single = [n for n in sorted(every) if n.endswith("/top1") and n.count("/") == 1]
    headlines = [n for n in single if not _level_of(n, single)] + [n for n in sorted(every) if n.endswith("rankme")]
    return [*headlines, *(["loss"] if "loss" in every else [])] or sorted(every)[:4]


def curves(
    runs: Sequence[Where],
    out: Where,
    *,
    x: str = "step",
    y: Sequence[str] = (),
) -> epath.Path:
    """Draws one panel a figure; a line is the mean over seeds, its band reaches from the lowest to the highest.

    `x` is "step" or a figure that is written along, e.g. "seconds". What was measured once on something else, such as
    `pixels_knn/top1`, is a dashed line in the panel of `knn/top1`. A figure with a star, such as `longer/x*_perplexity`, stands for
    all that have a number there, which is the horizontal axis; their last values are drawn.
    """
    groups = group_by_seed(runs)
    metrics = {name: [read_series(run) for run in group] for name, group in groups.items()}
    names = choose_figures([set(m) for group in metrics.values() for m in group], y)
    plt = pyplot()
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.4 * rows), squeeze=False, layout="constrained")
    for axis, name in zip(axes.flat, names, strict=False):
        if "*" in name:
            last = {label: [{n: [*s.values()][-1] for n, s in m.items()} for m in group] for label, group in metrics.items()}
            _panel_of_numbers(axis, last, name)
            continue
        _panel(axis, metrics, x, name)
        for other in sorted({n for group in metrics.values() for m in group for n in m if _level_of(n, [name])}):
            values = [list(m[other].values())[-1] for group in metrics.values() for m in group if other in m]
            axis.axhline(float(np.mean(values)), color="0.4", linestyle="--", linewidth=1, label=other.removesuffix(f"_{name}"))
        axis.set_title(name, fontsize=10)
        axis.set_xlabel({"step": "step (optimiser updates)", "seconds": "seconds, evaluations included"}.get(x, x))
        axis.set_ylabel(_unit(name))
        axis.grid(alpha=0.25)
    for axis in list(axes.flat)[len(names) :]:
        axis.set_visible(False)
    shown: dict[str, Any] = {}
    for axis in axes.flat:  # not every run has every figure
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    inches = 0.5 + 0.075 * max(map(len, shown), default=0)  # of a legend's column
    if len(shown) > MANY:
        figure.set_size_inches(4.6 * columns + inches, max(3.4 * rows, 0.21 * len(shown)))
        place, across = "outside right center", 1
    else:
        place, across = "outside lower center", max(1, min(len(shown), 4, int(4.6 * columns / inches)))
    figure.legend(list(shown.values()), list(shown), loc=place, ncols=across, frameon=False, fontsize=9)
    return save(figure, out)


def _level_of(name: str, figures: Sequence[str]) -> bool:
    """Whether a figure of an evaluation is called <word>_<figure>, e.g. pixels_knn/top1."""
    return "/" in name and any(name.endswith(f"_{f}") for f in figures)


def _panel(axis: Any, metrics: Mapping[str, list[dict[str, Series]]], x: str, name: str) -> None:
    for i, (label, group) in enumerate(metrics.items()):
        series = [m[name] for m in group if name in m]
        if not series:
            continue
        steps, mean, low, high = band(series)
        if x != "step":
            along = [m.get(x, {}) for m in group if name in m]
            if any(t not in a for a in along for t in steps):
                raise PlotError(f"--x {x}: it is not written at the steps of {name!r}; valid: step")
            steps = np.mean([[a[t] for t in steps] for a in along], axis=0)
        _line(axis, i, label, len(series), steps, mean, low, high)


def lines(figures: Mapping[str, Sequence[Mapping[str, float]]], pattern: str, out: Where) -> epath.Path:
    """One panel of figures that a pattern with a star finds, e.g. "longer/x*_top1": a line a name, over its seeds."""
    figure, axis = pyplot().subplots(figsize=(6.4, 4.2), layout="constrained")
    _panel_of_numbers(axis, figures, pattern)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return save(figure, out)


def _panel_of_numbers(axis: Any, figures: Mapping[str, Sequence[Mapping[str, float]]], name: str) -> None:
    numbers: set[float] = set()
    for i, (label, group) in enumerate(figures.items()):
        found = [{at_star(name, n): m[n] for n in m if at_star(name, n) is not None} for m in group]
        series: list[Any] = [f for f in found if f]
        if not series:
            continue
        numbers |= {n for f in series for n in f}
        _line(axis, i, label, len(series), *band(series))
    axis.set_title(name, fontsize=10)
    axis.set_xlabel("factor (the number at the *)")
    if min(numbers) > 0 and max(numbers) / min(numbers) >= 4:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xticks(sorted(numbers))
    axis.set_ylabel(_unit(name))
    axis.grid(alpha=0.25)


def at_star(pattern: str, name: str) -> float | None:
    """The number that a figure has where the pattern has its star; None where it does not fit."""
    if pattern.count("*") != 1:
        return None
    before, after = map(re.escape, pattern.split("*"))
    found = re.fullmatch(before + r"([0-9.]+)" + after, name)
    try:
        return float(found[1]) if found else None
    except ValueError:  # a version, 1.2.3
        return None


def _line(axis: Any, i: int, label: str, count: int, x: Any, mean: Any, low: Any, high: Any) -> None:
    """The mean over `count` seeds and its band. Ten colours; from the eleventh line on they come again, dashed, then dotted."""
    many = f" (n={count})" if count > 1 else ""
    look = {"color": f"C{i % 10}", "linestyle": ("-", "--", ":")[i // 10 % 3], "marker": "o" if len(x) < 12 else None}
    axis.plot(x, mean, label=label + many, markersize=3, **look)
    if count > 1:
        axis.fill_between(x, low, high, color=look["color"], alpha=0.2, linewidth=0)


def _unit(name: str) -> str:
    if name.endswith("top1") or name == "accuracy":
        return "accuracy"
    return {"rankme/rankme": "effective rank", "loss": "loss", "lr": "learning rate"}.get(name, "")


def mask_map(grid: tuple[int, int], context: np.ndarray, targets: np.ndarray, out: Where) -> epath.Path:
    """A square an image: patches that are shown, predicted (darker where by several blocks), both, or neither.

    `context` b m k and `targets` b t n hold patch ids, -1 where a row is padded.
    """
    plt = pyplot()
    columns = min(len(context), 6)
    rows = -(-len(context) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.7 * columns, 1.8 * rows + 0.5), squeeze=False, layout="constrained")
    colours = {"shown": (0.16, 0.55, 0.35), "predicted": (0.9, 0.5, 0.1), "both": (0.55, 0.2, 0.6), "neither": (0.88, 0.88, 0.88)}
    cells = grid[0] * grid[1]
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, shown, wanted in zip(axes.flat, context, targets, strict=False):
        seen = np.bincount(shown[shown >= 0], minlength=cells)[:cells] > 0
        times = np.stack([np.bincount(block[block >= 0], minlength=cells)[:cells] > 0 for block in wanted]).sum(0)
        picture = np.tile(np.asarray(colours["neither"]), (cells, 1))
        picture[seen] = colours["shown"]
        picture[times > 0] = np.asarray(colours["predicted"]) * (0.55 + 0.45 / np.maximum(times, 1))[times > 0, None]
        picture[seen & (times > 0)] = colours["both"]
        axis.imshow(picture.reshape(*grid, 3), interpolation="nearest")
        axis.hlines(np.arange(1, grid[0]) - 0.5, -0.5, grid[1] - 0.5, color="white", linewidth=0.8)
        axis.vlines(np.arange(1, grid[1]) - 0.5, -0.5, grid[0] - 0.5, color="white", linewidth=0.8)
    handles = [plt.Rectangle((0, 0), 1, 1, color=c) for c in colours.values()]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return save(figure, out)


def feature_map(images: np.ndarray, maps: Mapping[str, np.ndarray], out: Where) -> epath.Path:
    """Images above their token features; colours are the first three principal components over all images of a map.

    `images` b H W c in [0, 1]; each map b rows columns d.
    """
    return _pictures(images, {name: pca_rgb(m) for name, m in maps.items()}, out)


def attention_map(images: np.ndarray, weights: np.ndarray, out: Where) -> epath.Path:
    """Images above what each head attends to, brighter where more; the first row of maps is the mean over heads.

    `images` b H W c in [0, 1], `weights` b h rows columns. The maps of a row share a scale, from 0 to their largest weight; the
    bar at its end tells it, and what looking everywhere alike would be.
    """
    heads = {"all heads": weights.mean(1), **{f"head {i}": weights[:, i] for i in range(weights.shape[1])}}
    return _pictures(images, heads, out)


def _pictures(images: np.ndarray, maps: Mapping[str, np.ndarray], out: Where) -> epath.Path:
    """A column an image, in the first row; below it one of each map: colours (b rows columns 3), or numbers (b rows columns) with a
    bar that says which colour is which."""
    if not len(images):
        raise ConfigError("no images to draw a map of")
    plt = pyplot()
    shown = [("image", np.repeat(images, 3, -1) if images.shape[-1] == 1 else images), *maps.items()]
    figure, axes = plt.subplots(
        len(shown), len(images), figsize=(1.5 * len(images), 1.62 * len(shown)), squeeze=False, layout="constrained"
    )
    for (name, pictures), row in zip(shown, axes, strict=True):
        top = float(pictures.max())
        for picture, axis in zip(pictures, row, strict=True):
            if picture.ndim == 2:
                drawn = axis.imshow(picture, vmin=0, vmax=max(top, 1e-12), interpolation="nearest")
            else:
                axis.imshow(np.clip(picture, 0, 1), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(name, fontsize=9)
        if pictures.ndim == 3:
            even = 1 / pictures[0].size
            ticks = {0.0: "0", top: f"{top:.2g}"}
            if top >= 1.2 * even:  # nearer ones would stand upon each other
                ticks[even] = f"{even:.2g} even"
            bar = figure.colorbar(drawn, ax=list(row), ticks=list(ticks), fraction=0.03, pad=0.01)
            bar.ax.set_yticklabels(list(ticks.values()), fontsize=7)
    return save(figure, out)


def neighbour_map(
    queries: np.ndarray,
    found: Mapping[str, np.ndarray],
    shared: Mapping[str, np.ndarray],
    labels: int,
    out: Where,
    *,
    note: str = "",
) -> epath.Path:
    """A row an image: the image, then those that lie nearest to it, the nearest first; a block of columns a model, under its name.

    `queries` b H W c and each of `found` b k H W c in [0, 1]. `shared` b k: how many of `labels` a neighbour has in common with
    the image of its row; it stands below the neighbour, whose frame is the greener the more. Nothing of this with no labels.
    `note` stands below all.
    """
    if not len(queries):
        raise ConfigError("no images to find neighbours of")
    plt = pyplot()
    k = next(iter(found.values())).shape[1]
    foot = 0.22 + (0.22 if note else 0.0)  # inches
    height = 0.23 + foot + (0.98 if labels else 0.84) * len(queries)
    figure = plt.figure(figsize=(1.1 + (0.82 * k + 0.2) * len(found), height))
    place = {"left": 0.01, "right": 0.99, "top": 1 - 0.34 / height, "bottom": foot / height, "wspace": 0.06}
    blocks = figure.add_gridspec(1, 1 + len(found), width_ratios=[1.15] + [k] * len(found), **place)
    greens = plt.get_cmap("Greens")
    for block, (name, pictures) in zip(blocks, {"image": queries[:, None], **found}.items(), strict=True):
        rows = block.subgridspec(*pictures.shape[:2], wspace=0.1, hspace=0.28 if labels else 0.1).subplots(squeeze=False)
        for i, j in np.ndindex(*pictures.shape[:2]):
            common = shared[name][i, j] if name in shared and labels else None
            _framed(rows[i, j], pictures[i, j], None if common is None else greens(common / labels) if common else "0.9")
            if common is not None:
                rows[i, j].set_xlabel(f"{common} of {labels}", fontsize=7, labelpad=2)
        middle = rows[0, pictures.shape[1] // 2]
        middle.set_title(name, fontsize=9, pad=6)
    figure.text(0.5, 0.06 / height, note, fontsize=8, ha="center", va="bottom")
    return save(figure, out)


def _framed(axis: Any, picture: np.ndarray, colour: Any) -> None:
    """A picture (H W c) without ticks, in a frame where it has a colour."""
    axis.imshow(np.clip(np.repeat(picture, 3, -1) if picture.shape[-1] == 1 else picture, 0, 1), interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(colour is not None)
        side.set(linewidth=3.2, color=colour or "white")


def pca_rgb(features: np.ndarray) -> np.ndarray:
    """Token features (b rows columns d) as colours in [0, 1]: three principal components, each from its 2nd to 98th percentile."""
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    flat = flat - flat.mean(0)
    _, _, v = np.linalg.svd(flat, full_matrices=False)
    parts = flat @ v[:3].T
    parts = np.pad(parts, ((0, 0), (0, 3 - parts.shape[1])))
    low, high = np.percentile(parts, [2, 98], axis=0)
    colours = np.clip((parts - low) / np.maximum(high - low, 1e-12), 0, 1)
    return colours.reshape(*features.shape[:-1], 3)


def pyplot() -> Any:
    """matplotlib without a window, imported where something is drawn."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # a $ in the name of a figure is a $
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, out: Where, dpi: int = 160) -> epath.Path:
    """Writes a figure and closes it; drawn in memory, since matplotlib knows the folders of this machine alone."""
    out, drawn = epath.Path(out), io.BytesIO()
    try:
        figure.savefig(drawn, dpi=dpi, format=out.suffix.removeprefix(".") or "png")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(drawn.getvalue())
    except (OSError, ValueError) as e:
        raise PlotError(f"the figure cannot be written to {out}: {e}") from e
    finally:
        pyplot().close(figure)
    return out
