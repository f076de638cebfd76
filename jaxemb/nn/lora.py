"""Low-rank adapters: what is trained beside matrices that stay as they are."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxemb import patterns
from jaxemb.config import ConfigError, within
from jaxemb.layers.dense import Dense, FromHeads, ToHeads
from jaxemb.layers.feedforward import dropped
from jaxemb.nn.stem import Tokens
from jaxemb.ops.paths import by_path
from jaxemb.ops.product import product

A, B = "lora_a", "lora_b"
STACK = re.compile(r"blocks/block_(\d+)/(.*)")
"""A parameter of all layers of a kind, as a scan has it."""
BASE = r"^encoder/(?!.*lora_[ab]$)"
"""For `Optim.freeze`: all of an encoder but its adapters. These are trained then, and what stands beside the encoder."""


@dataclasses.dataclass(frozen=True)
class LoRA:
    """y = x W + (alpha / rank) drop(x) A B beside matrices W whose paths a regex finds (Hu et al. 2021).

    Of an embedding table W the row of A that an id names is multiplied by B. A is drawn (variance 1 / in; 1 in a table), B starts
    at zero, so that a new adapter changes nothing. Stands in the field `lora` of a `Transformer`, whose other parameters keep
    their names: `lora_a` (in, r) and `lora_b` (r, out) lie beside the `kernel` or `embedding`, with heads as that has them.
    Trained alone with `Optim(freeze=(BASE,))`.
    """

    rank: int = 16
    """r."""
    alpha: float = 32.0
    """The adapter counts alpha / rank."""
    paths: tuple[str, ...] = (r"attention/[qv]/kernel$",)
    """Regexes of parameters of linear layers and tables of ids, "block_0/attention/q/kernel", "stem/embedding". With scan=True all
    layers of a kind are adapted alike: a number that chooses among them is refused."""
    dropout: float = 0.0
    """Of the adapter's input, in training alone. A table's ids have none."""
    stabilised: bool = False
    """The adapter counts alpha / sqrt(rank), so that its share does not fall with the rank (rsLoRA, Kalajdzievski 2023)."""

    def __post_init__(self) -> None:
        within(self, rank=(1, 2**16), alpha=(1e-6, 1e6))
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"LoRA.dropout must be in [0, 1), is {self.dropout}")
        if isinstance(self.paths, str):  # its letters would be taken for regexes
            raise ConfigError(f"LoRA.paths is a tuple of regexes: ({self.paths!r},)")
        if not self.paths:
            raise ConfigError("LoRA.paths must name at least one regex: an adapter of nothing changes nothing")
        for regex in self.paths:
            try:
                patterns.check(regex)
            except patterns.PatternError as e:
                raise ConfigError(f"LoRA.paths: {e}") from None

    @property
    def scale(self) -> float:
        """alpha / rank, or alpha / sqrt(rank)."""
        return self.alpha / (self.rank**0.5 if self.stabilised else self.rank)

    @contextlib.contextmanager
    def beside(self, encoder: nn.Module, train: bool) -> Iterator[None]:
        """Adapts the layers that run inside. Raises where a regex finds none: an adapter that changes nothing."""
        level, passed = len(encoder.path), set()

        def adapt(call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            y = call(*args, **kwargs)
            layer, leaf = context.module, _adaptable(context, args)
            if leaf is None:
                return y
            path = "/".join((*layer.path[level:], leaf))
            passed.add(path)
            if not any(re.search(regex, path) for regex in self.paths):
                return y
            change = self._row(layer, *args) if leaf == "embedding" else self._beside(layer, args[0], y, train)
            return y + change.astype(y.dtype)

        with nn.intercept_methods(adapt):
            yield
        self._refuse_numbers(encoder, passed)
        for regex in self.paths:
            if not any(re.search(regex, path) for path in passed):
                raise ConfigError(f"LoRA.paths: {regex!r} finds none of what can be adapted: {', '.join(sorted(passed))}")

    def _refuse_numbers(self, encoder: Any, passed: set[str]) -> None:
        """A scan runs layers as one, with one decision for all: paths may not choose among them, as they do without a scan."""
        period = len(encoder.blocks)
        for regex in self.paths:
            for kind, rest in sorted({(int(m[1]), m[2]) for path in passed if (m := STACK.match(path))}):
                layers = [f"block_{i}/{rest}" for i in range(kind, encoder.depth, period)]
                chosen = [path for path in layers if re.search(regex, path)]
                if 0 < len(chosen) < len(layers):
                    raise ConfigError(
                        f"LoRA.paths: {regex!r} chooses {len(chosen)} of {len(layers)} layers ({chosen[0]}), and with scan=True "
                        f"all layers of a kind are adapted alike: write {rest + '$'!r} without a number for all of them, "
                        f"{f'blocks/block_{kind}/{rest}$'!r} for all of this kind, or set scan=False"
                    )

    def _beside(self, layer: Any, x: Array, y: Array, train: bool) -> Array:
        """What is added to the output y of a linear layer for its input x."""
        inner = x.shape[-2:] if isinstance(layer, FromHeads) else x.shape[-1:]
        outer = y.shape[x.ndim - len(inner) :]
        a = layer.param(A, _drawn, (*inner, self.rank), jnp.float32).astype(x.dtype)
        b = layer.param(B, nn.initializers.zeros, (self.rank, *outer), jnp.float32).astype(x.dtype)
        rows = dropped(x, self.dropout, train).reshape(-1, a.size // self.rank)
        z = product(product(rows, a.reshape(-1, self.rank)), b.reshape(self.rank, -1))
        return z.reshape(y.shape) * self.scale

    def _row(self, layer: Any, name: str, count: int, width: int, ids: Array, keep: Array | None) -> Array:
        """What is added to the rows of a table."""
        a = layer.param(A, nn.initializers.normal(1.0), (count, self.rank), jnp.float32)
        b = layer.param(B, nn.initializers.zeros, (self.rank, width), jnp.float32)
        ids = ids if keep is None else jnp.take_along_axis(ids, keep, axis=1)
        return jnp.take(a, ids, axis=0, mode="clip") @ b * self.scale  # an id beyond the table has NaN from the table itself


def _adaptable(context: nn.module.InterceptorContext, args: tuple[Any, ...]) -> str | None:
    """The name of the parameter whose output this call is; None of other calls."""
    layer, method = context.module, context.method_name
    if isinstance(layer, (Dense, ToHeads, FromHeads)) and method == "__call__":
        return "kernel"
    return "embedding" if isinstance(layer, Tokens) and method == "_rows" and args[0] == "embedding" else None


def _drawn(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    inputs = 1
    for size in shape[:-1]:
        inputs *= size
    return jax.random.normal(key, shape, dtype) * inputs**-0.5


# ---- trees of parameters ---------------------------------------------------------------------------------------------------------


def adapters(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of adapters by path; where there are none, or all of their `lora_b` are zero, they change nothing: an error."""
    found = {path: x for path, x in by_path(params).items() if path.split("/")[-1] in (A, B)}
    if not found:
        raise ConfigError("there are no adapters among these parameters: give the encoder lora=LoRA(...) before it is trained")
    if not any(bool(jnp.any(x != 0)) for path, x in found.items() if path.endswith(B)):
        raise ConfigError(
            f"the adapter changes nothing: all {len(found) // 2} of its lora_b are zero, as before training; were they trained "
            "(optim.freeze), and is this the trained checkpoint?"
        )
    return found


