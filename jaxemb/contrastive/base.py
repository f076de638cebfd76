"""The family of contrastive losses: they compare rows with rows, hold no parameters and know nothing of what made the rows."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError
from jaxemb.ops.dtypes import wide
from jaxemb.ops.rows import by_rows
from jaxemb.types import Loss, Paper


class Known(NamedTuple):
    """What a batch knows of its rows besides their embeddings; what is None is not known.

    A pytree. No gradient flows into any of it but `learned`.
    """

    scores: Array | None = None
    """b: graded similarity of query i and its positive."""
    labels: Array | None = None
    """b, int: the group of query i, and of its positive."""
    candidate_labels: Array | None = None
    """m, int: the group of candidate j; -1: of none."""
    own: Array | None = None
    """b k, int: places among the candidates of query i's own hard negatives; -1 where there is none."""
    teacher: Array | None = None
    """b 1+k: a teacher's scores of the positive and of the own hard negatives; what stands for an absent one is not read."""
    guide: tuple[Array, Array] | None = None
    """(b g, m g): another model's embeddings of the queries and of the candidates."""
    also: Array | None = None
    """b m, bool: True where candidate j is a positive of query i as well, for losses that take several."""
    task: Array | None = None
    """b, int: the task of each row, the same one in all that count."""
    learned: Mapping[str, Any] = {}
    """The learned scalars of the loss by name, those of `learned()`."""
    key: Array | None = None
    """A random key of this step, for losses that draw."""


NOTHING = Known()

GIVEN_BY = {
    "scores": "data of scored pairs, `data.scores=(lowest, highest)`, such as (0, 5)",
    "labels": "data of labelled texts, `data.labelled=True`",
    "candidate_labels": "data of labelled texts, `data.labelled=True`",
    "own": "data with hard negatives, `data.negatives=1` or more",
    "teacher": "data with a teacher's scores of the positive and the negatives, `data.teacher=True` and `data.negatives=1` or more",
    "guide": "a guide model, `objective.guide=model_of(GUIDE)`, with its weights in `init`, FromPretrained(GUIDE, "
    "into='guide/model'), and `data.guide=GUIDE` where its tokenizer is another one (docs/pairs.md)",
    "also": "data with ids of the positives (`positive_id`), or a mask of your own",
    "task": "data of several tasks, `data.tasks=True`",
    "learned": "an objective that has them as parameters, or `Known(learned=loss.learned())`, if they are to stay as they are",
    "key": "an objective in training (`Now.key`)",
}
"""Which data give what a loss may need."""


