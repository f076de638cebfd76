"""Models that were trained from one start merged in closed form: average, task arithmetic, SLERP, TIES, DARE, Fisher."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from jaxemb.config import ConfigError, within
from jaxemb.ops.paths import by_path
from jaxemb.transforms.base import Leaves, Merge, Tree, same_architecture
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Average(Merge):
    """theta = sum_k w_k theta_k / sum_k w_k."""

    paper: ClassVar[Paper | None] = Paper(
        "Model soups: averaging weights of multiple fine-tuned models improves accuracy", 2022, "arxiv.org/abs/2203.05482"
    )

    weights: tuple[float, ...] | None = None
    """w, one a model; None: all alike."""

    def __post_init__(self) -> None:
        if self.weights is not None and not (min(self.weights, default=0) >= 0 and sum(self.weights) > 0):
            raise ConfigError(f"Average.weights are shares, none negative and not all zero: {self.weights}")

    def merge(self, models: Sequence[Leaves], base: Leaves | None) -> Leaves:
        w = np.ones(len(models)) if self.weights is None else self.one_each("weights", models)
        return {path: np.tensordot(w / w.sum(), stack(models, path), 1) for path in models[0]}


@dataclasses.dataclass(frozen=True)
class TaskArithmetic(Merge):
    """theta = theta_0 + sum_k s_k tau_k; a negative s takes away what a model learned."""

    paper: ClassVar[Paper | None] = Paper("Editing Models with Task Arithmetic", 2023, "arxiv.org/abs/2212.04089")
    needs_base: ClassVar[bool] = True

    scale: float | tuple[float, ...] = 1.0
    """s, one for all or one a model."""

    def __post_init__(self) -> None:
        within(self, scale=(-1e6, 1e6))

    def merge(self, models: Sequence[Leaves], base: Leaves | None) -> Leaves:
        s, taus = self.one_each("scale", models), task_vectors(models, base)
        return {path: x + np.tensordot(s, stack(taus, path), 1) for path, x in _given(base).items()}


@dataclasses.dataclass(frozen=True)
class Slerp(Merge):
    """theta = (sin((1 - t) w) theta_1 + sin(t w) theta_2) / sin(w), w the angle between the two, array by array.

    Where |cos w| passes `threshold` (the arrays are parallel or opposed, and sin w goes to 0) or one is zero, it is the straight
    line (1 - t) theta_1 + t theta_2.
    """

    paper: ClassVar[Paper | None] = Paper("Animating rotation with quaternion curves", 1985, "doi.org/10.1145/325165.325242")

    t: float = 0.5
    """0 is the first model, 1 the second."""
    threshold: float = 0.9995

    def __post_init__(self) -> None:
        within(self, t=(0.0, 1.0), threshold=(0.0, 1.0))

    def merge(self, models: Sequence[Leaves], base: Leaves | None) -> Leaves:
        if len(models) != 2:
            raise ConfigError(f"Slerp goes from one model to another: it takes two, not {len(models)}")
        first, second = models
        return {path: slerp(x, second[path], self.t, self.threshold) for path, x in first.items()}


@dataclasses.dataclass(frozen=True)
class Ties(Merge):
    """theta = theta_0 + s mean_k { trim(tau_k) : of the elected sign }: trim, elect sign, merge.

    Of each task vector the share `density` with the largest magnitude stays (of equal ones the first). The sign of an entry is that
    of the sum over tasks, and the mean is over those tasks whose trimmed entry has it; where the sum is 0 nothing is added.
    """

    paper: ClassVar[Paper | None] = Paper(
        "TIES-Merging: Resolving Interference When Merging Models", 2023, "arxiv.org/abs/2306.01708"
    )
    needs_base: ClassVar[bool] = True

    density: float = 0.2
    scale: float = 1.0
    """s."""
    by_array: bool = False
    """Each array is trimmed by itself, not all of a model together."""

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ConfigError(f"Ties.density is the share of entries that stay, in (0, 1], not {self.density}")
        within(self, scale=(-1e6, 1e6))

    def merge(self, models: Sequence[Leaves], base: Leaves | None) -> Leaves:
        trimmed = self.trimmed(task_vectors(models, base))
        return {path: x + self.scale * _agreeing(stack(trimmed, path)) for path, x in _given(base).items()}

    def trimmed(self, taus: Sequence[Leaves]) -> list[Leaves]:
        """The task vectors with zeros in the place of what does not stay."""
        return [self._trim(tau) for tau in taus]

    def _trim(self, tau: Leaves) -> Leaves:
        if self.by_array:
            return {path: np.where(largest(x, self.density), x, 0.0) for path, x in tau.items()}
        kept = largest(np.concatenate([x.reshape(-1) for x in tau.values()]), self.density)
        ends = np.cumsum([x.size for x in tau.values()])[:-1]
        parts = np.split(kept, ends)
        return {path: np.where(k.reshape(x.shape), x, 0.0) for (path, x), k in zip(tau.items(), parts, strict=True)}


@dataclasses.dataclass(frozen=True)
class Dare(Merge):
    """theta = theta_0 + sum_k s_k keep_k tau_k / (1 - drop): entries of task vectors dropped at random, the rest rescaled."""

    paper: ClassVar[Paper | None] = Paper(
        "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
        2024,
        "arxiv.org/abs/2311.03099",
    )
    needs_base: ClassVar[bool] = True

    drop: float = 0.9
    """The probability that an entry is dropped."""
    scale: float | tuple[float, ...] = 1.0
    """s, one for all or one a model."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ConfigError(f"Dare.drop is a probability in [0, 1), not {self.drop}")
        within(self, scale=(-1e6, 1e6))

    def merge(self, models: Sequence[Leaves], base: Leaves | None, keep: Sequence[Tree] | None = None) -> Leaves:
        """`keep`: drawn masks, a tree a model; None: drawn here by `seed`."""
        s, taus = self.one_each("scale", models), task_vectors(models, base)
        masks = self.drawn(taus) if keep is None else beside("keep", keep, models)
        kept = [{path: np.where(mask[path], x, 0.0) for path, x in tau.items()} for tau, mask in zip(taus, masks, strict=True)]
        return {path: x + np.tensordot(s, stack(kept, path), 1) / (1 - self.drop) for path, x in _given(base).items()}

    def drawn(self, taus: Sequence[Leaves]) -> list[dict[str, np.ndarray]]:
        """Masks, True where an entry stays."""
        rng = np.random.default_rng(self.seed)
        return [{path: rng.random(x.shape) >= self.drop for path, x in tau.items()} for tau in taus]