def base(params: Mapping[str, Any]) -> dict[str, Any]:
    """The tree without adapters."""
    return {name: base(x) if isinstance(x, Mapping) else x for name, x in params.items() if name not in (A, B)}


def merged(lora: LoRA, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an encoder without adapters that computes the same: W + (alpha / rank) A B."""
    adapters(params)  # refuses what changes nothing

    def merge(tree: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {n: merge(x) if isinstance(x, Mapping) else x for n, x in tree.items() if n not in (A, B)}
        if A in tree:
            name = "kernel" if "kernel" in found else "embedding"
            found[name] = _merge(found[name], tree[A], tree[B], lora)
        return found

    return merge(params)


def _merge(w: Array, a: Array, b: Array, lora: LoRA) -> Array:
    """Also of stacks over layers, which have an axis more in front."""
    stacked = a.ndim + b.ndim - 2 - w.ndim  # each has a rank, and both the axis of layers
    both = jnp.float32 if w.dtype.itemsize < 4 else w.dtype
    lead = w.shape[:1] if stacked else ()
    left, right = (x.astype(both).reshape(*lead, *shape) for x, shape in ((a, (-1, lora.rank)), (b, (lora.rank, -1))))
    return (w.astype(both) + (left @ right).reshape(w.shape) * lora.scale).astype(w.dtype)
