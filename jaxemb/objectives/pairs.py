"""Pairs that belong together: texts and their answers, images and their captions, with hard negatives, scores, groups, a guide."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import ContrastiveLoss, Known
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.nn.base import Encoder
from jaxemb.nn.block import Layers
from jaxemb.nn.pooled import Pooled, counted, features_of, wanted
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import refuse_packed, tower
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.ops.dtypes import wide
from jaxemb.ops.rows import by_rows, everywhere
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.sincos import SinCos
from jaxemb.types import Batch, Features, Loss, Now

QUERY, POSITIVE, NEGATIVES = ROLES = ("query", "positive", "negatives")
GUIDE = "guide"
"""The collection that holds the guide, and the arrays of a role that are for it alone."""
INPUTS = ("tokens", "images", "mask", "types", "pooled", "shapes")
"""Arrays of a role that an encoder reads."""

UNREAD = {
    "scores": "a pair of the lowest score would count as a right one; CoSENT, AnglE, CosineMSE and other losses of graded pairs "
    "read them, and data.scores=None leaves them out",
    "labels": "other texts of a label would be negatives; ClassNCE, MultiSimilarity, LabelledTriplets and other losses of groups "
    "read them, and data.labelled=False leaves them out, where each record has a positive",
}


def of_bytes(**fields: Any) -> Transformer:
    """A bidirectional transformer on bytes, unless `fields` say otherwise."""
    return Transformer(**{"stem": Tokens(256), "pos": SinCos(axes=1)} | fields)


class Pairs(Contrastive):
    """loss = contrast(queries, candidates), candidates the positives of all queries and then the hard negatives of all queries.

    A batch is nested by role, and what is absent is not there:

        query, positive         {tokens (b n), mask (b n)}, or {images (b H W c)}
        negatives               {tokens (b k n), mask (b k n)}: hard negatives of each query; present (b k): False where one lacks
        scores, labels, teacher, weights   (b), (b), (b 1+k), (b): what `contrast` may want to know, see `contrastive/base.py`
        query_id, positive_id (b), negative_id (b k)   equal for what is the same; -1: not known

    From the ids, which are of one numbering for all roles: a candidate is no negative of a query that it is equal to, nor of one
    whose positive it is, in whatever row either stands (positives of equal queries are positives; with scores, those above 1/2), a
    hard negative or not. Other hard negatives of a query always count. Rows of weight 0 are padding: nobody's negatives.

    With `LateInteraction` as pooling and InfoNCE, whose temperature is then of sums over tokens, texts are compared by MaxSim.

    Without `positive` the queries are the candidates as well, for losses of labels. A batch that is not nested holds texts that are
    paired with themselves, under two draws of dropout (SimCSE, Gao et al. 2021).
    """

    encoder: Encoder = field(default_factory=of_bytes)
    pooling: Pooling = field(default_factory=Mean)
    heads: tuple[nn.Module, ...] = ()
    """From vector to vector, one after the other: what a pretrained folder has after its pooling, such as `Unit`."""
    contrast: ContrastiveLoss = InfoNCE(0.05)
    document: Pooled | None = None
    """What embeds positives and negatives; None: what embeds the queries."""
    guide: Pooled | None = None
    """A frozen model whose vectors `contrast` may look at (`known.guide`). It is no part of the parameters but of the collection
    "guide", and mostly starts from `FromPretrained(folder, into="guide/model")`. It reads the arrays that the encoder reads, or
    where a role holds `guide`, {tokens (b n), mask (b n)} of a tokenizer of its own, those."""

    def setup(self) -> None:
        # `contrast_` keeps them apart from the modules.
        first = nn.initializers.constant
        self.learned = {n: self.param(f"contrast_{n}", first(x), (), jnp.float32) for n, x in self.contrast.learned().items()}

    # ---- the towers --------------------------------------------------------------------------------------------------------------

    def towers(self, batch: Batch) -> Mapping[str, Batch]:
        return {role: {name: x for name, x in part.items() if name in INPUTS} for role, part in self._roles(batch).items()}

    def embed(self, batch: Batch, role: str = QUERY, train: bool = False) -> Float[Array, "b *k d"]:
        """Of negatives b k d; where `contrast` compares several layers or tokens, these before d."""
        if role == NEGATIVES:
            return _each(lambda rows: self._embedded(rows, role, train), batch)
        return self._embedded(batch, role, train)

    def _embedded(self, batch: Batch, role: str, train: bool) -> Float[Array, "b *l d"]:
        refuse_packed(batch)
        encoder, pooling, heads = self._side(role)
        layers = self.contrast.layers()
        how = wanted(pooling, encoder) if layers is None else {"layers": _numbers(layers, encoder, pooling)}
        f = features_of(encoder, batch, **how, train=train)
        if layers is None:
            return _through(pooling(counted(f, batch)), heads)
        # The last one is what the encoder gives; the others are as they leave their layers.
        every = (*f.layers, f.tokens)
        each = [_through(pooling(counted(f._replace(tokens=x, layers=()), batch)), heads) for x in every]
        return jnp.stack(each, axis=1)

    def _side(self, role: str) -> tuple[Any, Any, Any]:
        if role == QUERY or self.document is None:
            return self.encoder, self.pooling, self.heads
        return self.document.encoder, self.document.pooling, self.document.heads

    def _roles(self, batch: Batch) -> dict[str, Batch]:
        found = {role: part for role, part in batch.items() if isinstance(part, Mapping)}
        if not found:
            return {QUERY: batch, POSITIVE: batch}
        if strange := [role for role in found if role not in ROLES]:
            raise ConfigError(f"Pairs: {strange[0]!r} is no role of a batch of pairs; valid: {', '.join(ROLES)}")
        if QUERY not in found:
            raise ConfigError(f"Pairs: the batch has no 'query'; it holds {', '.join(sorted(batch))}")
        return found

    # ---- the loss ----------------------------------------------------------------------------------------------------------------

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        queries, candidates = z[QUERY], _candidates(z)
        b, m = len(queries), len(candidates)
        self._refuse_unread(batch)
        if not self.is_initializing():
            self.contrast.refuse_alone(b, m)
        known = self._known(batch, targets, now, z)
        keep = kept(batch, b, m, known.also)
        if self.contrast.layers() is not None:
            queries, candidates = (jnp.moveaxis(x, 1, 0) for x in (queries, candidates))
        return self.contrast(queries, candidates, weights=batch.get("weights"), keep=keep, known=known)

    def _refuse_unread(self, batch: Batch) -> None:
        """Raises ConfigError for what tells right pairs from wrong ones, where the loss takes every pair for a right one."""
        if not any(isinstance(part, Mapping) for part in batch.values()):
            return  # each row is its own partner, whatever else is known of it
        for name, why in UNREAD.items():
            if name in batch and name not in self.contrast.needs:
                raise ConfigError(f"Pairs: {type(self.contrast).__name__} does not read the {name} of the batch: {why}")

    def _known(self, batch: Batch, guided: Any, now: Now, z: Mapping[str, Array]) -> Known:
        b, labels = len(z[QUERY]), batch.get("labels")
        own = None
        if NEGATIVES in z:
            k = z[NEGATIVES].shape[1]
            own = b + jnp.arange(b * k, dtype=jnp.int32).reshape(b, k)
            own = own if "present" not in batch else jnp.where(batch["present"], own, -1)
        of_candidates = labels
        if labels is not None and own is not None:
            others = batch.get("negative_labels", jnp.full(own.shape, -1, labels.dtype))
            of_candidates = jnp.concatenate([labels, others.reshape(-1)])
        guide = None if guided is None else (guided[QUERY], _candidates(guided))
        known = Known(
            batch.get("scores"), labels, of_candidates, own, batch.get("teacher"), guide, also(batch, b, len(_candidates(z)))
        )
        return known._replace(task=batch.get("task"), learned=self.learned, key=now.key)

    # ---- the guide ---------------------------------------------------------------------------------------------------------------

    def targets(self, batch: Batch, now: Now) -> Mapping[str, Array] | None:
        """The guide's vectors of every role."""
        if self.guide is None:
            return None
        parts = {role: self._read_by_guide(part) for role, part in self._roles(batch).items()}
        guide = self.guide.clone(parent=None)
        if not self.has_variable(GUIDE, "model"):
            first = jax.tree.map(lambda x: x[:1], parts[QUERY])
            self.put_variable(GUIDE, "model", guide.init(self.make_rng("params"), first)["params"])
        held = {"params": self.get_variable(GUIDE, "model")}

        def embed(rows: Batch) -> Any:
            return guide.apply(held, rows, method="encode")

        def of(role: str, rows: Batch) -> Any:
            return _each(embed, rows) if role == NEGATIVES else embed(rows)

        return {role: self.in_pieces(lambda rows, role=role: of(role, rows), part) for role, part in parts.items()}

    def _read_by_guide(self, part: Batch) -> Batch:
        if GUIDE in part:
            return part[GUIDE]
        sizes = [getattr(getattr(x, "stem", None), "vocabulary", None) for x in (self.encoder, self.guide.encoder)]  # pyright: ignore[reportOptionalMemberAccess]
        if "tokens" in part and sizes[0] != sizes[1]:
            raise ConfigError(
                f"Pairs.guide has a table of {sizes[1]} tokens, and the encoder one of {sizes[0]}: the tokens of one are not those "
                "of the other; let the data cut the texts for the guide as well (TextPairs.guide, the folder of its tokenizer)"
            )
        return {name: x for name, x in part.items() if name in INPUTS}

    # ---- what evaluations see ----------------------------------------------------------------------------------------------------

    def features(self, batch: Batch, role: str = "document") -> Features:
        part, side = self._asked(batch, role)
        refuse_packed(part)
        return features_of(self._side(side)[0], part)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b *m d"]:
        part, side = self._asked(batch, role)
        refuse_packed(part)
        encoder, pooling, heads = self._side(side)
        return _through(pooling(counted(features_of(encoder, part, **wanted(pooling, encoder)), part)), heads)

    def _asked(self, batch: Batch, role: str) -> tuple[Batch, str]:
        side = POSITIVE if role == "document" else role
        if side == POSITIVE and not any(isinstance(batch.get(name), Mapping) for name in (side, role)):
            part = batch.get(QUERY)
            if isinstance(part, Mapping):  # the queries are the candidates
                return part, QUERY
        return tower(batch, side if isinstance(batch.get(side), Mapping) else role), side


