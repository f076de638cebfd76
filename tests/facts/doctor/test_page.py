"""The page of findings: every word of the advice is on it, and inside of it."""

from types import SimpleNamespace

import numpy as np
from etils import epath
from rich.console import Console

from jaxemb.doctor import page
from jaxemb.doctor.patient import LEVELS, Finding, Patient

LONG = " ".join(f"word{i}" for i in range(120))
FINDINGS = [Finding("data", f"measured {i}", 0.5, level, "means this", LONG) for i, level in enumerate(LEVELS)]


def test_nothing_is_cut(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(page, "save", lambda figure, out, dpi: kept.append(figure) or epath.Path(out))
    z = np.random.default_rng(0).standard_normal((20, 4))
    p = Patient.__new__(Patient)
    p.series, p.step, p.embeddings = {"loss": np.array([2.0, 1.0])}, 10, {"student": z}
    p.run = SimpleNamespace(path=tmp_path)
    page.draw(p, FINDINGS, tmp_path / "x.png")
    (figure,) = kept
    lines = figure.axes[-1].texts
    said = " ".join(" ".join(t.get_text().split()) for t in lines)
    assert said.count(LONG) == 2 and "..." not in said  # of yellow and red; nothing is to be tried for green and grey
    figure.canvas.draw()
    frame = figure.bbox
    boxes = [t.get_window_extent() for t in lines]
    assert all(b.x0 >= 0 and b.x1 <= frame.x1 and b.y0 >= 0 and b.y1 <= frame.y1 for b in boxes)
    texts = sorted((b for t, b in zip(lines, boxes) if "means this" in t.get_text()), key=lambda b: b.y0)
    assert all(above.y0 >= below.y1 for below, above in zip(texts, texts[1:]))  # no line lies on another
    assert not any("mathdefault" in t.get_text() for axis in figure.axes for t in axis.get_yticklabels())
    import matplotlib.pyplot as plt

    plt.close(figure)


def test_every_level_has_a_style_and_a_colour():
    assert set(page.COLOURS) == set(page.STYLES) == set(LEVELS)
    for row in page.rows(FINDINGS):
        Console(quiet=True).print(row[0])
    assert [LONG in row[-1] for row in page.rows(FINDINGS)] == [False, True, True, False]
