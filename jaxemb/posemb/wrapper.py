"""What wraps another positional embedding and changes one thing about it."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from jax import Array
from jaxtyping import Float, Num

from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places, PosEmb
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

    def told(self, places: Places) -> Places:
        """What `of` is told, positions left out: a wrapper that changes the grid says so here."""
        return places

    def locate(self, places: Places) -> Num[Array, "_ n c"]:
        return self.of.locate(self.told(places))

    def add(self, x: Float[Array, "b n d"], places: Places) -> Float[Array, "b n d"]:
        return self.of.add(x, self.told(places))

    def angles(self, places: Places, width: int) -> Any:
        return self.of.angles(self.told(places), width)

    def bias(self, q: Places, k: Places, heads: int) -> Float[Array, "#b #h n m"] | None:
        return self.of.bias(self.told(q), self.told(k), heads)

    def prepare(self, places: Places, *, heads: int, width: int, prefix: int = 0) -> Any:
        return self.of.prepare(self.told(places), heads=heads, width=width, prefix=prefix)

    def rotate(
        self, q: Float[Array, "b n h e"], k: Float[Array, "b m h e"], shared: Any
    ) -> tuple[Float[Array, "b n h e"], Float[Array, "b m h e"]]:
        return self.of.rotate(q, k, shared)

    def layer_bias(self, q: Float[Array, "b n h e"], shared: Any) -> Float[Array, "#b #h n m"] | None:
        return self.of.layer_bias(q, shared)

    def attend(
        self,
        q: Float[Array, "b n h e"],
        k: Float[Array, "b m h e"],
        v: Float[Array, "b m h e"],
        shared: Any,
        allow: Allow,
        *,
        scale: float | None = None,
        softcap: float | None = None,
    ) -> Float[Array, "b n h e"]:
        return self.of.attend(q, k, v, shared, allow, scale=scale, softcap=softcap)

    def after_block(self, x: Float[Array, "b n d"], layer: int, places: Places) -> Float[Array, "b n d"]:
        return self.of.after_block(x, layer, self.told(places))

    def reach(self, window: int | None) -> int | None:
        return self.of.reach(window)
