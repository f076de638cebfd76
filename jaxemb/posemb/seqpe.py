"""Position embeddings read from the digits of the position."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int, Num

from jaxemb.config import ConfigError, suggest
from jaxemb.layers.dense import INITS
from jaxemb.ops.digits import (
    contrastive,
    digit_count,
    distillation,
    far_origins,
    nearest,
    pivots_and_candidates,
    window_samples,
)
from jaxemb.ops.grid import cell_ids
from jaxemb.ops.grid import cells as grid_cells
from jaxemb.posemb.base import Places, PosEmb, Shared, of_queries
from jaxemb.posemb.digit_encoder import DigitEncoder
from jaxemb.posemb.learned import lookup
from jaxemb.types import Paper

WAYS = ("mul", "scalar", "add", "input")
PROJECTIONS = ("multi", "single", "none")


class Projection(nn.Module):
    """E -> (P_q | P_k). Parameters: kernel (d, 2d), bias (2d)."""

    @nn.compact
    def __call__(self, e: Float[Array, "#b n d"]) -> Float[Array, "#b n c"]:
        d = e.shape[-1]
        bias = self.param("bias", nn.initializers.zeros, (2 * d,))
        return e @ self.param("kernel", INITS["normal"], (d, 2 * d)) + bias[None, None]


class Prefix(nn.Module):
    """Rows of the tokens that have no position. Parameters: rows (p, d)."""

    @nn.compact
    def __call__(self, count: int, width: int) -> Float[Array, "p d"]:
        return self.param("rows", INITS["normal"], (count, width))


class Warmup(nn.Module):
    """min(1, step / steps), counting its own calls in the collection `counters`."""

    steps: int

    @nn.compact
    def __call__(self) -> Float[Array, ""]:
        count = self.variable("counters", "step", lambda: jnp.zeros((), jnp.int32))
        if not self.is_initializing():
            count.value = count.value + 1
        return jnp.minimum(count.value / self.steps, 1)


class SeqPE(PosEmb):
    """A transformer over the digits of a position gives its embedding E; two losses make it right beyond the training positions.

        mul     q <- q * P_q, k <- k * P_k, elementwise          add     q + P_q, k + P_k
        scalar  logits (q k^T + P_q P_k^T) / sqrt(e)             input   token + E

    (P_q, P_k) = Linear(E), a Linear for each layer ("multi"), one for all ("single"), or P_q = P_k = E ("none"). Class and register
    tokens have learned rows of their own in E. Published for images: "mul", "multi"; for language models: "scalar", "single".

    In training two terms are added to the loss, both on random positions below `limit` (see `jaxemb/ops/digits.py`): the
    contrastive one makes the nearest of some candidates the most similar, the distillation one makes a far window of positions
    look like the training window. With chance `shift` the task itself sees shifted positions; the distillation term rests then.
    The released 2-D code meant to mix three kinds of candidates but draws uniform ones alone; so does this, unless `mixed`.
    Its shuffled passes over pivots and origins are independent draws here. What is known of the method is the released code.

    Parameters: encoder (see `DigitEncoder`), prefix/rows (p, d); to_qk/kernel (d, 2d) and to_qk/bias under `pos` or, with
    "multi", in every layer under `attention/pos`. With `stored` set: `table`, rows of tokens by all that enters attention; see
    `posemb/seqpe_table.py`.
    """

    paper: ClassVar[Paper | None] = Paper("SeqPE: Transformer with Sequential Position Encoding", 2025, "arxiv.org/abs/2506.13277")

    axes: int = 2
    limit: int = 100
    """Positions along each axis that the losses see; it fixes the number of digits. Published: 100 (2-D), 20000 (1-D)."""
    way: str = "mul"
    project: str = "multi"
    width: int = 64
    """Of the digit encoder. Published: 384 (2-D), 768 (1-D)."""
    depth: int = 2
    heads: int | None = None
    """Of the digit encoder; None: one for every 64 features."""
    dropout: float = 0.1
    causal: bool = True
    mask_padding: bool = False
    """Hide the zeros that pad a number; published: they are digits like others."""
    summary: bool = True
    """Read out at a summary token; False: at the last digit, which is another model."""
    last_norm: bool = True
    temperature: float = 1.0
    contrastive: float = 0.1
    """Weight of the contrastive loss; 0: none."""
    transfer: float = 0.1
    """Weight of the distillation loss; 0: none."""
    warmup: int = 0
    """Steps over which both weights rise from 0."""
    shift: float = 0.1
    """Chance that a training step sees shifted positions."""
    origins: int = 32
    """Origins in such a step; image i has origin i mod this."""
    pool: int = 320
    """From so many origins, chosen once; walked through from a random place."""
    pivots: int = 32
    candidates: int = 64
    windows: int = 32
    samples: int = 64
    """Positions compared within a window."""
    mixed: bool = False
    """Mix uniform, hard and local candidates, as the paper intends."""
    multi_head: tuple[bool, bool] = (False, True)
    """Whether the contrastive and the distillation loss take a head's part of E at a time."""
    kind: str = "kl"
    """Of distillation: "kl" (both directions), "mse" of log-probabilities."""
    beta: float = 1.0
    """Share of distillation that moves the far positions; the rest moves those of the training window."""
    stored: tuple[int, ...] | None = None
    """Read everything from tables for this grid; set by `seqpe_table.table`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, valid in (("way", WAYS), ("project", PROJECTIONS), ("kind", ("kl", "mse"))):
            if (value := getattr(self, name)) not in valid:
                raise ConfigError(f"SeqPE.{name}={value!r}{suggest(str(value), valid)}")
        for name in ("axes", "depth", "width", "origins", "pool", "pivots", "candidates", "windows", "samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"SeqPE.{name}={getattr(self, name)} must be at least 1")
        if self.width % self._heads:
            raise ConfigError(f"SeqPE.width={self.width} is not divisible by heads={self._heads}")
        if not 0 <= self.shift <= 1 or not 0 <= self.beta <= 1 or min(self.contrastive, self.transfer) < 0:
            raise ConfigError("SeqPE needs shift and beta in [0, 1], and weights of its losses that are not negative")
        if max(self.pivots, self.candidates + 1) > self.limit**self.axes:
            raise ConfigError(
                f"SeqPE(limit={self.limit}, axes={self.axes}) has {self.limit**self.axes} positions: fewer than "
                f"pivots={self.pivots}, or than candidates={self.candidates} and their pivot"
            )

    @property
    def _heads(self) -> int:
        return self.heads or max(1, self.width // 64)

    def setup(self) -> None:
        names = ("width", "depth", "axes", "causal", "mask_padding", "summary", "last_norm", "temperature", "dropout")
        settings = {name: getattr(self, name) for name in names}
        self.encoder = DigitEncoder(heads=self._heads, count=digit_count(self.limit), **settings)
        self.to_qk, self.prefix, self.rise = Projection(), Prefix(), Warmup(max(self.warmup, 1))

    # ---- hooks -----------------------------------------------------------------------------------------------------------------

    def locate(self, places: Places) -> Num[Array, "_ n c"]:
        pos, grid = places.pos, places.grid
        if pos.shape[-1] != self.axes:
            raise ConfigError(f"SeqPE(axes={self.axes}) was given positions of {pos.shape[-1]} numbers")
        if not jnp.issubdtype(pos.dtype, jnp.integer):
            raise ConfigError(f"SeqPE reads the digits of whole positions, not of {pos.dtype}")
        if grid is not None and max(grid) > 10 ** digit_count(self.limit):
            raise ConfigError(
                f"SeqPE(limit={self.limit}) was built for {digit_count(self.limit)} digits; the input has {max(grid)} positions"
            )
        if not (places.train and self.shift and grid is not None and len(pos) == 1 and max(grid) < self.limit):
            return pos
        chance, place = jax.random.split(self.make_rng("dropout"))
        every = grid_cells(tuple(self.limit - side for side in grid))
        pool = np.random.default_rng(0).permutation(every)[: self.pool]
        chosen = (jax.random.randint(place, (), 0, len(pool)) + jnp.arange(self.origins)) % len(pool)
        origins = jnp.where(jax.random.bernoulli(chance, self.shift), jnp.asarray(pool, pos.dtype)[chosen], 0)
        return pos + origins[jnp.arange(places.rows) % self.origins][:, None]

    def add(self, x: Float[Array, "b n d"], places: Places) -> Float[Array, "b n d"]:
        if self.way != "input":
            return x
        if self.stored is not None:
            return x + lookup(self._table(), places.pos, self.stored).astype(x.dtype)
        e = self._embed(places, x.shape[-1], 1)
        return x + _tiled(e.astype(x.dtype), len(x))

    def prepare(self, places: Places, *, heads: int, width: int, prefix: int = 0) -> Any:
        pos = places.pos
        if self.way == "input":
            return Shared(pos)
        if self.stored is not None:
            e = _rows(pos, self.stored, prefix)
            e = e if self.project == "multi" else _take(self._table(), e)
        else:
            e = self._embed(places, heads * width, heads)
            if prefix:
                own = self.prefix(prefix, heads * width)[None]
                e = jnp.concatenate([jnp.broadcast_to(own, (len(e), *own.shape[1:])), e], axis=1)
        if self.project == "multi":
            return Shared(pos, e)
        both = self._both(e, heads)
        return Shared(pos, None, _dot(*both)) if self.way == "scalar" else Shared(pos, both)

    def rotate(
        self, q: Float[Array, "b n h e"], k: Float[Array, "b m h e"], shared: Any
    ) -> tuple[Float[Array, "b n h e"], Float[Array, "b m h e"]]:
        if self.way in ("scalar", "input"):
            return q, k
        p_q, p_k = (_tiled(p.astype(q.dtype), len(q)) for p in self._of_layer(shared, q.shape[2]))
        p_q = of_queries(p_q, q)
        return (q * p_q, k * p_k) if self.way == "mul" else (q + p_q, k + p_k)

    def layer_bias(self, q: Float[Array, "b n h e"], shared: Any) -> Float[Array, "#b #h n m"] | None:
        if self.way != "scalar":
            return None
        if self.project != "multi":
            return _tiled(of_queries(shared.bias, q, axis=2), len(q))
        p_q, p_k = self._of_layer(shared, q.shape[2])
        return _tiled(_dot(of_queries(p_q, q), p_k), len(q))

    # ---- embeddings ------------------------------------------------------------------------------------------------------------

    def _of_layer(self, shared: Any, heads: int) -> tuple[Array, Array]:
        """(P_q, P_k), each #b n h e."""
        if self.project != "multi":
            return shared.angles
        return self._both(shared.angles if self.stored is None else _take(self._table(), shared.angles), heads)

    def _both(self, e: Float[Array, "g n d"], heads: int) -> tuple[Array, Array]:
        if self.project == "none":
            p = e.reshape(*e.shape[:2], heads, -1)
            return p, p
        both = self.to_qk(e) if self.stored is None else e
        p = both.reshape(*e.shape[:2], 2, heads, -1)
        return p[:, :, 0], p[:, :, 1]

    def _table(self) -> Float[Array, "r c"]:
        found: Any = self.get_variable("params", "table")
        if found is None:
            raise ConfigError("SeqPE.stored is set by jaxemb.posemb.seqpe_table.table, which makes the parameters as well")
        return found

    def embeddings(self, pos: Int[Array, "m a"], features: int, train: bool = False) -> Float[Array, "m d"]:
        """E of some positions; NaN where they have more digits than there are tokens for."""
        inside = ((pos >= 0) & (pos < 10 ** digit_count(self.limit))).all(-1, keepdims=True)
        return jnp.where(inside, self.encoder(pos, features, train), jnp.nan)

    def _embed(self, places: Places, features: int, heads: int) -> Float[Array, "g n d"]:
        """E of all positions, of one example, of each, or of those that the examples share in turn (`_tiled`); in training the
        losses are sown. Each position is encoded once where the grid is known."""
        pos, grid, train = places.pos, places.grid, places.train
        losses = train and (self.contrastive or self.transfer)
        if grid is None:
            if losses:
                raise ConfigError(
                    "SeqPE's losses need an encoder that knows its grid, and texts packed into one row have none in common; set "
                    "contrastive=0, transfer=0 and shift=0"
                )
            return self.embeddings(pos.reshape(-1, self.axes), features, train).reshape(*pos.shape[:2], features)
        if not train and len(pos) == 1:  # wherever they are
            return self.embeddings(pos[0], features)[None]
        cells = jnp.asarray(grid_cells(grid), pos.dtype)
        # Only `locate` gives all cells of the grid to each example on its own: then they are shifted, or not, by its origins.
        tiled = bool(train and self.shift) and pos.shape[1] == len(cells) and len(pos) > 1
        still = jnp.asarray(True) if not tiled else (pos[:1] == cells[None]).all()
        e = self._regularised(cells, features, heads, grid, still) if losses else self.embeddings(cells, features, train)
        if not tiled:
            return lookup(e, pos, grid)
        count = min(self.origins, len(pos))
        moved = pos[:count].reshape(-1, self.axes)

        def encode(m: SeqPE) -> Array:
            return m.embeddings(moved, features, train).reshape(count, *e.shape)

        if self.is_initializing():
            every = encode(self)
        else:  # the many positions of a shifted step are encoded in such a step alone
            every = nn.cond(still, lambda m: jnp.broadcast_to(e[None], (count, *e.shape)), encode, self)
        return every

    def _regularised(
        self, cells: Int[Array, "n a"], features: int, heads: int, grid: tuple[int, ...], still: Array
    ) -> Float[Array, "n d"]:
        """E of the grid, and the two losses: all positions go through the encoder as one batch."""
        pieces, rise = [cells], self.rise() if self.warmup else 1.0
        draw, move = jax.random.split(self.make_rng("dropout"))
        far = len(far_origins(grid, self.limit)) if self.transfer else 1
        if not far:
            raise ConfigError(f"SeqPE.limit={self.limit} leaves no window of {grid} outside of the grid for transfer; raise it")
        if self.contrastive:
            pivots, others = pivots_and_candidates(
                draw, self.pivots, self.candidates, limit=self.limit, axes=self.axes, mixed=self.mixed
            )
            pieces += [pivots, others.reshape(-1, self.axes)]
        if self.transfer:
            index, windows = window_samples(move, self.windows, self.samples, grid=grid, limit=self.limit)
            pieces += [windows.reshape(-1, self.axes)]
        sizes = np.cumsum([len(p) for p in pieces])[:-1]
        e, *rest = jnp.split(self.embeddings(jnp.concatenate([p.astype(cells.dtype) for p in pieces]), features, True), sizes)
        own, same = (heads if per_head else 1 for per_head in self.multi_head)
        if self.contrastive:
            p, c = rest[0], rest[1].reshape(*others.shape[:2], features)
            value = contrastive(p, c, nearest(pivots, others), heads=own)
            self.sow("losses", "seqpe_contrastive", self.contrastive * rise * value)
        if self.transfer:
            student = rest[-1].reshape(*index.shape, features)
            value = distillation(e[index], student, heads=same, kind=self.kind, beta=self.beta)
            self.sow("losses", "seqpe_transfer", self.transfer * rise * jnp.where(still, value, 0))
        return e


def _rows(pos: Int[Array, "#b n a"], grid: tuple[int, ...], prefix: int) -> Int[Array, "#b m"]:
    """Rows of a table that begins with the `prefix` rows; -1 outside."""
    row, inside = cell_ids(pos, grid)
    own = jnp.broadcast_to(jnp.arange(prefix, dtype=row.dtype)[None], (len(pos), prefix))
    return jnp.concatenate([own, jnp.where(inside, row + prefix, -1)], axis=1)


def _take(table: Float[Array, "r c"], rows: Int[Array, "#b m"]) -> Float[Array, "#b m c"]:
    return jnp.take(table, jnp.where(rows < 0, len(table), rows), axis=0, mode="fill", fill_value=jnp.nan)


def _tiled(x: Float[Array, "g ..."], count: int) -> Float[Array, "_ ..."]:
    """Rows for `count` examples: example i has row i mod g."""
    return x if len(x) in (1, count) else x[jnp.arange(count) % len(x)]


def _dot(p_q: Float[Array, "#b n h e"], p_k: Float[Array, "#b m h e"]) -> Float[Array, "#b h n m"]:
    return jnp.einsum("bnhe,bmhe->bhnm", p_q, p_k) * p_q.shape[-1] ** -0.5