def kept(batch: Batch, b: int, m: int, known: Bool[Array, "b m"] | None) -> Bool[Array, "b m"] | None:
    """False where a candidate must not be a negative of a query: it lacks, is padding, is the query itself, or a positive of it,
    which `also` gives (`known`). None: all count."""
    there, others, queries = _there(batch, b, m), _candidate_ids(batch, m), batch.get("query_id")
    found = [] if there is None else [jnp.broadcast_to(there[None], (b, m))]
    found += [] if known is None else [~known]
    found += [] if others is None or queries is None else [~_same(queries, others)]
    return functools.reduce(jnp.logical_and, found) if found else None


def also(batch: Batch, b: int, m: int) -> Bool[Array, "b m"] | None:
    """True where a candidate is a positive of the query by what the ids say, its own among them; None: nothing is known."""
    ids, queries, others = batch.get("positive_id"), batch.get("query_id"), _candidate_ids(batch, m)
    if ids is None and queries is None:
        return None
    diagonal = by_rows(jnp.eye(b, dtype=bool))
    own = diagonal if ids is None else diagonal & (ids >= 0)[:, None]
    alike = own if queries is None else by_rows(own | _same(queries, queries))
    if "scores" in batch:  # a pair of a low score says that its texts do not belong together
        alike = own | (alike & (batch["scores"] > 0.5)[None])
    # In its own column each positive of equal queries, and wherever else a text is equal to one of them.
    found = by_rows(jnp.pad(alike, ((0, 0), (0, m - b))))
    if ids is not None and others is not None:
        found = found | _same(ids, others)
        if queries is not None:
            repeated = (alike & ~diagonal).any()
            found = by_rows(jax.lax.cond(repeated, lambda x: by_rows(x | _joined(alike, ids, others)), by_rows, found))
    there = _there(batch, b, m)
    return found if there is None else found & (there[None] | jnp.pad(own, ((0, 0), (0, m - b))))


