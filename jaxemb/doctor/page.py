"""The findings as a table, a JSON file and a page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from rich.text import Text

from jaxemb.config import ConfigError
from jaxemb.doctor.patient import Finding, Patient
from jaxemb.log.plot import PlotError, pyplot, save
from jaxemb.ops.similarity import unit
from jaxemb.run.environment import environment
from jaxemb.run.files import Where, write_json

COLOURS = {"green": "#2e8b57", "yellow": "#d9a400", "red": "#c0392b", "grey": "#9a9a9a"}
STYLES = {"green": "bold green", "yellow": "bold yellow", "red": "bold red", "grey": "bright_black"}
CHARACTERS = 122
"""Of a line of meaning and advice on the page."""


def rows(findings: Sequence[Finding]) -> list[tuple[object, ...]]:
    """What the terminal shows: level, group, name, value, meaning, and what to try where something is amiss."""
    shown = []
    for f in findings:
        shown.append((Text(f.level, style=STYLES[f.level]), f.group, f.name, f.value, said(f)))
    return shown


def said(f: Finding) -> str:
    """What it means, and what to try where something is amiss."""
    return f"{f.meaning}; try: {f.advice}" if f.advice and f.level in ("yellow", "red") else f.meaning


def record(p: Patient, findings: Sequence[Finding]) -> dict[str, Any]:
    """The JSON form, with where it comes from."""
    return {"run": str(p.run.path), "step": p.step, "findings": [f._asdict() for f in findings], **environment()}


def write(p: Patient, findings: Sequence[Finding]) -> list[epath.Path]:
    """RUN/doctor.json and RUN/doctor.png."""
    files = [p.run.path / "doctor.json", p.run.path / "doctor.png"]
    try:
        write_json(files[0], record(p, findings))
        draw(p, findings, files[1])
    except (OSError, PlotError) as e:
        raise ConfigError(f"{files[0].parent} cannot be written: {e}") from e
    return files


def draw(p: Patient, findings: Sequence[Finding], out: Where) -> None:
    """Loss and learning rate, the spectra of embeddings, cosines of pairs; below, a line a finding."""
    plt = pyplot()
    texts = [textwrap.wrap(said(f), CHARACTERS) for f in findings]
    below = max(sum(_inches(text) for text in texts), 1.0)
    figure = plt.figure(figsize=(12.5, 3.4 + below), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=[2.8, below])
    _curves(figure.add_subplot(grid[0, 0]), p)
    if embeddings := _embeddings(p):
        _spectra(figure.add_subplot(grid[0, 1]), embeddings)
        _cosines(figure.add_subplot(grid[0, 2]), embeddings)
    for axis in figure.axes:
        axis.tick_params(labelsize=7)
    _lines(figure.add_subplot(grid[1, :]), findings, texts)
    figure.suptitle(f"{p.run.path}, step {p.step}", fontsize=11)
    save(figure, out, dpi=130)


def _curves(axis: Any, p: Patient) -> None:
    for name, colour in (("loss", "C0"), ("grad_norm", "C1"), ("lr", "C2")):
        values = p.series.get(name)
        if values is not None and len(values) and values.max() > 0:
            axis.plot(
                np.linspace(0, p.step, len(values)), values / values.max(), color=colour, label=f"{name} (max {values.max():.3g})"
            )
    axis.set_title("training, each over its maximum", fontsize=9)
    axis.set_xlabel("step", fontsize=8)
    axis.legend(fontsize=7, frameon=False)


def _embeddings(p: Patient) -> dict[str, np.ndarray]:
    """None where rows of training have none, as packed texts."""
    try:
        return p.embeddings
    except ConfigError:
        return {}


def _spectra(axis: Any, embeddings: dict[str, np.ndarray]) -> None:
    for name, z in embeddings.items():
        values = np.linalg.svd(z - z.mean(0), compute_uv=False)
        axis.semilogy(np.arange(1, len(values) + 1), np.maximum(values / max(values[0], 1e-30), 1e-8), label=name)
    axis.yaxis.set_major_formatter(
        lambda value, _: f"{value:.0e}"
    )  # the usual one writes mathematics, which `pyplot` takes literally
    axis.set_title("singular values of embeddings", fontsize=9)
    axis.legend(fontsize=7, frameon=False)


def _cosines(axis: Any, embeddings: dict[str, np.ndarray]) -> None:
    for name, z in embeddings.items():
        rows = unit(z[:200])
        pairs = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
        axis.hist(pairs, bins=60, histtype="step", density=True, label=name)
    axis.set_title("cosines of pairs of embeddings", fontsize=9)
    axis.legend(fontsize=7, frameon=False)


def _lines(axis: Any, findings: Sequence[Finding], texts: Sequence[Sequence[str]]) -> None:
    """A row a finding, as high as its text has lines; nothing is cut."""
    axis.set_axis_off()
    axis.set_xlim(0, 1)
    axis.set_ylim(max(sum(map(_inches, texts)), 1.0), 0)
    top = 0.0
    for f, text in zip(findings, texts, strict=True):
        middle, top = top + _inches(text) / 2, top + _inches(text)
        axis.plot(0.01, middle, "o", color=COLOURS[f.level], markersize=7)
        axis.text(0.022, middle, f"{f.group}: {f.name}", va="center", fontsize=8)
        axis.text(0.37, middle, f"{f.value:.3g}", va="center", ha="right", fontsize=8, family="monospace")
        axis.text(0.385, middle, "\n".join(text), va="center", fontsize=8, color="0.25")


def _inches(text: Sequence[str]) -> float:
    return 0.12 + 0.14 * len(text)
