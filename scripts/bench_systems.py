"""What `bench.py` times: one update and one forward pass of a vision transformer, by jaxemb and by its twin in PyTorch.

Every system starts from the same weights and sees the same images. In an update the batch already lies on the device; a forward
pass goes from images on the host to embeddings on the host. The update of jaxemb computes the accuracy and the norm of the
gradient as well, as always in training; that of PyTorch does not. One device.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxemb import Optim
from jaxemb.nn.presets import PRESETS
from jaxemb.nn.stem import patch_positions
from jaxemb.objectives import Classify
from jaxemb.posemb.base import Places
from jaxemb.train.encode import Encoder
from jaxemb.train.sharding import make_mesh
from jaxemb.train.state import TrainState
from jaxemb.train.step import make_step

CLASSES, LR, DECAY = 1000, 1e-3, 0.05


class System(NamedTuple):
    """One of the competitors, ready to run."""

    run: Callable[[int], Any]
    """Makes so many calls, waits for the last one, and returns its loss or its embeddings."""
    held: Callable[[], int]
    """Bytes of the arrays that stay between two calls."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What all systems compute."""

    model: str
    """A preset, see jaxemb/nn/presets.py."""
    task: str
    """train or forward."""
    batch: int
    image: int
    """Pixels along a side."""
    dtype: str
    """Of the computation; parameters are float32."""
    seed: int = 0
    """Of images, labels and weights."""

    def __post_init__(self) -> None:
        self.encoder().stem.grid((self.image, self.image))  # refuses a size that patches do not divide

    def encoder(self) -> Any:
        return PRESETS[self.model](dtype=self.dtype)

    def objective(self) -> Any:
        return Classify(self.encoder(), classes=CLASSES)

    def arrays(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        images = rng.standard_normal((self.batch, self.image, self.image, 3), dtype=np.float32)
        return {"images": images, "labels": rng.integers(0, CLASSES, self.batch, dtype=np.int32)}

    def weights(self) -> dict[str, Any]:
        """Parameters as numpy. None is zero: a bias that were zero could be forgotten without a trace."""
        shapes = jax.eval_shape(self.objective().init, jax.random.key(0), self.arrays())["params"]
        rng = np.random.default_rng(self.seed + 1)

        def draw(path: Any, like: Any) -> np.ndarray:
            mean = 1 if path[-1].key == "scale" else 0
            return mean + np.float32(0.02) * rng.standard_normal(like.shape, dtype=np.float32)

        return jax.tree_util.tree_map_with_path(draw, shapes)

    def flops(self) -> float:
        """Of the matrix products of a call, 2 for a multiply-add; an update counts as three forward passes.

        With n tokens of width d, patches of p numbers, l layers: forward = 2 n p d + l (2 n d^2 (4 + 2 ratio) + 4 n^2 d).
        """
        e = self.encoder()
        n, d, p = (self.image // e.stem.size) ** 2, e.width, 3 * e.stem.size**2
        (block,) = e.blocks
        forward = 2 * n * p * d + e.depth * (2 * n * d**2 * (4 + 2 * block.mlp.ratio) + 4 * n**2 * d)
        return self.batch * (3 * (forward + 2 * d * CLASSES) if self.task == "train" else forward)

    def build(self, system: str, params: Mapping[str, Any]) -> System:
        """A system with these weights; it compiles in its first call."""
        if system == "jaxemb":
            return jaxemb_train(self, params) if self.task == "train" else jaxemb_forward(self, params)
        return (torch_train if self.task == "train" else torch_forward)(self, params, compiled=system == "compile")


def repeated(call: Callable[[], Any]) -> Callable[[int], Any]:
    """For a call that waits by itself."""
    return lambda count: [call() for _ in range(count)][-1]


# ---- jaxemb: its own train step and its own encode -------------------------------------------------------------------------------


def jaxemb_train(case: Case, params: Mapping[str, Any]) -> System:
    optim = Optim("adamw", lr=LR, schedule="constant", decay=DECAY)
    step = jax.jit(make_step(case.objective(), optim, steps=1000), donate_argnums=0)
    batch = jax.device_put(case.arrays())
    own = jax.tree.map(jnp.array, params)  # a copy: the step gives the memory of its state to the next one
    state = TrainState(jnp.zeros((), jnp.int32), own, {}, None, optim.make(1000).init(own), jax.random.key(case.seed))

    def run(count: int) -> float:
        nonlocal state
        loss = None
        for _ in range(count):
            state, metrics = step(state, batch)
            loss = metrics["loss"]
        jax.block_until_ready(state)
        return float(np.asarray(loss))

    return System(run, lambda: nbytes((state, batch)))


def jaxemb_forward(case: Case, params: Mapping[str, Any]) -> System:
    variables = {"params": jax.tree.map(jnp.array, params)}
    images = {"images": case.arrays()["images"]}
    encode = Encoder(case.objective(), make_mesh({"data": 1}), case.batch).bind(variables).encode
    return System(repeated(lambda: encode(images)), lambda: nbytes(variables))


def nbytes(tree: Any) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(tree))


# ---- PyTorch: the twin in torch_vit.py, eager or compiled ------------------------------------------------------------------------


def torch_train(case: Case, params: Mapping[str, Any], compiled: bool) -> System:
    import torch  # pyright: ignore[reportMissingImports]
    from torch_vit import adamw

    model, device, precision = twin(case, params)
    optimiser = adamw(model, LR, DECAY)
    arrays = case.arrays()
    images, labels = torch.from_numpy(arrays["images"]).to(device), torch.from_numpy(arrays["labels"]).long().to(device)

    def loss_of(images: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(images).float(), labels)

    forward = torch.compile(loss_of, fullgraph=True) if compiled else loss_of

    def run(count: int) -> float:
        loss = None
        for _ in range(count):
            optimiser.zero_grad(set_to_none=True)
            with precision:
                loss = forward(images, labels)
            loss.backward()
            optimiser.step()
        assert loss is not None
        return loss.item()  # waits for all that was queued before it on the device, the last update too

    def held() -> int:
        moments = [x for state in optimiser.state.values() for x in state.values() if isinstance(x, torch.Tensor)]
        return sum(x.nbytes for x in (*tensors(model), *moments, images, labels))

    return System(run, held)


def torch_forward(case: Case, params: Mapping[str, Any], compiled: bool) -> System:
    import torch  # pyright: ignore[reportMissingImports]

    model, device, precision = twin(case, params)
    encoder = torch.compile(model.encoder, fullgraph=True) if compiled else model.encoder
    images = case.arrays()["images"]

    def encode() -> np.ndarray:
        with torch.inference_mode(), precision:
            return encoder(torch.from_numpy(images).to(device)).float().cpu().numpy()

    return System(repeated(encode), lambda: sum(x.nbytes for x in tensors(model)))


def twin(case: Case, params: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """(the model with these weights, the device that JAX uses as well, the context that sets the precision)."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch_vit import Classifier, load

    device = torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")
    encoder = case.encoder()
    side = case.image // encoder.stem.size
    where = Places(patch_positions(jnp.arange(side**2)[None], side), grid=(side, side))
    positions = np.asarray(encoder.pos.add(jnp.zeros((1, side**2, encoder.width)), where))[0]
    model = Classifier(encoder, positions, CLASSES)
    load(model, params)
    return model.to(device), device, torch.autocast(device.type, torch.bfloat16, enabled=case.dtype == "bfloat16")


def tensors(model: Any) -> list[Any]:
    """Parameters, their gradients where there are some, buffers."""
    parameters = list(model.parameters())
    return [*parameters, *(p.grad for p in parameters if p.grad is not None), *model.buffers()]


def torch_problem() -> str | None:
    """Why PyTorch cannot be measured on the device that JAX uses; None: it can, and is set up."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        return "torch is not installed"
    if jax.default_backend() == "cpu":
        return None
    if jax.default_backend() != "gpu" or not torch.cuda.is_available():
        return f"this torch cannot use the {jax.default_backend().upper()}"
    torch.set_float32_matmul_precision("high")  # TF32, which JAX takes by default
    return None


def compile_problem() -> str | None:
    """Why torch.compile cannot be used. Compiles something small: starting up is no part of what is timed later."""
    import torch  # pyright: ignore[reportMissingImports]

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    try:
        torch.compile(lambda x: (2 * x).sum(), fullgraph=True)(torch.ones(8, device=device, requires_grad=True)).backward()
    except Exception as e:  # a missing compiler is reported in many ways
        return f"torch.compile does not work here ({str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__})"
    return None


# ---- memory ----------------------------------------------------------------------------------------------------------------------


def peak_memory(case: Case, system: str) -> float:
    """Peak MiB, in a process that does nothing else.

    On an accelerator that of its allocator. On the CPU what stays between calls and what a call adds to it: the growth of the
    process as a whole would count libraries and the compiler as well.
    """
    run, held = case.build(system, case.weights())
    run(2)
    if jax.default_backend() != "cpu":
        if system == "jaxemb":
            return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20
        import torch  # pyright: ignore[reportMissingImports]

        return torch.cuda.max_memory_allocated() / 2**20
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # gives back what is free
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    run(2)
    return held() / 2**20 + resident("VmHWM") - before


def release() -> None:
    """Gives back what dropped systems held; of a GPU, PyTorch does so when told, and JAX keeps its share."""
    gc.collect()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()  # nothing happens on the CPU


def resident(field: str) -> float:
    """MiB by /proc/self/status: VmRSS now, VmHWM at most."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, field
    return int(found[1]) / 1024
