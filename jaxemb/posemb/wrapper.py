"""What wraps another positional embedding and changes one thing about it."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from jax import Array
from jaxtyping import Bool, Float, Num

from jaxemb.posemb.base import PosEmb
from jaxemb.posemb.rotary import Rotary


class _Wrapper(PosEmb):
    """Passes every hook on to `of`. The parameters are those of `of`, under the same names: a trained checkpoint can be read with
    a wrapper around its positional embedding."""

    preserve_adopted_names: ClassVar[bool] = True  # of flax: the names given below are kept

    of: PosEmb = field(default_factory=Rotary)
    """Whose positions are changed."""

    def __post_init__(self) -> None:
        if isinstance(self.of, _Wrapper) and self.of.name is None:  # all share one scope, where names must differ
            object.__setattr__(self, "of", self.of.clone(name=f"of_{self.of.depth}"))
        super().__post_init__()

    def setup(self) -> None:
        # As nn.share_scope, which inside nn.remat and nn.scan takes the scope of `of` for the outer one.
        object.__setattr__(self.of, "scope", self.scope)

    @property
    def depth(self) -> int:
        """How many wrappers this one is, itself included."""
        return 1 + (self.of.depth if isinstance(self.of, _Wrapper) else 0)

    def locate(self, pos: Num[Array, "_ n a"], **known: Any) -> Num[Array, "_ n c"]:
        return self.of.locate(pos, **known)

    def add(
        self, x: Float[Array, "b n d"], pos: Num[Array, "#b n a"], *, grid: tuple[int, ...] | None = None
    ) -> Float[Array, "b n d"]:
        return self.of.add(x, pos, grid=grid)

    def angles(self, pos: Num[Array, "#b n a"], width: int) -> Any:
        return self.of.angles(pos, width)

    def bias(self, pos_q: Num[Array, "#b n a"], pos_k: Num[Array, "#b m a"], heads: int) -> Float[Array, "#b #h n m"] | None:
        return self.of.bias(pos_q, pos_k, heads)

    def prepare(self, pos: Num[Array, "#b n a"], **settings: Any) -> Any:
        return self.of.prepare(pos, **settings)

    def rotate(
        self, q: Float[Array, "b n h e"], k: Float[Array, "b n h e"], shared: Any
    ) -> tuple[Float[Array, "b n h e"], Float[Array, "b n h e"]]:
        return self.of.rotate(q, k, shared)

    def layer_bias(self, q: Float[Array, "b n h e"], shared: Any) -> Float[Array, "#b #h n n"] | None:
        return self.of.layer_bias(q, shared)

    def attend(
        self,
        q: Float[Array, "b n h e"],
        k: Float[Array, "b n h e"],
        v: Float[Array, "b n h e"],
        shared: Any,
        *,
        mask: Bool[Array, "b n"] | None = None,
        causal: bool = False,
    ) -> Float[Array, "b n h e"]:
        return self.of.attend(q, k, v, shared, mask=mask, causal=causal)

    def after_block(self, x: Float[Array, "b n d"], layer: int, pos: Num[Array, "#b n a"], **known: Any) -> Float[Array, "b n d"]:
        return self.of.after_block(x, layer, pos, **known)
