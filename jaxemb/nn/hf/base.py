"""From a config.json to the parts of the house and where their parameters are in the file.

Each module beside this one is a family: it names the `MODEL_TYPES` that it builds and has a function `build(config)` that returns a
`Port`, or `Towers` for models of images and texts.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxemb.config import ConfigError, from_json, suggest, to_json
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.towers import TwoTowers
from jaxemb.pooling.base import Pooling


class Take(NamedTuple):
    """How an array of ours is cut out of a tensor of a file: some rows of it, then in another shape, then transposed.

    Each of these is a view of the tensor, so that of an array that several devices share each reads its own part alone.
    """

    name: str
    """Of the tensor, without the prefix that all names of a file may have."""
    rows: tuple[int, int] | None = None
    """From which of its rows on, and before which; None: all. Of a table with axes of one number in front, (1, n, d), the n."""
    shape: tuple[int, ...] | None = None
    """Of these rows, in the order of the file; None: as they are."""
    order: tuple[int, ...] | None = None
    """Which of those axes comes where, as in `numpy.transpose`."""

    def of(self, tensor: Any) -> Any:
        """What it makes of the tensor, as a view."""
        if self.rows is not None:
            while tensor.ndim > 1 and tensor.shape[0] == 1:
                tensor = tensor[0]
            tensor = tensor[slice(*self.rows)]
        tensor = tensor if self.shape is None else tensor.reshape(self.shape)
        return tensor if self.order is None else tensor.transpose(self.order)


Source = Take | tuple[Take, ...]
"""Where an array comes from; several: their sum."""


class Part(NamedTuple):
    """A module, and where its parameters are in the file."""

    module: Any
    names: Mapping[str, Source]
    """By path, "block_0/attention/q/kernel"."""


class Port(NamedTuple):
    """What a folder becomes."""

    encoder: Part
    pooling: Part
    """What the architecture gives for a whole input where nothing else is said."""
    pooler: Part | None = None
    """The trained pooling whose output Hugging Face calls `pooler_output`; a file may lack it."""
    prefixes: tuple[str, ...] = ("",)
    """What the names of a file may all begin with."""
    ignored: tuple[str, ...] = ()
    """Regular expressions of tensors that may be in the file and are of no use here: heads, buffers."""
    decoder: Part | None = None
    """Of a masked autoencoder, what its objective calls `decoder`."""
    window: int | None = None
    """The most tokens of an input; None: no table ends."""


class Towers(NamedTuple):
    """What a folder with a model of images and texts becomes."""

    text: Port
    image: Port
    scale: Take
    """The logarithm of what cosines are multiplied by."""
    bias: Take | None = None
    """Of the logits."""

    def joined(self) -> Part:
        """Both towers with what compares them, as one module."""
        names: dict[str, Source] = {"logit_scale": self.scale}
        if self.bias is not None:
            names["logit_bias"] = self.bias
        for key, port in (("text", self.text), ("image", self.image)):
            names |= below(f"{key}/encoder", port.encoder.names) | below(f"{key}/pooling", port.pooling.names)
        text, image = (Pooled(port.encoder.module, port.pooling.module) for port in (self.text, self.image))
        return Part(TwoTowers(text, image, bias=self.bias is not None), names)


class Config:
    """A config.json that says what it lacks."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json"):
        self.values, self.where = values, where

    def need(self, *names: str) -> Any:
        """The value of a field, under the first of its names that is there."""
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        raise ConfigError(f"{self.where} has no {' or '.join(names)}, which a model of type {self.type!r} needs")

    def get(self, name: str, default: Any) -> Any:
        """The value of a field that may be left out, or be null."""
        value = self.values.get(name)
        return default if value is None else value

    @property
    def type(self) -> str:
        return str(self.values.get("model_type"))

    def part(self, name: str, defaults: Mapping[str, Any] | None = None) -> Config:
        """A config inside this one, such as that of a tower; `defaults` are what it means by the fields that it leaves out."""
        return Config({**self.need(name), "model_type": self.type}, f"{self.where}, {name}").filled(defaults or {})

    def filled(self, defaults: Mapping[str, Any]) -> Config:
        """The same, with what it means by the fields that it leaves out."""
        return Config({**defaults, **{k: v for k, v in self.values.items() if v is not None}}, self.where)

    def allow(self, name: str, *values: Any) -> None:
        """Refuses a value that the parts here cannot do; the first one is what a missing field means."""
        if (given := self.get(name, values[0])) not in values:
            known = ", ".join(map(repr, values))
            raise ConfigError(f"{self.where}: {name}={given!r} is not supported in a model of type {self.type!r}; only {known}")

    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patches of an image in training."""
        size, patch = self.need("image_size"), self.patch()
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return height // patch, width // patch

    def patch(self) -> int:
        """Pixels along the side of a patch."""
        size = self.need("patch_size")
        sides = set(size) if isinstance(size, list | tuple) else {size}
        if len(sides) > 1:
            raise ConfigError(f"{self.where}: patch_size={size} is not supported; only squares")
        return sides.pop()

    def activation(self, *names: str, default: str = "gelu") -> str:
        """The name here of an activation function there."""
        given = next((self.values[n] for n in names if self.values.get(n) is not None), default)
        if given not in ACTIVATIONS:
            raise ConfigError(
                f"{self.where}: {names[0]}={given!r} is no activation that is known here{suggest(given, ACTIVATIONS)}"
            )
        return ACTIVATIONS[given]


ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


def port(values: Mapping[str, Any], *, causal: bool | None = None, where: str = "config.json") -> Port | Towers:
    """What the parts of the house make of a config.json.

    `causal`: of decoders, whether a token sees those before it alone; False: all see all, in every layer (without the windows of
    local layers). None: as the model was trained.
    """
    kind, known = values.get("model_type"), families()
    if kind not in known:
        what = f"model_type={kind!r} is not supported" if kind else "it has no model_type"
        raise ConfigError(f"{where}: {what}; supported: {', '.join(sorted(known))}")
    module = importlib.import_module(known[kind])
    if causal is not None and not getattr(module, "DECODERS", False):
        raise ConfigError(f"causal={causal} is for decoders, and {kind!r} is none")
    config = Config(values, where)
    return _own_objects(module.build(config) if causal is None else module.build(config, causal))


def _own_objects(found: Port | Towers) -> Port | Towers:
    """The same with no module in two fields, which linen would give one set of parameters."""
    if isinstance(found, Towers):
        return found._replace(text=_own_objects(found.text), image=_own_objects(found.image))
    own = {
        name: part._replace(module=from_json(to_json(part.module)))
        for name, part in found._asdict().items()
        if isinstance(part, Part)
    }
    return found._replace(**own)


def families() -> dict[str, str]:
    """The module that builds each model_type."""
    package = __name__.rpartition(".")[0]
    names = [f"{package}.{m.name}" for m in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    modules = {name: importlib.import_module(name) for name in names}
    return {kind: name for name, module in modules.items() for kind in getattr(module, "MODEL_TYPES", ())}


# ---- the tables of names ---------------------------------------------------------------------------------------------------------


def dense(ours: str, theirs: str, *, bias: bool = True, rows: tuple[int, int] | None = None) -> dict[str, Source]:
    """A linear layer, whose weights are there (out, in)."""
    found: dict[str, Source] = {f"{ours}/kernel": Take(f"{theirs}.weight", rows, None, (1, 0))}
    return found | ({f"{ours}/bias": Take(f"{theirs}.bias", rows)} if bias else {})


def norm(ours: str, theirs: str, *, bias: bool = True) -> dict[str, Source]:
    """A norm's factors, and what it adds."""
    found: dict[str, Source] = {f"{ours}/scale": Take(f"{theirs}.weight")}
    return found | ({f"{ours}/bias": Take(f"{theirs}.bias")} if bias else {})


