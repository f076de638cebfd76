"""Three coloured cells on a grid, and questions that only their places answer. Nothing is downloaded."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from jaxemb.config import ConfigError, choices
from jaxemb.data.base import ArraySpec, Data, DataError, Spec, Split
from jaxemb.data.split import check_share, check_split, none_held_out
from jaxemb.data.stream import Drawn, drawn_split
from jaxemb.preprocess.base import Items, Preprocess
from jaxemb.types import Paper

LABELS = ("nearer_blue", "nearer_green", "clockwise", "larger_green", "larger_blue", "sum_outside")
"""The labels 1 to 6 of the task, in its order."""
FORMS = ("sparse", "dense")
LARGEST = 16
"""Cells a side: the triples of a larger grid, of which there are grid^6, are too many to keep (67 MB here)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellsPreprocess(Preprocess):
    """(row, column) of a red, a green and a blue cell, as they are or as a picture."""

    grid: int
    form: str
    patch: int

    @property
    def spec(self) -> Spec:
        side = self.grid * self.patch
        return {"cells": ArraySpec((3, 2), "int32")} if self.form == "sparse" else {"images": ArraySpec((side, side, 3))}

    def __call__(self, items: Items, role: str = "document") -> dict[str, np.ndarray]:
        rows = [self.one(self._checked(np.asarray(item))) for item in items]
        return {name: np.stack([row[name] for row in rows]) for name in self.spec}

    def one(self, cells: Int[np.ndarray, "3 2"]) -> dict[str, np.ndarray]:
        """The arrays of one board."""
        return {"cells": cells} if self.form == "sparse" else {"images": picture(cells, self.grid, self.patch)}

    def _checked(self, cells: np.ndarray) -> np.ndarray:
        if cells.shape != (3, 2) or not np.issubdtype(cells.dtype, np.integer):
            raise DataError(
                f"an input is (row, column) of a red, a green and a blue cell, not {cells.dtype} of shape {cells.shape}"
            )
        if cells.min() < 0 or cells.max() >= self.grid:
            raise DataError(f"rows and columns lie in 0 to {self.grid - 1}, not {cells.min()} to {cells.max()}")
        if len({tuple(c) for c in cells.tolist()}) < 3:
            raise DataError(f"the three cells must differ: {cells.tolist()}")
        return cells.astype(np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreeCell(Data):
    """A red, a green and a blue cell in general position on a grid x grid board, and six yes-or-no questions about them.

        nearer_blue    d_rg > d_rb         nearer_green   d_rb > d_rg         clockwise   Delta > 0, as seen, rows counting down
        larger_green   A_rg > A_rb         larger_blue    A_rb > A_rg         sum_outside x_s >= grid and y_s >= grid

    with x = column, y = row (the paper leaves it open), (x_s, y_s) the sum of the three places, d distances,
    Delta = (x_g - x_r)(y_b - y_r) - (y_g - y_r)(x_b - x_r) and A_rg = |(y_r + y_g)(x_g - x_r)| / 2. One of nine cases, <, > or =
    of distance times that of area, is drawn evenly (a choice), then one of its triples. Labels are int32, 0 or 1.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LOOPE: Learnable Optimal Patch Order in Positional Embeddings", 2025, "arxiv.org/abs/2504.14386"
    )

    grid: int = 14
    """Cells a side."""
    form: str = "sparse"
    """"sparse": `cells` int32 3 2, (row, column) of red, green and blue, for the stem `Cells`; "dense": `images` float32 H W 3,
    pure colours from 0 to 1 on black (a choice), where the other cells tell nothing and cost most of the time."""
    patch: int = 16
    """Pixels along the side of a cell, of the dense form."""
    held_out: float = 0.2
    """Share of the triples of each case that are for testing; training never sees them."""
    valid_share: float = 0.1
    """Share of the other triples that are for validation; training does not see them either."""
    count_train: int = 10_000
    """Rows of `split("train")`; training batches are always fresh."""
    count_valid: int = 2_000
    count_test: int = 9_000
    data_seed: int = 0
    """Of the rows of `split`, and of which triples are held out."""

    def __post_init__(self) -> None:
        if not 3 <= self.grid <= LARGEST:
            raise ConfigError(
                f"grid={self.grid} must lie in 3 to {LARGEST}: smaller ones lack a case, larger ones have too many triples"
            )
        choices(self, form=FORMS)
        if min(self.patch, self.count_train, self.count_valid, self.count_test) < 1:
            raise ConfigError(
                "patch, count_train, count_valid and count_test must be at least 1, not "
                f"{self.patch}, {self.count_train}, {self.count_valid} and {self.count_test}"
            )
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out={self.held_out} must lie between 0 and 1")
        check_share(self.valid_share)
        if not 0 <= self.data_seed < 2**32:
            raise ConfigError(f"data_seed must lie in [0, 2**32), not {self.data_seed}")

    @property
    def preprocess(self) -> CellsPreprocess:
        return CellsPreprocess(grid=self.grid, form=self.form, patch=self.patch)

    @property
    def spec(self) -> Spec:
        return {**self.preprocess.spec} | dict.fromkeys(LABELS, ArraySpec((), "int32"))

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> Drawn:
        return Drawn(self._draw, size, seed=seed, shard=shard)

    def split(self, name: str) -> Split:
        check_split(name)
        if name == "valid" and not self.valid_share:
            raise none_held_out("the triples", self.valid_share)
        count = {"train": self.count_train, "valid": self.count_valid, "test": self.count_test}[name]
        return drawn_split(functools.partial(self._draw, split=name), name, self.data_seed, count)

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        return ("no", "yes") if label in LABELS else ()

    def _draw(self, rng: np.random.Generator, split: str = "train") -> dict[str, Any]:
        cases = _split(self.grid, self.held_out, self.valid_share, self.data_seed)[split]
        case = cases[rng.integers(len(cases))]
        red, rest = divmod(int(case[rng.integers(len(case))]), self.grid**4)
        triple = [divmod(cell, self.grid) for cell in (red, *divmod(rest, self.grid**2))]
        return self.preprocess.one(np.array(triple, np.int32)) | labels(geometry(*triple), self.grid)


class Geometry(NamedTuple):
    """The numbers behind the labels, of one triple or of arrays of them; all whole."""

    green_distance: Any
    """d_rg squared."""
    blue_distance: Any
    turn: Any
    """Delta; 0 where the three lie on a line."""
    green_area: Any
    """Twice A_rg."""
    blue_area: Any
    x_sum: Any
    y_sum: Any


def geometry(red: tuple[Any, Any], green: tuple[Any, Any], blue: tuple[Any, Any]) -> Geometry:
    """Of three cells (row, column), whose numbers may be arrays."""
    (y, x), (yg, xg), (yb, xb) = red, green, blue
    return Geometry(
        (xg - x) ** 2 + (yg - y) ** 2,
        (xb - x) ** 2 + (yb - y) ** 2,
        (xg - x) * (yb - y) - (yg - y) * (xb - x),
        abs((y + yg) * (xg - x)),
        abs((y + yb) * (xb - x)),
        x + xg + xb,
        y + yg + yb,
    )


def labels(g: Geometry, grid: int) -> dict[str, Any]:
    """The six labels by name."""
    answers = (
        g.green_distance > g.blue_distance,
        g.blue_distance > g.green_distance,
        g.turn > 0,
        g.green_area > g.blue_area,
        g.blue_area > g.green_area,
        (g.x_sum >= grid) & (g.y_sum >= grid),
    )
    return {name: np.int32(answer) for name, answer in zip(LABELS, answers, strict=True)}


def picture(cells: Int[np.ndarray, "3 2"], grid: int, patch: int) -> Float32[np.ndarray, "H W 3"]:
    """The board: cell i all of colour i."""
    board = np.zeros((grid, grid, 3), np.float32)
    board[cells[:, 0], cells[:, 1], range(3)] = 1
    return board.repeat(patch, axis=0).repeat(patch, axis=1)


def triples(grid: int) -> list[Int[np.ndarray, " n"]]:
    """The ids of all ordered triples that are not on a line, by case: 3 (green - blue distance: 0, >, <) + (same of areas).

    The id of a triple is (red cells + green) cells + blue, where cells = grid^2 and a cell is row grid + column.
    """
    cells = grid**2
    row, column = np.divmod(np.arange(cells, dtype=np.int32), np.int32(grid))
    found: list[list[np.ndarray]] = [[] for _ in range(9)]
    for red in range(cells):  # one red cell at a time: all at once would take a gigabyte
        g = geometry((row[red], column[red]), (row[:, None], column[:, None]), (row[None], column[None]))
        distance, area = np.sign(g.green_distance - g.blue_distance), np.sign(g.green_area - g.blue_area)
        case = np.where(g.turn == 0, 9, 3 * (distance % 3) + area % 3).astype(np.int8).reshape(-1)
        order = np.argsort(case, kind="stable").astype(np.int32)
        for ids, part in zip(found, np.split(order, np.bincount(case, minlength=10).cumsum()[:9]), strict=False):
            ids.append(part + np.int32(red * cells**2))
    return [np.concatenate(ids) for ids in found]


@functools.lru_cache(2)
def _split(grid: int, held_out: float, valid_share: float, seed: int) -> dict[str, list[np.ndarray]]:
    """The triples of each case by split."""
    rng = np.random.default_rng([3, seed])  # a stream of its own, see STREAMS
    found: dict[str, list[np.ndarray]] = {"train": [], "valid": [], "test": []}
    for ids in triples(grid):
        rng.shuffle(ids)
        test = min(max(round(held_out * len(ids)), 1), len(ids) - 1)
        valid = min(max(round(valid_share * (len(ids) - test)), 1), len(ids) - test - 1) if valid_share else 0
        for split, part in zip(("test", "valid", "train"), np.split(ids, [test, test + valid]), strict=True):
            found[split].append(part)
    return found
