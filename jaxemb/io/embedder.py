"""A trained encoder, ready to embed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxemb.config import ConfigError, suggest
from jaxemb.io.weights import read_weights
from jaxemb.ops.similarity import unit
from jaxemb.preprocess.base import Preprocess
from jaxemb.run.files import Where
from jaxemb.run.folder import Run
from jaxemb.train.encode import Bound, Encoder, length
from jaxemb.train.recipe import trained
from jaxemb.train.setup import zeros_of
from jaxemb.train.sharding import make_mesh


class Embedder:
    """A model, its variables and its preprocessing: from files, images or strings to vectors.

    model = Embedder.from_run("runs/shapes")
    z = model.encode(["cat.jpg", "dog.jpg"])       # n d, float32
    model.similarity(z, z)                         # n n, cosines
    """

    def __init__(
        self,
        model: Any,
        variables: Mapping[str, Any],
        preprocess: Preprocess,
        prompts: Mapping[str, str] = MappingProxyType({}),
        mesh: Mesh | None = None,
    ):
        """`variables` are what `model.apply` takes; `prompts` go before text, by name: {"query": "query: "}; None as `mesh`: all
        devices side by side."""
        self.model, self.preprocess, self.prompts = model, preprocess, dict(prompts)
        self.mesh = make_mesh({"data": -1}) if mesh is None else mesh
        self.variables = variables
        self._encoders: dict[int, Encoder] = {}

    @classmethod
    def from_run(cls, run: Where, *, step: int | None = None, weights: str = "ema", say: Callable[[str], None] = print) -> Embedder:
        """The encoder of a run folder, trained on any number of devices, on the devices that are here.

        `step`: which checkpoint (None: the newest intact one; "runs/shapes@500" says it too). `weights`: "ema" is the average
        where one was kept, "params" are the trained parameters. Neither the training data nor anything outside the folder is read.
        """
        folder = Run(run)
        folder.step = folder.step if step is None else step
        experiment = trained(folder.experiment(), run)
        preprocess = folder.preprocess()
        found = read_weights(folder, experiment, weights=weights, say=say)
        return cls(experiment.objective, jax.block_until_ready(found.variables), preprocess, mesh=found.mesh)

    def encode(
        self,
        inputs: Any,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> Float[np.ndarray, "*n d"]:
        """The embeddings of inputs, a row each: strings for a model of text, in a list, a tuple or an array; file names, Pillow
        images or arrays in a list, or one array n H W c, for a model of images (uint8 or floats in [0, 1], of any size).

        A single string or file name gives a single vector. `prompt` goes before each text, or the one of `prompts` that
        `prompt_name` names. `normalize_embeddings`: rows of length 1. `truncate_dim`: only the first entries (before normalising).
        `batch_size`: inputs prepared and encoded at a time. `show_progress_bar`, None: where somebody is looking on.
        """
        prompt = self._prompt(prompt_name, prompt)
        return self._encode(inputs, "document", prompt, batch_size, normalize_embeddings, truncate_dim, show_progress_bar)

    def encode_query(self, inputs: Any, **options: Any) -> Float[np.ndarray, "*n d"]:
        """`encode` for the questions of a search: in the role "query", with the prompt "query" where there is one."""
        return self._in_role("query", inputs, **options)

    def encode_document(self, inputs: Any, **options: Any) -> Float[np.ndarray, "*n d"]:
        """`encode` for what is searched: in the role "document", with the prompt "document" where there is one."""
        return self._in_role("document", inputs, **options)

    def _in_role(self, role: str, inputs: Any, *, prompt_name: str | None = None, prompt: str | None = None, **options: Any) -> Any:
        if prompt_name is None and prompt is None and role in self.prompts:
            prompt_name = role
        defaults = {"batch_size": 32, "normalize_embeddings": False, "truncate_dim": None, "show_progress_bar": None}
        if wrong := [name for name in options if name not in defaults]:
            raise TypeError(f"encode_{role} has no argument {wrong[0]!r}")
        return self._encode(inputs, role, self._prompt(prompt_name, prompt), *(defaults | options).values())

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        if name is not None and name not in self.prompts:
            raise ConfigError(f"prompt_name={name!r}: there is no such prompt{suggest(name, self.prompts)}")
        return prompt if prompt is not None else self.prompts[name] if name is not None else ""

    def _encode(
        self, inputs: Any, role: str, prompt: str, batch_size: int, normal: bool, truncate_dim: int | None, shown: bool | None
    ) -> Float[np.ndarray, "*n d"]:
        if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "UO" and inputs.ndim < 2:
            inputs = inputs.tolist()  # strings, file names or images; without an axis a single one
        if isinstance(inputs, (str, Path)):
            return self._encode([inputs], role, prompt, batch_size, normal, truncate_dim, False)[0]
        array = isinstance(inputs, np.ndarray)
        if not isinstance(inputs, (Sequence, np.ndarray)) or isinstance(inputs, (bytes, bytearray)) or (array and inputs.ndim < 2):
            shape = f" of shape {inputs.shape} and type {inputs.dtype}" if array else ""
            raise ConfigError(
                f"encode takes a list of inputs (strings, file names, images), or one array with a row each, not a "
                f"{type(inputs).__name__}{shape}; write [input] for a single one"
            )
        if array and inputs.dtype.kind in "UOS":
            raise ConfigError(f"an array of strings or objects has one axis, a row each, not the shape {inputs.shape}")
        if array and inputs.ndim != 4 and "images" in self.preprocess.spec:
            raise ConfigError(f"an array of images has the shape (n, H, W, c), not {inputs.shape}; write [image] for a single one")
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
        inputs = self.preprocess.prompted(inputs, prompt) if prompt else inputs
        model = self._encoder(batch_size)
        pieces = [model.encode(batch, role=role) for batch in self._prepared(inputs, role, batch_size, shown)]
        z = np.concatenate(pieces) if pieces else model.encode(zeros_of(self.preprocess.spec, 0), role=role)
        if truncate_dim is not None:
            if not 1 <= truncate_dim <= z.shape[-1]:
                raise ConfigError(f"truncate_dim must lie in 1 to {z.shape[-1]}, the width of the embeddings, not {truncate_dim}")
            z = z[:, :truncate_dim]
        return unit(z) if normal else z

    def similarity(self, a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
        """Cosines of all pairs of rows."""
        return unit(a) @ unit(b).T

    def features(self, arrays: dict[str, np.ndarray], role: str = "document") -> Any:
        """The token features (see `jaxemb.types.Features`) of preprocessed arrays, as `preprocess` gives them."""
        return self._encoder(length(arrays)).encode(arrays, role=role, of="features")

    def attention(self, arrays: dict[str, np.ndarray]) -> list[Float[np.ndarray, "b n h m"]]:
        """The attention weights of every layer of the encoder, queries first, class and register tokens before the patches."""
        run = jax.jit(lambda v, b: self.model.apply(v, b, method="features", mutable=["intermediates"])[1])
        found: Any = run(self.variables, arrays).get("intermediates", {}).get("encoder", {})
        scanned = "blocks" in found  # each block of a period for all its layers, layers first
        left = {name: x["attention"]["weights"][0] for name, x in found.get("blocks", found).items() if name.startswith("block_")}
        if not left:
            raise ConfigError(f"{type(getattr(self.model, 'encoder', None)).__name__} has no attention to look at")
        every = [np.asarray(left[name], np.float32) for name in sorted(left, key=lambda n: int(n.removeprefix("block_")))]
        return [layer for period in zip(*every, strict=True) for layer in period] if scanned else every

    def _encoder(self, batch: int) -> Bound:
        if batch not in self._encoders:
            self._encoders[batch] = Encoder(self.model, self.mesh, batch)
        return self._encoders[batch].bind(self.variables)

    def _prepared(self, inputs: Any, role: str, size: int, shown: bool | None) -> Iterator[dict[str, np.ndarray]]:
        """Batches of preprocessed inputs: only one is in memory."""
        starts: Any = range(0, len(inputs), size)
        if sys.stderr.isatty() if shown is None else shown:
            from rich.progress import track

            starts = track(starts, "encoding")
        for start in starts:
            yield self.preprocess(inputs[start : start + size], role)


def load(run: Where, *, step: int | None = None, weights: str = "ema", say: Callable[[str], None] = print) -> Embedder:
    """`Embedder.from_run`."""
    return Embedder.from_run(run, step=step, weights=weights, say=say)
