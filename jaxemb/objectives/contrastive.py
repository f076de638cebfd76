"""The base of objectives that compare embeddings: embedding and comparing apart, so that any loss works in pieces."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import errors
from jax import Array

from jaxemb.config import ConfigError
from jaxemb.objectives.base import Objective
from jaxemb.ops.paths import parameter_paths
from jaxemb.ops.pieces import cut, join, shards
from jaxemb.ops.rows import each_row
from jaxemb.ops.tract import MOMENTS
from jaxemb.types import Batch, Loss, Now

SOWN = ("losses", MOMENTS)
"""Collections of means over the rows, which the train step reads."""


class Contrastive(Objective, abc.ABC):
    """loss = compare({role: embed(tower, role)}): a tower gives some rows a batch, which the loss sees all together.

    With `pieces` the encoder holds the activations of b / pieces rows at a time, and computes them a second time for the gradient
    (GradCache, Gao et al. 2021); memory then hardly depends on the batch. Loss and gradient are those of the whole batch, whatever
    the number of pieces or devices. What looks at the whole batch, as the batch norm of a projector, belongs into `compare`; an
    encoder with batch norm cannot be run in pieces, and is refused.
    """

    pieces: int | None = None
    """Embed the batch in so many pieces, one after the other; None: at once, with nothing computed twice. Where the encoder draws
    random numbers (dropout), each row has a key of its own, also in one piece: equal for every number but None."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pieces is not None and self.pieces < 1:
            raise ConfigError(f"{type(self).__name__}.pieces must be at least 1, is {self.pieces}")

    def towers(self, batch: Batch) -> Mapping[str, Batch]:
        """What is embedded, by role; every array leads with the batch axis. Of a batch that is nested, its parts."""
        found = {role: part for role, part in batch.items() if isinstance(part, Mapping)}
        if not found:
            raise ConfigError(
                f"{type(self).__name__} compares towers, and the batch is not nested by them: it holds {', '.join(sorted(batch))}"
            )
        return found

    @abc.abstractmethod
    def embed(self, batch: Batch, role: str, train: bool) -> Array:
        """The embeddings of a tower, one example a row (b ...): each depends on its own example alone."""

    @abc.abstractmethod
    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        """The loss of the embeddings of all towers, each with all rows. `targets` is None without a teacher."""

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        return self.compare(self.embedded(batch, train=True), batch, targets, now)

    def embedded(self, batch: Batch, train: bool) -> Mapping[str, Array]:
        """`embed` of every tower, in pieces where they are wanted."""
        run = self.embed if self.pieces is None or self.is_initializing() else self._in_pieces
        return {role: run(part, role, train) for role, part in self.towers(batch).items()}

    def in_pieces(self, f: Callable[[Batch], Array], batch: Batch) -> Array:
        """f of a batch, row by row the same in the pieces that `pieces` wants; for what has no gradient and draws nothing."""
        if self.pieces is None or self.is_initializing():
            return f(batch)
        return join(jax.lax.map(f, jax.tree.map(lambda x: cut(x, self._count(batch)), dict(batch))))

    def _count(self, batch: Batch) -> int:
        """The number of pieces, after the batch was found to be a multiple of them."""
        pieces, b = self.pieces or 1, len(jax.tree.leaves(batch)[0])
        if b % pieces or b // pieces % shards():
            raise ConfigError(
                f"{type(self).__name__}: a (micro-)batch of {b} rows cannot be cut into pieces={pieces} of equal size that "
                f"{shards()} devices share; choose pieces so that {b} / pieces is a multiple of {shards()}"
            )
        return pieces

    def _in_pieces(self, batch: Batch, role: str, train: bool) -> Array:
        pieces, b = self._count(batch), len(jax.tree.leaves(batch)[0])
        module, variables = self.unbind()
        sown = [name for name in SOWN if self.is_mutable_collection(name)]

        def apply(rows: Batch, key: Array | None = None, variables: Any = variables, mutable: Any = sown) -> tuple[Any, Any]:
            rngs = None if key is None else {"dropout": key}
            return module.apply(variables, rows, role, train, method="embed", rngs=rngs, mutable=mutable)

        def each(rows: Batch, keys: Array) -> tuple[Any, Any]:
            z, found = each_row(lambda row, key: apply(row, key[0]), rows, keys)
            return z[:, 0], jax.tree.map(lambda x: x.mean(0), found)

        fresh = _without(variables, "batch_stats")  # made anew where a batch norm runs
        self._refuse_batch_norm(lambda x: apply(x, jax.random.key(0), fresh, ["batch_stats"])[1], batch)
        xs: Any = (jax.tree.map(lambda x: cut(x, pieces), dict(batch)),)
        one: Any = apply
        if _draws(apply, batch):
            one, xs = each, (*xs, cut(jax.random.split(self.make_rng("dropout"), b), pieces))
        z, found = jax.lax.map(jax.checkpoint(lambda x: one(*x)), xs)
        self._sow(found)
        return join(z)

    def _refuse_batch_norm(self, touched: Callable[[Batch], Any], batch: Batch) -> None:
        for path in parameter_paths(jax.eval_shape(touched, batch)):
            raise ConfigError(
                f"{type(self).__name__}.pieces={self.pieces}: {path.split('/', 1)[1]!r} is a statistic of the batch, which would "
                "be one of a piece; use pieces=None, or an encoder without batch norm"
            )

    def _sow(self, found: Mapping[str, Any]) -> None:
        """Leaves the means over the pieces where the modules would have left theirs."""
        for collection, modules in found.items():
            for name, new in jax.tree.map(lambda x: x.mean(0), modules).items():
                old = self.get_variable(collection, name)
                both = jax.tree.map(lambda a, b: a + b, old, new, is_leaf=lambda x: isinstance(x, tuple)) if old else new
                self.put_variable(collection, name, both)


def _draws(f: Callable, batch: Batch) -> bool:
    """Whether a function of a batch asks for random numbers, and is not given any."""
    try:
        jax.eval_shape(f, batch)
    except errors.InvalidRngError:
        return True
    return False


def _without(variables: Mapping[str, Any], collection: str) -> dict[str, Any]:
    return {name: x for name, x in variables.items() if name != collection}
