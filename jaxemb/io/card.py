"""The README.md of an exported model: what it is, what it was trained on, its figures, how to use it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import jaxemb
from jaxemb.config import brief
from jaxemb.files import escape, is_folder
from jaxemb.hub import ID
from jaxemb.run.environment import read_environment
from jaxemb.run.files import RunError, read_json
from jaxemb.run.folder import Run

TASKS = {
    "tokens": "sentence-similarity",
    "images": "image-feature-extraction",
    "tokens+images": "zero-shot-image-classification",
}
"""What the hub calls models of these inputs."""


def card(
    name: str, facts: Sequence[tuple[str, str]], *, published: bool, inputs: Sequence[str], base: str | None, run: Run | None
) -> str:
    """`facts` are of the model: (name, value). `published`: whether sentence-transformers opens the folder; `inputs`:
    "tokens" and "images", one of them, or "vectors"; `base`: what it was trained on from; `run`: where it was trained here."""
    tags = ["jaxemb", *(("sentence-transformers", "sentence-similarity") if published else ()), "feature-extraction"]
    kind = "sentence-transformers" if published else "jaxemb"
    task = TASKS.get("+".join(inputs), "feature-extraction")
    base_model = [f"base_model: {base}"] if base is not None and ID.fullmatch(base) and not is_folder(base) else []
    head = ["---", f"library_name: {kind}", f"pipeline_tag: {task}", "tags:", *(f"- {tag}" for tag in tags), *base_model, "---"]
    parts = [*head, f"\n# {escape(name)}\n", _table(("", ""), facts), "\n## How to use\n", _use(name, published, inputs)]
    if run is not None:
        parts += ["\n## Training\n", _table(("", ""), _training(run)), "\n## Figures\n", _figures(run)]
    return "\n".join(parts) + f"\n\nWritten by jaxemb {jaxemb.__version__}.\n"


def _use(name: str, published: bool, kinds: Sequence[str]) -> str:
    shown = {"tokens": '["a query", "a document"]', "vectors": 'np.load("vectors.npy")'}
    inputs = next((shown[kind] for kind in shown if kind in kinds), '["a.jpg", "b.jpg"]')
    lines = [
        "```python",
        *(["import numpy as np"] if "vectors" in kinds else []),
        "from jaxemb import Embedder",
        "",
        f'model = Embedder.from_pretrained("{name}")',
        f"z = model.encode({inputs})",
        "model.similarity(z, z)",
        "```",
    ]
    if published:
        lines += [
            "\nThe same vectors with sentence-transformers:\n",
            "```python",
            "from sentence_transformers import SentenceTransformer",
            "",
            f'model = SentenceTransformer("{name}")',
            f"z = model.encode({inputs})",
            "```",
        ]
    return "\n".join(lines)


def _training(run: Run) -> list[tuple[str, str]]:
    e = run.experiment()
    rows = [("experiment", e.name)]
    for name in ("objective", "fit", "data", "optim", "steps", "batch", "seed", "init"):
        if (value := getattr(e, name, None)) is not None:
            rows.append((name, brief(value)))
    with contextlib.suppress(RunError, OSError):
        env = read_environment(run.path)
        rows += [(name, str(env[name])) for name in ("commit", "time", "devices") if env.get(name)]
    return rows


def _figures(run: Run) -> str:
    """Of the recorded evaluations of the step that was exported, else of its lines in metrics.jsonl."""
    rows = []
    for file in sorted((run.path / "evals").glob(f"*@{run.step}.json")) if (run.path / "evals").is_dir() else ():
        with contextlib.suppress(RunError):
            doc = read_json(file)
            rows += [(f"{file.stem.partition('@')[0]}/{name}", f"{value:.4g}") for name, value in doc["figures"].items()]
    if not rows and run.step is not None:
        rows = [(name, f"{value:.4g}") for name, value in run.figures(run.step).items() if "/" in name]
    return _table(("figure", f"at step {run.step}"), rows) if rows else "None were recorded."


def _table(header: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    lines = [header, ("---", "---"), *rows]
    return "\n".join("| " + " | ".join(escape(c).replace("|", "\\|") for c in line) + " |" for line in lines)
