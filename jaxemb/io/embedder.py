"""A trained encoder, ready to embed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.io.weights import read_weights
from jaxemb.ops.similarity import unit
from jaxemb.run.files import Where
from jaxemb.run.folder import Run
from jaxemb.train.encode import Encoder
from jaxemb.train.recipe import trained

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


class Embedder:
    """Encoder, pooling, weights and preprocessing of a run. Made by `load`.

    model = load("runs/shapes")
    z = model.encode(["cat.jpg", "dog.jpg"])       # n d, float32
    model.similarity(z, z)                         # n n, cosines
    """

    def __init__(self, experiment: Experiment, variables: dict[str, Any], mesh: Mesh, step: int = 0):
        """`variables` are what `experiment.objective.apply` takes; `step` is the number of updates behind them."""
        self.experiment, self.step = experiment, step
        self.variables, self.mesh = variables, mesh
        self._encoders: dict[int, Encoder] = {}

    def encode(
        self,
        inputs: Any,
        *,
        batch_size: int = 32,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        show_progress_bar: bool = False,
    ) -> Float[np.ndarray, "*n d"]:
        """The embeddings of inputs, a row each: file names, Pillow images or arrays in a list, or one array n H W c.

        Arrays are uint8 or floats in [0, 1], of any size; they are brought to size and normalised as in training. A single
        file name gives a single vector. `normalize_embeddings`: rows of length 1. `truncate_dim`: only the first entries
        (before normalising). `batch_size`: inputs prepared and encoded at a time.
        """
        if isinstance(inputs, (str, Path)):
            return self.encode(
                [inputs], batch_size=batch_size, normalize_embeddings=normalize_embeddings, truncate_dim=truncate_dim
            )[0]
        if not isinstance(inputs, (Sequence, np.ndarray)) or (isinstance(inputs, np.ndarray) and inputs.ndim != 4):
            shape = f" of shape {inputs.shape}" if isinstance(inputs, np.ndarray) else ""
            raise ConfigError(
                f"encode takes a list of file names or images, or one array (n, H, W, c), not a {type(inputs).__name__}{shape}; "
                "write [image] for a single one"
            )
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
        encode = self._encoder(batch_size)
        pieces = [encode(batch) for batch in self._prepared(inputs, batch_size, show_progress_bar)]
        z = np.concatenate(pieces) if pieces else encode(self._nothing())
        if truncate_dim is not None:
            if not 1 <= truncate_dim <= z.shape[-1]:
                raise ConfigError(f"truncate_dim must lie in 1 to {z.shape[-1]}, the width of the embeddings, not {truncate_dim}")
            z = z[:, :truncate_dim]
        return unit(z) if normalize_embeddings else z

    def similarity(self, a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
        """Cosines of all pairs of rows."""
        return unit(a) @ unit(b).T

    def features(self, arrays: dict[str, np.ndarray]) -> Any:
        """The token features (see `jaxemb.types.Features`) of preprocessed arrays, as `data.arrays` gives them."""
        return self._encoder(len(next(iter(arrays.values()))), "features")(arrays)

    def attention(self, arrays: dict[str, np.ndarray]) -> list[Float[np.ndarray, "b n h n"]]:
        """The attention weights of every layer of the encoder, queries first, class and register tokens before the patches."""
        run = jax.jit(lambda v, b: self.experiment.objective.apply(v, b, method="features", mutable=["intermediates"])[1])
        found: Any = run(self.variables, arrays).get("intermediates", {}).get("encoder", {})
        if "blocks" in found:  # scanned: one array, layers first
            return list(np.asarray(found["blocks"]["attention"][0], np.float32))
        if not found:
            raise ConfigError(f"{type(getattr(self.experiment.objective, 'encoder', None)).__name__} has no attention to look at")
        names = sorted(found, key=lambda name: int(name.removeprefix("block_")))
        return [np.asarray(found[name]["attention"][0], np.float32) for name in names]

    def _encoder(self, batch: int, method: str = "encode") -> Callable:
        if batch not in self._encoders:
            self._encoders[batch] = Encoder(self.experiment.objective, self.mesh, batch)
        return self._encoders[batch].bind(self.variables, method)

    def _prepared(self, inputs: Any, size: int, shown: bool) -> Iterator[dict[str, np.ndarray]]:
        """Batches of preprocessed inputs: only one is in memory, and files are decoded by several threads."""
        starts: Any = range(0, len(inputs), size)
        if shown:
            from rich.progress import track

            starts = track(starts, "encoding")
        for start in starts:
            yield self.experiment.data.preprocess(inputs[start : start + size])

    def _nothing(self) -> dict[str, np.ndarray]:
        spec = self.experiment.data.spec
        return {name: np.zeros((0, *s.shape), s.dtype) for name, s in spec.items()}


def load(run: Where, *, step: int | None = None, weights: str = "ema", say: Callable[[str], None] = print) -> Embedder:
    """The encoder of a run folder, trained on any number of devices, on the devices that are here.

    `step`: which checkpoint (None: the newest intact one; "runs/shapes@500" says it too). `weights`: "ema" is the average where
    one was kept, "params" are the trained parameters.
    """
    folder = Run(run)
    folder.step = folder.step if step is None else step
    experiment = folder.restored(trained(folder.experiment(), run))
    found = read_weights(folder, experiment, weights=weights, say=say)
    return Embedder(experiment, jax.block_until_ready(found.variables), found.mesh, found.step)
