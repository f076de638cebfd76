"""Whether rows that belong together are each other's nearest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxemb.ops.similarity import unit


def found_again(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> float:
    """The share of rows of a whose nearest row of b by cosine is that of the same number, and of b in a. 1 / n by chance; where all
    rows are alike, too."""
    cosine = unit(np.asarray(a, np.float64)) @ unit(np.asarray(b, np.float64)).T
    own = np.diag(cosine)
    better = np.stack([(cosine > own[:, None]).sum(1), (cosine > own[None]).sum(0)])
    level = np.stack([(cosine == own[:, None]).sum(1), (cosine == own[None]).sum(0)])
    return float(((better == 0) / level).mean())
