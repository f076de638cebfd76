"""Two families: transforms, fitted in closed form to rows and applied to any rows; and merging, of parameters to parameters."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.ops.paths import by_path
from jaxemb.types import Paper

Arrays = Mapping[str, np.ndarray]
"""What was fitted, by name."""


@dataclasses.dataclass(frozen=True)
class Transform(abc.ABC):
    """A map of rows. Its fields are the description; what it fits are plain arrays beside it, as are a module's parameters."""

    paper: ClassVar[Paper | None] = None

    @abc.abstractmethod
    def fit(self, x: Float[np.ndarray, "n d"]) -> Arrays:
        """The arrays that `apply` needs."""

    @abc.abstractmethod
    def apply(self, arrays: Arrays, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
        """Rows mapped, each by itself."""


Tree = Any
"""Parameters of a model: nested mappings of arrays."""
Leaves = dict[str, np.ndarray]
"""The parameters that are floating, by path, in 64 bits."""


@dataclasses.dataclass(frozen=True)
class Merge(abc.ABC):
    """Several models that were trained from one start become one: theta_1, ..., theta_K (and the start theta_0) -> theta.

    A difference tau_k = theta_k - theta_0 is a task vector. All models have the same arrays of the same shapes. What is not
    floating has no difference, and must be the same in all. Computed in 64 bits, given in the dtypes of the first model.
    """

    family: ClassVar[str] = "merging"
    paper: ClassVar[Paper | None] = None
    needs_base: ClassVar[bool] = False
    """Whether theta_0 is needed."""
    side: ClassVar[str] = ""
    """What is needed beside the models, for a person to read; the arguments of `merge` after the base."""

    def __call__(self, models: Sequence[Tree], base: Tree | None = None, **side: Any) -> Tree:
        """theta."""
        flat, start = self.checked(models, base)
        floating = [path for path, x in flat[0].items() if jnp.issubdtype(x.dtype, jnp.floating)]
        wide = [{path: np.asarray(m[path], np.float64) for path in floating} for m in flat]
        below = None if start is None else {path: np.asarray(start[path], np.float64) for path in floating}
        merged = self.merge(wide, below, **side)
        made = [_like(x, merged[path]) if path in merged else x for path, x in flat[0].items()]
        return jax.tree.unflatten(jax.tree.structure(models[0]), made)

    @abc.abstractmethod
    def merge(self, models: Sequence[Leaves], base: Leaves | None) -> Leaves:
        """theta of models that were checked. What `side` tells of is given by name."""

    def checked(self, models: Sequence[Tree], base: Tree | None) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Models and base by path. Raises where they are not the same architecture, or too few."""
        name = type(self).__name__
        if not models:
            raise ConfigError(f"{name}: there are no models to merge")
        if self.needs_base and base is None:
            raise ConfigError(f"{name} adds task vectors to the model that all were trained from: give it as `base`")
        flat = [by_path(m) for m in models]
        start = None if base is None else by_path(base)
        for what, other in [
            *((f"model {i}", m) for i, m in enumerate(flat[1:], 1)),
            *(() if start is None else (("base", start),)),
        ]:
            same_architecture(flat[0], other, what)
        if any(path.endswith(("lora_a", "lora_b")) for path in flat[0]):
            raise ConfigError(
                f"{name}: these models have adapters, and the product of averaged factors is not the average of the products: "
                "merge each adapter into its weights first (jaxemb export --merge)"
            )
        return flat, start

    def one_each(self, field: str, models: Sequence[Any]) -> Float[np.ndarray, " k"]:
        """A number for each model, of a field that is one for all or a tuple."""
        given = np.asarray(getattr(self, field), np.float64)
        if given.ndim and len(given) != len(models):
            raise ConfigError(f"{type(self).__name__}.{field} has {len(given)} numbers for {len(models)} models")
        return np.broadcast_to(given, (len(models),))


def _like(x: Any, value: np.ndarray) -> Any:
    """In the dtype of x, and where x is."""
    value = np.asarray(value, x.dtype)
    return jax.device_put(value, x.sharding) if isinstance(x, jax.Array) else value


def same_architecture(first: Mapping[str, Any], other: Mapping[str, Any], what: str) -> None:
    """Refuses parameters, by path, that differ in names, shapes or in what is not floating."""
    for path in [*first, *(p for p in other if p not in first)]:
        if path not in other or path not in first:
            here, there = (tuple(x[path].shape) if path in x else "absent" for x in (first, other))
        elif first[path].shape != other[path].shape:
            here, there = tuple(first[path].shape), tuple(other[path].shape)
        elif not jnp.issubdtype(first[path].dtype, jnp.floating) and not np.array_equal(first[path], other[path]):
            raise ConfigError(f"{what} has other values than model 0 in {path}, whose {first[path].dtype} have no average")
        else:
            continue
        raise ConfigError(f"{what} is of another architecture than model 0: {path} is {there}, and {here} in model 0")
