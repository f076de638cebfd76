"""Codes of a few bits a number for vectors of a model that stays as it is (BEBR), trained from vector to vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import ContrastiveLoss, Known
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.layers.recurrent_binary import RecurrentBinary
from jaxemb.objectives.base import tower
from jaxemb.objectives.contrastive import Contrastive
from jaxemb.objectives.pairs import POSITIVE, QUERY, also, kept
from jaxemb.ops.dtypes import wide
from jaxemb.ops.recurrent_binary import Binarised
from jaxemb.ops.similarity import unit
from jaxemb.types import Batch, Features, Loss, Now, Paper

SIDES = (QUERY, POSITIVE)
TURNED = {"query_id": "positive_id", "positive_id": "query_id"}


class BinaryPairs(Contrastive):
    """loss = contrast(b(x), b(y)) + contrast(b(y), b(x)), b the codes of pairs of vectors that belong together.

    A batch is nested by role: `query` and `positive`, each with `vectors` (b d) of the frozen model, brought to length 1 here;
    perhaps `query_id`, `positive_id` (b), of one numbering: what is the same is no negative (`objectives/pairs.py`). One that is
    not nested is paired with itself, for a `contrast` that needs no pairs: SimilarityMatching, whose guide are the vectors.

    Backward compatible training: where a role holds `old` (b m'), codes of an older version that no gradient reaches, as levels or
    as their integers, b of the other role is compared with these as well, so that new queries find old documents:

        loss + contrast(b(x), old(y)) [+ contrast(b(y), old(x))]

    of a wider new code its first m' numbers, after it was brought to length 1. Served, the codes go by the running statistics of
    the batch norm. `index/bebr.py` searches them, by the file that `write_binariser` or an export writes.
    """

    paper: ClassVar[Paper | None] = Paper("Binary Embedding-based Retrieval at Tencent", 2023, "arxiv.org/abs/2302.08714")

    binariser: RecurrentBinary = field(default_factory=RecurrentBinary)
    contrast: ContrastiveLoss = InfoNCE(0.05, hardest=5)
    """Of codes; it may look at the vectors as a guide, and at no more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.contrast.needs) - {"guide"} or self.contrast.learned() or self.contrast.layers() is not None:
            raise ConfigError(
                f"BinaryPairs.contrast={type(self.contrast).__name__}: codes of pairs have vectors as a guide, and no labels, "
                "scores, layers or learned scalars; InfoNCE and SimilarityMatching compare such"
            )

    def towers(self, batch: Batch) -> Mapping[str, Batch]:
        nested = [role for role in SIDES if isinstance(batch.get(role), Mapping)]
        if len(nested) == 1 or not (nested or "vectors" in batch):
            raise ConfigError(
                f"BinaryPairs compares 'query' and 'positive', or 'vectors'; the batch holds {', '.join(sorted(batch))}"
            )
        return {role: {"vectors": (batch[role] if nested else batch)["vectors"]} for role in SIDES}

    def embed(self, batch: Batch, role: str = QUERY, train: bool = False) -> Float[Array, "b m"]:
        return self.binarise(batch, train).b

    def binarise(self, batch: Batch, train: bool = False) -> Binarised:
        """The codes of `vectors`, and what they are made of."""
        x = batch["vectors"]
        return self.binariser(
            unit(x.astype(wide(x))), train=train
        )  # a sign is all that is kept of a number: none is rounded before

    def compare(self, z: Mapping[str, Array], batch: Batch, targets: Any, now: Now) -> Loss:
        vectors = {role: part["vectors"] for role, part in self.towers(batch).items()}
        if not self.is_initializing():
            self.contrast.refuse_alone(len(z[QUERY]), len(z[POSITIVE]))
        first = self._against(z, z, vectors, batch, now, SIDES)
        back = self._against(z, z, vectors, batch, now, SIDES[::-1])
        found = {"new": first.value + back.value}
        for sides in (SIDES, SIDES[::-1]):
            if (old := self._old(batch, sides[1], z)) is not None:
                term = self._against(z, {sides[1]: old}, vectors, batch, now, sides).value
                found["old"] = found["old"] + term if "old" in found else term
        value = jnp.stack(list(found.values())).sum()
        return first._replace(value=value, logs={**first.logs, **(found if len(found) > 1 else {})})

    def _against(
        self, z: Mapping[str, Array], keys: Mapping[str, Array], vectors: Mapping[str, Array], batch: Batch, now: Now, sides: Any
    ) -> Loss:
        """The codes of the first side against the keys of the second."""
        queries, candidates = z[sides[0]], keys[sides[1]]
        b = len(queries)
        told = {name: batch[name] for name in ("weights", *TURNED) if name in batch}
        if sides[0] != QUERY:
            told = {TURNED.get(name, name): x for name, x in told.items()}
        positives = also(told, b, b)
        known = Known(guide=(vectors[sides[0]], vectors[sides[1]]), also=positives, key=now.key)
        keep = kept(told, b, b, positives)
        return self.contrast(queries, candidates, weights=batch.get("weights"), keep=keep, known=known)

    def _old(self, batch: Batch, role: str, z: Mapping[str, Array]) -> Array | None:
        """Old codes of a role, of length 1, with zeros behind them: the cosine with a new code is then the product of its first
        numbers, after it was brought to length 1."""
        part = batch.get(role)
        if not isinstance(part, Mapping) or "old" not in part:
            return None
        old, width = part["old"], z[role].shape[1]
        if old.shape[1] > width:
            raise ConfigError(f"BinaryPairs: old codes of {old.shape[1]} numbers, and the new ones have {width}: as many at least")
        return jnp.pad(unit(old.astype(z[role].dtype)), ((0, 0), (0, width - old.shape[1])))

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b m"]:
        """The code, of length 1."""
        return unit(self.binarise(_asked(batch, role)).b)

    def features(self, batch: Batch, role: str = "document") -> Features:
        """The code as one token."""
        b = self.binarise(_asked(batch, role)).b
        return Features(b[:, None], jnp.ones((len(b), 1), bool))


def _asked(batch: Batch, role: str) -> Batch:
    """A document is the second of a pair, where the batch has one."""
    return tower(batch, POSITIVE if role == "document" and isinstance(batch.get(POSITIVE), Mapping) else role)