def to_heads(
    ours: str, theirs: str, heads: int, width: int, inner: int, *, bias: bool = True, rows: tuple[int, int] | None = None
) -> dict[str, Source]:
    """Queries, keys or values of `heads` heads of `inner` features, from tokens of `width`: there (heads inner, width)."""
    found: dict[str, Source] = {f"{ours}/kernel": Take(f"{theirs}.weight", rows, (heads, inner, width), (2, 0, 1))}
    return found | ({f"{ours}/bias": Take(f"{theirs}.bias", rows, (heads, inner))} if bias else {})


def from_heads(ours: str, theirs: str, heads: int, width: int, inner: int, *, bias: bool = True) -> dict[str, Source]:
    """Back from heads to tokens: there (width, heads inner)."""
    found: dict[str, Source] = {f"{ours}/kernel": Take(f"{theirs}.weight", None, (width, heads, inner), (1, 2, 0))}
    return found | ({f"{ours}/bias": Take(f"{theirs}.bias")} if bias else {})


def attention(
    ours: str,
    theirs: str,
    names: Sequence[str],
    heads: int,
    width: int,
    *,
    bias: bool = True,
    key_bias: bool | None = None,
    out_bias: bool = True,
) -> dict[str, Source]:
    """An attention layer whose heads share the width, by what its queries, keys, values and output are called there; `bias` is of
    the first three."""
    inner, (*parts, out) = width // heads, names
    biases = (bias, bias if key_bias is None else key_bias, bias)
    found = from_heads(f"{ours}/out", f"{theirs}.{out}", heads, width, inner, bias=out_bias)
    for part, name, has in zip("qkv", parts, biases, strict=True):
        found |= to_heads(f"{ours}/{part}", f"{theirs}.{name}", heads, width, inner, bias=has)
    return found


def patches(theirs: str, width: int, channels: int, size: int, *, bias: bool = True) -> dict[str, Source]:
    """A convolution whose stride is its kernel, for `Patches(channels="first")`: there (width, channels, size, size)."""
    kernel = Take(f"{theirs}.weight", None, (width, channels * size * size), (1, 0))
    found: dict[str, Source] = {"stem/proj/kernel": kernel}
    return found | ({"stem/proj/bias": Take(f"{theirs}.bias")} if bias else {})


def below(prefix: str, names: Mapping[str, Source]) -> dict[str, Source]:
    """The same parameters of a module inside another one."""
    return {f"{prefix}/{path}": source for path, source in names.items()}


def pooled(module: Pooling) -> Part:
    """A pooling without parameters."""
    return Part(module, {})


def period(kinds: Sequence[Any]) -> Sequence[Any]:
    """The shortest beginning that repeats: what `Transformer.blocks` wants of layers of several kinds."""
    for n in range(1, len(kinds)):
        if all(kind == kinds[i % n] for i, kind in enumerate(kinds)):
            return kinds[:n]
    return kinds