@dataclasses.dataclass(frozen=True)
class Fisher(Merge):
    """theta = sum_k F_k theta_k / sum_k F_k, entry by entry: F the diagonal of the Fisher information, E (d log p / d theta)^2.

    Where no model has any information, the plain average.
    """

    paper: ClassVar[Paper | None] = Paper("Merging Models with Fisher-Weighted Averaging", 2022, "arxiv.org/abs/2111.09832")
    side: ClassVar[str] = "the Fisher information of each model"

    def merge(self, models: Sequence[Leaves], base: Leaves | None, information: Sequence[Tree] | None = None) -> Leaves:
        """`information`: F, a tree a model."""
        if information is None:
            raise ConfigError(f"Fisher needs {self.side}: information=[a tree of squared gradients a model, ...]")
        f = beside("information", information, models)
        for i, tree in enumerate(f):
            if wrong := [path for path, x in tree.items() if not np.all(x >= 0)]:
                raise ConfigError(f"Fisher: information[{i}] has negative entries in {wrong[0]}; it is made of squares")
        return {path: _weighted(stack(f, path), stack(models, path)) for path in models[0]}


# ---- what they share -------------------------------------------------------------------------------------------------------------


def stack(trees: Sequence[Leaves], path: str) -> Float[np.ndarray, "k ..."]:
    return np.stack([np.asarray(tree[path]) for tree in trees])


def task_vectors(models: Sequence[Leaves], base: Leaves | None) -> list[Leaves]:
    """tau_k = theta_k - theta_0."""
    start = _given(base)
    return [{path: x - start[path] for path, x in m.items()} for m in models]


def _given(base: Leaves | None) -> Leaves:
    assert base is not None  # `checked` has refused it
    return base


def beside(name: str, trees: Sequence[Tree], models: Sequence[Leaves]) -> list[Leaves]:
    """Trees beside models, by path: one each, of the same arrays."""
    if len(trees) != len(models):
        raise ConfigError(f"{name} has {len(trees)} trees for {len(models)} models")
    flat = [{path: np.asarray(x) for path, x in by_path(tree).items() if path in models[0]} for tree in trees]
    like = {path: np.asarray(x) for path, x in models[0].items()}
    for i, tree in enumerate(flat):
        same_architecture(like, tree, f"{name}[{i}]")
    return flat


def slerp(a: Float[np.ndarray, "*s"], b: Float[np.ndarray, "*s"], t: float, threshold: float = 0.9995) -> Float[np.ndarray, "*s"]:
    """Of two arrays as vectors; the angle is that of their directions, the lengths are kept as they are."""
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    cos = float(np.vdot(a, b)) / lengths if lengths else 1.0
    if not lengths or abs(cos) > threshold:
        return (1 - t) * a + t * b
    angle = math.acos(min(max(cos, -1.0), 1.0))
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def largest(x: Float[np.ndarray, "*s"], density: float) -> Bool[np.ndarray, "*s"]:
    """Which entries are the max(1, ceil(density n)) of largest magnitude, of equal ones the first."""
    size = np.abs(x).reshape(-1)
    count = max(1, math.ceil(round(density * size.size, 6)))  # .07 of 100 are 7, not 7.000000000000001
    limit = np.partition(size, size.size - count)[size.size - count]
    kept = size > limit
    kept[np.flatnonzero(size == limit)[: count - int(kept.sum())]] = True
    return kept.reshape(x.shape)


def elected(trimmed: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, " ..."]:
    """The sign of the sum over tasks, 0 where that is 0."""
    return np.sign(trimmed.sum(0))


def _agreeing(trimmed: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, " ..."]:
    """The mean over tasks of the elected sign."""
    sign = elected(trimmed)
    agree = (np.sign(trimmed) == sign) & (sign != 0)
    return np.where(agree, trimmed, 0.0).sum(0) / np.maximum(agree.sum(0), 1)


def _weighted(f: Float[np.ndarray, "k ..."], theta: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, " ..."]:
    total = f.sum(0)
    return np.where(total > 0, (f * theta).sum(0) / np.where(total > 0, total, 1.0), theta.mean(0))


def nearest(models: Sequence[Tree], base: Tree, target: Tree) -> Float[np.ndarray, " k"]:
    """alpha of least |theta_0 + sum_k alpha_k tau_k - target|^2, unconstrained: how far any merging of this form can get."""
    flat = [{path: np.asarray(x, np.float64) for path, x in by_path(tree).items()} for tree in (*models, base, target)]
    *thetas, start, goal = flat
    for i, other in enumerate([*thetas[1:], start, goal], 1):
        same_architecture(thetas[0], other, f"tree {i}")
    taus = [np.concatenate([(theta[path] - start[path]).reshape(-1) for path in start]) for theta in thetas]
    rest = np.concatenate([(goal[path] - start[path]).reshape(-1) for path in start])
    return np.linalg.lstsq(np.stack(taus, 1), rest, rcond=None)[0]
