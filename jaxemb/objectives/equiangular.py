"""Classification with fixed class vectors that are nearly orthogonal, in place of a trained layer."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.layers.dense import Dense
from jaxemb.objectives.classify import Classify
from jaxemb.ops.dtypes import wide
from jaxemb.ops.equiangular import generate
from jaxemb.ops.similarity import unit
from jaxemb.types import Paper


class Equiangular(Classify):
    """Cross-entropy of cosines with one fixed unit vector a class (equiangular basis vectors), of which no two are close.

        f = W z + a,   logits = (f / |f|) B^T / tau,   predicted: the nearest vector

    B (classes, dims) is made once, from `seed` (see `ops/equiangular.py`), and never trained. The width of the head does not depend
    on the number of classes: it has fewer parameters than a softmax layer where dims < classes. `smoothing` is .1 in the paper.
    Parameters: `head/kernel` (d, dims), `head/bias`.
    """

    paper: ClassVar[Paper | None] = Paper("Equiangular Basis Vectors", 2023, "arxiv.org/abs/2303.11637")

    dims: int = 64
    """Width of the class vectors."""
    tau: float = 0.07
    alpha: float | None = None
    """Largest |cosine| between two of them; None: from 1.3 times the Welch bound, as near as is reached."""
    seed: int = 42
    """Of the vectors."""
    fixed: str = "equiangular"
    """"random": unit vectors as they are drawn, "trained": class vectors that start there and are trained (controls)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.classes, int):
            raise ConfigError(f"Equiangular classifies one label, not classes={self.classes}")
        if self.tau <= 0 or self.dims < 1:
            raise ConfigError(f"tau must be above 0 and dims at least 1, not {self.tau} and {self.dims}")
        choices(self, fixed=("equiangular", "random", "trained"))

    def setup(self) -> None:
        self.head = Dense(self.dims, kernel_init="xavier")
        # A constant of the program, not a variable: it follows from the fields. Made outside of any trace.
        with jax.ensure_compile_time_eval():
            assert isinstance(self.classes, int)
            key = jax.random.key(self.seed)
            drawn = unit(jax.random.normal(key, (self.classes, self.dims)))
            basis = generate(self.classes, self.dims, self.alpha, seed=self.seed) if self.fixed == "equiangular" else drawn
        self.basis = self.param("basis", lambda _: basis) if self.fixed == "trained" else basis

    def _scores(self, z: Float[Array, "b d"]) -> Float[Array, "b v"]:
        """Cosines over tau, in [-1 / tau, 1 / tau]."""
        f: Any = self.head(z)
        f = unit(f.astype(wide(f)))
        return f @ unit(jnp.asarray(self.basis, f.dtype)).T / self.tau