def _joined(alike: Bool[Array, "b b"], ids: Int[Array, " b"], others: Int[Array, " m"]) -> Bool[Array, "b m"]:
    """True where a candidate is equal to the positive of some row that is alike. By blocks of rows: no device holds all b m."""
    b = len(ids)
    size = math.gcd(b, min(1024, max(1, b // 8)))

    def add(found: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        rows, texts = block
        have = everywhere(_same(texts, others)).astype(jnp.bfloat16)
        return by_rows(found | (jnp.einsum("bc,cm->bm", rows.astype(jnp.bfloat16), have) > 0)), None

    blocks = jnp.moveaxis(alike.reshape(b, b // size, size), 1, 0), ids.reshape(-1, size)
    return jax.lax.scan(add, by_rows(jnp.zeros((b, len(others)), bool)), blocks)[0]


def _candidate_ids(batch: Batch, m: int) -> Int[Array, " m"] | None:
    """Of the positives and then of the hard negatives; -1: not known."""
    if (ids := batch.get("positive_id")) is None:
        return None
    every = ids if (others := batch.get("negative_id")) is None else jnp.concatenate([ids, others.reshape(-1)])
    return jnp.pad(every, (0, m - len(every)), constant_values=-1)


def _there(batch: Batch, b: int, m: int) -> Bool[Array, " m"] | None:
    """False for candidates that lack and for those of rows that do not count; None: all are there."""
    found, each = None, (m - b) // max(b, 1)
    if "weights" in batch:
        counts = batch["weights"] != 0
        found = jnp.concatenate([counts, jnp.repeat(counts, each)])
    if "present" in batch:
        there = jnp.concatenate([jnp.ones(b, bool), batch["present"].reshape(-1)])
        found = there if found is None else found & there
    return found


def _same(a: Int[Array, " b"], c: Int[Array, " m"]) -> Bool[Array, "b m"]:
    return (a[:, None] == c[None]) & (a >= 0)[:, None]


def _candidates(z: Mapping[str, Array]) -> Array:
    """m (l) d, or m n d of tokens: the positives, then the negatives of the first query, of the second, ..."""
    positives = z.get(POSITIVE, z[QUERY])
    if NEGATIVES not in z:
        return positives
    parts = positives, z[NEGATIVES].reshape(-1, *z[NEGATIVES].shape[2:])
    if positives.ndim == 3:  # as many tokens each, those that are added zeros; layers are as many already
        longest = max(x.shape[1] for x in parts)
        parts = tuple(jnp.pad(x, ((0, 0), (0, longest - x.shape[1]), (0, 0))) for x in parts)
    return jnp.concatenate(parts)


def _each(f: Any, batch: Batch) -> Array:
    """f of arrays (b k ...) as of (b k) rows."""
    b, k = jax.tree.leaves(dict(batch))[0].shape[:2]
    z = f(jax.tree.map(lambda x: x.reshape(b * k, *x.shape[2:]), dict(batch)))
    return z.reshape(b, k, *z.shape[1:])


def _through(z: Array, heads: Any) -> Array:
    for head in heads:
        z = head(z)
    return z.astype(wide(z))


def _numbers(layers: tuple[int, ...], encoder: Any, pooling: Any) -> tuple[int, ...]:
    """What an encoder calls the layers of a loss but the last: in the loss 0 is what enters the first."""
    if not isinstance(encoder, Layers):
        raise ConfigError(f"the loss compares the layers {layers}, and {type(encoder).__name__} gives only what comes last")
    if wanted(pooling, encoder):
        raise ConfigError(
            f"the loss compares the layers {layers}, each pooled alone; {type(pooling).__name__} reads several at once"
        )
    *inner, last = layers
    if last != -1 or any(not 0 <= i <= encoder.depth for i in inner):
        raise ConfigError(
            f"the loss compares the layers {layers}; with depth {encoder.depth} they are of 0 (what enters the first one) to "
            f"{encoder.depth}, then -1"
        )
    return tuple(i - 1 if i else -encoder.depth - 1 for i in inner)
