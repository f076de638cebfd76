"""How positional embeddings see the plane: PESI of fixed orders, and of tables that were trained. Nothing is trained here.

    python -m experiments.posemb.pesi --grid 14 --width 768
    python -m experiments.posemb.pesi --runs runs/three_cell_learned runs/three_cell_fourier --csv results/posemb_pesi.csv

Undirected monotonicity (ideal 2): similarity falls with distance. Directed (ideal 2): it does so in every direction. Asymmetry
(ideal 0): it is the same in all of them. Cosines are rounded to nine digits, so that ties are ties on any machine.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxemb.io.weights import read_weights
from jaxemb.metrics.pesi import pesi
from jaxemb.nn.stem import patch_positions
from jaxemb.posemb import Curve, SinCos
from jaxemb.run.folder import Run

FIXED = {order: Curve(order=order) for order in ("raster", "snake", "morton", "gilbert")} | {"sincos2d": SinCos(axes=2)}


def table(pos: Any, params: dict, grid: tuple[int, int], width: int) -> np.ndarray:
    """What an absolute scheme adds to the tokens of a grid: rows columns d."""
    cells = patch_positions(jnp.arange(grid[0] * grid[1])[None], grid[1])
    where = pos.apply({"params": params}, cells, grid=grid, method="locate")
    added = pos.apply({"params": params}, jnp.zeros((1, cells.shape[1], width)), where, grid=grid, method="add")
    return np.asarray(added, np.float64).reshape(*grid, width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=int, default=14)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="runs of three_cell.py, or of others on such a grid")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    grid = (args.grid, args.grid)
    tables = {f"{name}, {args.width} wide": table(pos, {}, grid, args.width) for name, pos in FIXED.items()}
    for run in args.runs:
        experiment: Any = Run(run).experiment()
        encoder = experiment.objective.encoder
        params = read_weights(Run(run), experiment).variables["params"]["encoder"].get("pos", {})
        tables[run.name] = table(encoder.pos, params, grid, encoder.width)
    rows = [{"embedding": name, **pesi(t, decimals=9)._asdict()} for name, t in tables.items()]
    print("| embedding | undirected | directed | asymmetry |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['embedding']} | {row['undirected']:.4f} | {row['directed']:.4f} | {row['asymmetry']:.4f} |")
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