@dataclasses.dataclass(frozen=True)
class ContrastiveLoss(abc.ABC):
    """(queries, candidates, positives, weights, keep, known) -> Loss; members define `compare`.

    Query i and its positive, the candidate p_i, are pair i; every other candidate is a negative, or is looked at in the way of the
    member. Computed in float32 or better. The order of the pairs does not matter. Every matrix has the queries as its rows and is
    never turned: with the rows of a batch spread over devices, no device holds more of it than its own rows.
    """

    paper: ClassVar[Paper | None] = None

    needs: ClassVar[tuple[str, ...]] = ()
    """The fields of `known` without which it cannot be computed; a member whose fields decide makes this a property."""
    alone: ClassVar[bool] = False
    """Whether a single pair without any negative teaches something; where not, the loss is a constant then."""
    tokens: ClassVar[bool] = False
    """Whether a row may be a matrix with a vector a token, rows of zeros being padding: queries (b t d), candidates (m n d)."""

    def learned(self) -> Mapping[str, float]:
        """The first values of its learned scalars, by name: whoever calls it makes them parameters, and passes `known.learned`."""
        return {}

    def tasks(self) -> tuple[str, ...] | None:
        """None: it compares all tasks alike. Else the names of the tasks that it has a loss for, in the order of their numbers."""
        return None

    def layers(self) -> tuple[int, ...] | None:
        """None: it compares the rows of the last layer. Else the layers whose pooled rows it compares: it is given queries
        (l b d) and candidates (l m d), in this order. 0 is what enters the first layer, i what the i-th one gives, -1 what the
        encoder gives, always the last of them."""
        return None

    def __call__(
        self,
        queries: Float[Array, "... d"],
        candidates: Float[Array, "... d"],
        positives: Int[Array, " b"] | None = None,
        weights: Float[Array, " b"] | None = None,
        keep: Bool[Array, "b m"] | None = None,
        known: Known = NOTHING,
    ) -> Loss:
        """The mean over the pairs.

        `positives`: the place of each query's positive among the candidates; None: candidate i is that of query i, and those after
        the first b are negatives alone. A pair that counts and has no such place is refused; inside a transformed function, where
        numbers are not known, the loss and its gradient are NaN.
        `weights`: how often a pair counts, 0 where it is padding; the loss is a mean by them, and where all are 0, it is 0.
        `keep`: False where candidate j, and the query whose positive it is, must not be a negative for pair i: a false one, or
        padding. Positives always count. A loss without negatives does not look at it.
        `known`: what else the batch knows, such as what `needs` names.
        """
        self._refuse_shapes(queries.shape, candidates.shape)
        name, axis = type(self).__name__, 0 if self.layers() is None else 1
        b, m = queries.shape[axis], candidates.shape[axis]
        if not b:
            raise ConfigError(f"{name}: there are no queries to compare")
        if positives is None and m < b:
            raise ConfigError(f"{name}: {b} queries have {m} candidates; each needs one, or `positives` that say which")
        self._refuse_unknown(known, b, m)
        queries, candidates = queries.astype(wide(queries)), candidates.astype(wide(candidates))
        weights = jnp.ones(b, queries.dtype) if weights is None else weights.astype(queries.dtype)
        keep = by_rows(jnp.ones((b, m), bool) if keep is None else keep)
        if positives is None:
            return self.compare(queries, candidates, None, weights, keep, known)
        lost = self._lost(positives, weights, m)
        loss = self.compare(queries, candidates, jnp.clip(positives, 0, m - 1), weights, keep, known)
        return loss._replace(value=loss.value * jnp.where(lost, jnp.nan, jnp.ones_like(loss.value)))

    def refuse_alone(self, b: int, m: int) -> None:
        """Raises ConfigError where the loss of b queries and m candidates is a constant, whatever the rows: nothing to train on."""
        if b < 2 and m < 2 and not self.alone:
            raise ConfigError(
                f"{type(self).__name__}: one pair and no negative give the same loss whatever the embeddings; use a batch of at "
                "least 2 rows, or data with hard negatives"
            )

    def _refuse_shapes(self, *given: tuple[int, ...]) -> None:
        """Raises ConfigError where the rows are not of as many layers as are compared, or are matrices and should be vectors."""
        layers = self.layers()
        wanted = "rows of the last layer (b d)" if layers is None else f"rows of {len(layers)} layers, {layers} (l b d)"
        wanted += ", or matrices with a vector a token (b t d)" if self.tokens else ""
        for shape in given:
            right = (
                len(shape) in ((2, 3) if self.tokens else (2,)) if layers is None else len(shape) == 3 and shape[0] == len(layers)
            )
            if not right or len(shape) != len(given[0]) or shape[-1] != given[0][-1]:
                raise ConfigError(f"{type(self).__name__} compares {wanted}, and was given {' and '.join(map(str, given))}")

    def _refuse_unknown(self, known: Known, b: int, m: int) -> None:
        """Raises ConfigError for what is missing, or is not of these rows."""
        name = type(self).__name__
        for field in self.needs:
            if getattr(known, field) is None:
                raise ConfigError(f"{name} needs known.{field}, which is not given; it comes from {GIVEN_BY[field]}")
        if missing := [x for x in self.learned() if x not in known.learned]:
            raise ConfigError(
                f"{name} needs known.learned[{missing[0]!r}], which is not given; it comes from {GIVEN_BY['learned']}"
            )
        sizes = {"scores": b, "labels": b, "candidate_labels": m, "own": b, "teacher": b, "also": b, "task": b}
        found = {field: len(x) for field in sizes if (x := getattr(known, field)) is not None}
        if known.guide is not None:
            sizes |= {"guide[0]": b, "guide[1]": m}
            found |= {f"guide[{i}]": len(x) for i, x in enumerate(known.guide)}
        for field, rows in found.items():
            if rows != sizes[field]:
                raise ConfigError(
                    f"{name}: known.{field} has {rows} rows; there are {b} queries and {m} candidates: {sizes[field]}"
                )

    def _lost(self, positives: Int[Array, " b"], weights: Float[Array, " b"], m: int) -> Bool[Array, ""]:
        """Whether a pair that counts has its positive outside of the candidates."""
        outside = ((positives < 0) | (positives >= m)) & (weights != 0)
        if not isinstance(outside, Tracer) and outside.any():
            wrong = positives[outside.argmax()]
            raise ConfigError(
                f"{type(self).__name__}: positives must lie in 0 to {m - 1}, the places of the candidates, not {wrong}"
            )
        return outside.any()

    @abc.abstractmethod
    def compare(
        self,
        queries: Float[Array, "*l b d"],
        candidates: Float[Array, "*l m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        """As `__call__`; rows are float32 or better, nothing but `positives` can be None, and `known` has what is needed."""


def matched(x: Array, positives: Int[Array, " b"] | None, b: int, axis: int = 0) -> Array:
    """Of what there is for each candidate, that of each query's positive. Without `positives` nothing moves between devices."""
    if positives is None:
        return jax.lax.slice_in_dim(x, 0, b, axis=axis)
    return jnp.take(x, positives, axis=axis)


def weighted(x: Float[Array, " b"], weights: Float[Array, " b"]) -> Float[Array, ""]:
    """The mean over the pairs; 0 where none counts."""
    total = weights.sum()
    return (x * weights).sum() / jnp.where(total > 0, total, jnp.ones_like(total))


def check_temperature(owner: ContrastiveLoss, temperature: float) -> None:
    """Raises ConfigError for one that nothing can be divided by."""
    if not temperature > 0:
        raise ConfigError(f"{type(owner).__name__}: temperature must be above 0, is {temperature}")
    if not 1e-6 <= temperature <= 1e6:  # 1 / 1e-45 is no number of 32 bits, and with an endless one all are alike
        raise ConfigError(f"{type(owner).__name__}: temperature must be from 1e-6 to 1e6, is {temperature}")
