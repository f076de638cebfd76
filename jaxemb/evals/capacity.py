"""Which sets of documents vectors of d numbers can serve, whatever encoder gives them: LIMIT (Weller et al. 2025).

    FreeEmbeddings(dim=4).critical()        no encoder at all: the vectors of queries and documents are optimised on the judgements
    served_exactly(n, k)                    vectors of 2 k numbers that serve every set of k of n documents, by construction
    polynomial(d), query_graph(relevant)    what was published of n by d; how dense judgements are

What optimisation finds is not a bound, see `WARNING`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float

from jaxemb.config import ConfigError, choices, within
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.multi_positive import MultiPositive
from jaxemb.ops.similarity import unit
from jaxemb.types import Paper

PAPER = Paper("On the Theoretical Limitations of Embedding-Based Retrieval", 2025, "arxiv.org/abs/2508.21038")
WARNING = (
    "an optimisation observation, not a bound: d = 4 serves all pairs of any n in exact arithmetic (served_exactly), by margins "
    "that few bits do not hold"
)
PUBLISHED = (0.0037, 0.0520, 4.0309, -10.5322)
"""n of d, highest power first."""
STRICT = 1e-6
"""How far above all others the documents of a query must be: at the start scores may tie in 32 bits."""
CHECK = 100
"""Steps between two looks at the margins."""


class Tables(NamedTuple):
    """Optimised vectors, of several seeds."""

    queries: Float[Array, "s m d"]
    documents: Float[Array, "s n d"]
    margins: Float[np.ndarray, " s"]
    """By how much the lowest relevant document of a query is above its highest other one, in the worst query."""

    @property
    def solved(self) -> Bool[np.ndarray, " s"]:
        """Whether every query has its documents strictly first."""
        return self.margins > STRICT


class Critical(NamedTuple):
    """The most documents of which every set of k could be served."""

    dim: int
    numbers: tuple[int, ...]
    """n, of each seed; 0: not even the first."""
    margins: tuple[float, ...]
    """At that n."""
    published: float
    """The polynomial, of k = 2."""
    warning: str = WARNING


@dataclasses.dataclass(frozen=True)
class FreeEmbeddings:
    """Vectors of queries and documents, optimised on the judgements themselves by full-batch Adam; the rows have length 1 at the
    start and are projected to it after each step, as the released code does.

    The released code takes up to 100 000 steps and stops when the loss stays for 1 000; here `steps` are few, so that n is what a
    run of a minute finds. Near the critical n it depends on the seed: use several.
    """

    dim: int
    form: str = "each"
    """The loss, `MultiPositive`: "each" of the code, "any" as the paper prints it."""
    temperature: float = 0.1
    rate: float = 0.01
    steps: int = 4000

    def __post_init__(self) -> None:
        within(self, dim=(1, 2**17), steps=(1, 10**7))
        choices(self, form=("each", "any"))
        if not self.rate > 0:
            raise ConfigError(f"FreeEmbeddings.rate must be above 0, is {self.rate}")
        MultiPositive(self.temperature)  # which refuses what is no temperature

    def fit(self, relevant: Bool[np.ndarray, "m n"], here: Bool[np.ndarray, " n"] | None = None, seeds: int = 1) -> Tables:
        """A query a row of `relevant`; rows without any are padding, as are documents that are not `here`. Seeds go side by side,
        until all are solved."""
        here = np.ones(relevant.shape[1], bool) if here is None else here
        if not (relevant & here).any():
            raise ConfigError("FreeEmbeddings: no query has a relevant document")
        tables, state = jax.vmap(lambda k: _begin(self, k, *relevant.shape))(jax.random.split(jax.random.key(self.dim), seeds))
        judged, margins = (jnp.asarray(relevant), jnp.asarray(here)), np.full(seeds, -np.inf, np.float32)
        for _ in range(-(-self.steps // CHECK)):
            tables, state, found = _some_steps(self, tables, state, jnp.asarray(margins > STRICT), *judged)
            margins = np.asarray(found)
            if (margins > STRICT).all():
                break
        return Tables(tables[0], tables[1], margins)

    def critical(
        self, k: int = 2, first: int | None = None, seeds: int = 1, patience: int = 3, most: int | None = None
    ) -> Critical:
        """The largest n, from `first` on (None: k + 1), of which each seed serves every set of k. The search ends after `patience`
        n in a row of which none does, or with `most` (None: 4 d + 8, at least 12), whose shape all have: it is compiled once."""
        n, most = first or k + 1, most or max(12, 4 * self.dim + 8)
        best, margins, missed = np.zeros(seeds, int), np.full(seeds, -np.inf), 0
        sets = subsets(most, k)
        while missed < patience and n <= most:
            found = self.fit(sets & ~sets[:, n:].any(1, keepdims=True), np.arange(most) < n, seeds)
            best[found.solved], margins[found.solved] = n, found.margins[found.solved]
            missed, n = (0 if found.solved.any() else missed + 1), n + 1
        return Critical(self.dim, tuple(best.tolist()), tuple(margins.tolist()), polynomial(self.dim))


def polynomial(d: int | float) -> float:
    """The published n(d) of k = 2: -10.5322 + 4.0309 d + 0.0520 d^2 + 0.0037 d^3, fitted to what optimisation found for d up to 45.

    An optimisation observation, not a bound: `served_exactly` serves all pairs of any n with d = 4, in exact arithmetic. It is
    negative at d = 2, and beyond 45 an extrapolation.
    """
    return float(np.polyval(PUBLISHED, d))


def subsets(n: int, k: int) -> Bool[np.ndarray, "m n"]:
    """Every set of k of n documents as a row, True where one is in it; those of the first documents come first.

    LIMIT takes the first 1 000 of the pairs of 46 in lexicographic order, by which the 35 that are missing are all of its last
    documents; drawn among all rows, every document has about as many queries.
    """
    if not 1 <= k <= n:
        raise ConfigError(f"sets of k={k} of n={n} documents: k is 1 to n")
    every = np.array(sorted(itertools.combinations(range(n), k), key=lambda some: some[::-1]))
    found = np.zeros((len(every), n), bool)
    np.put_along_axis(found, every, True, axis=1)
    return found


def served_exactly(n: int, k: int = 2, dtype: Any = np.float64) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "n d"]]:
    """(queries, documents) of length 1, of 2 k numbers: the i-th query has the set `subsets(n, k)[i]` strictly first, for any n,
    in exact arithmetic. `margin` says how far, which is how many bits it takes.

    Document i is (cos t, sin t, cos 2t, ..., sin kt) / sqrt k at t = 2 pi i / n; the query of a set is minus the Fourier
    coefficients of prod over a in the set of (1 - cos(t - t_a)), which is 0 at each of its documents and above 0 elsewhere.
    """
    t = 2 * np.pi * np.arange(n) / n
    waves: Any = np.exp(1j * np.arange(1, k + 1) * t[:, None])
    documents = np.stack([waves.real, waves.imag], 2).reshape(n, -1) / np.sqrt(k)
    member = np.argsort(~subsets(n, k), axis=1, kind="stable")[:, :k]
    product = np.ones((len(member), 1), complex)  # of exp(i j t), j from -its half to its half
    for a in t[member].T:
        z, same, up, down = np.exp(-1j * a)[:, None] / 2, *(np.pad(product, ((0, 0), (i, 2 - i))) for i in (1, 2, 0))
        product = same - z * up - z.conj() * down
    above: Any = product[:, k + 1 :]
    queries: Any = unit(-np.stack([above.real, -above.imag], 2).reshape(len(member), -1))
    return queries.astype(dtype), documents.astype(dtype)


def margin(queries: Float[np.ndarray, "m d"], documents: Float[np.ndarray, "n d"], relevant: Bool[np.ndarray, "m n"]) -> float:
    """By how much the lowest relevant document is above the highest other one, in the worst query, in the precision of the arrays;
    above 0 where all are served."""
    scores = queries @ documents.T
    return float((np.where(relevant, scores, np.inf).min(1) - np.where(relevant, -np.inf, scores).max(1)).min())


def query_graph(relevant: Bool[np.ndarray, "m n"]) -> dict[str, float]:
    """Queries as nodes, an edge where two share a relevant document, its weight the Jaccard similarity of the two sets: `density`,
    the share of pairs with an edge, and `strength`, the mean over nodes of the sum of their weights. Strength is about 28 in LIMIT,
    and at most .6 in the usual benchmarks."""
    x = np.asarray(relevant, np.float64)
    if len(x) < 2:
        raise ConfigError(f"a graph of {len(x)} queries has no pairs")
    shared, size = x @ x.T, x.sum(1)
    weights = shared / np.maximum(size[:, None] + size - shared, 1)
    np.fill_diagonal(weights, 0)
    return {"density": float((weights > 0).sum() / (len(x) * (len(x) - 1))), "strength": float(weights.sum(1).mean())}


# ---- the optimisation, traced ----------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _begin(free: FreeEmbeddings, key: Array, m: int, n: int) -> Any:
    first, second = jax.random.split(key)
    tables = unit(jax.random.normal(first, (m, free.dim))), unit(jax.random.normal(second, (n, free.dim)))
    return tables, optax.adam(free.rate).init(tables)


@functools.partial(jax.jit, static_argnums=0)
def _some_steps(free: FreeEmbeddings, tables: Any, state: Any, solved: Any, relevant: Any, here: Any) -> Any:
    """`CHECK` steps of the seeds that are not solved, and their margins."""
    loss = MultiPositive(free.temperature, free.form, "dot")
    first, counts = relevant.argmax(1), relevant.any(1).astype(jnp.float32)
    keep = jnp.broadcast_to(here[None], relevant.shape)

    def cost(tables: Any) -> Array:
        return loss(tables[0], tables[1], first, counts, keep, Known(also=relevant)).value

    def step(_: Any, held: Any) -> Any:
        tables, state = held
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes that strict promotion refuses
            change, state = optax.adam(free.rate).update(jax.grad(cost)(tables), state, tables)
            moved: Any = optax.apply_updates(tables, change)
        return tuple(unit(x) for x in moved), state

    def one(tables: Any, state: Any, solved: Any) -> Any:
        after = jax.lax.fori_loop(0, CHECK, step, (tables, state))
        (q, p), state = jax.tree.map(lambda a, b: jnp.where(solved, a, b), (tables, state), after)
        scores = q @ p.T
        lowest = jnp.where(relevant, scores, jnp.inf).min(1)
        highest = jnp.where(relevant | ~here[None], -jnp.inf, scores).max(1)
        return (q, p), state, jnp.where(relevant.any(1), lowest - highest, jnp.inf).min()

    return jax.vmap(one)(tables, state, solved)
