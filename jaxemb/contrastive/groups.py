"""What losses of labelled groups share: who is of one's group and who of another."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from jaxemb.contrastive.base import Known
from jaxemb.contrastive.softmax import hot, places_of
from jaxemb.ops.rows import by_rows, everywhere


def grouped(
    known: Known, positives: Int[Array, " b"] | None, keep: Bool[Array, "b m"], themselves: bool
) -> tuple[Bool[Array, "b m"], Bool[Array, "b m"]]:
    """(candidates of the query's group, its positive among them; those of another group or of none).

    What `keep` leaves out is neither, the positive excepted. `themselves`: the "positive" is the query itself, and is neither. A
    label of -1 is no group: such a query has its positive alone.
    """
    b, m = keep.shape
    labels, of_candidates = jnp.asarray(known.labels), jnp.asarray(known.candidate_labels)
    place = hot(places_of(positives, b), m)
    same = by_rows((labels[:, None] == everywhere(of_candidates)[None]) & (labels >= 0)[:, None])
    near = keep & same & ~place
    return (near if themselves else near | place), keep & ~same & ~place
