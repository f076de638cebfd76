"""Residual networks, with the stem for small images and the one for ImageNet."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import choices
from jaxemb.layers.conv import Conv
from jaxemb.layers.norms import BatchNorm
from jaxemb.nn.base import Encoder
from jaxemb.types import Features, Paper

STAGES = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
STEMS = {"cifar": (3, 1, 1), "cifar_pool": (3, 1, 1), "imagenet": (7, 2, 3)}
"""Kernel, stride and padding of the first convolution."""
INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, as torchvision draws it


class ResNet(Encoder):
    """ResNet v1.5 (He et al. 2016; stride in the 3x3 convolution of a bottleneck, as torchvision). Final map as tokens.

    Parameters: stem, stem_norm, stage{1..4}_block{i}/{conv, norm}{1..3}, shortcut. Running statistics of the batch norms are in
    the collection `batch_stats`; under `jax.jit` their batch is the global one, whatever the number of devices.
    """

    paper: ClassVar[Paper | None] = Paper("Deep Residual Learning for Image Recognition", 2016, "arxiv.org/abs/1512.03385")

    depth: int = 18
    """18 (basic blocks) or 50 (bottlenecks)."""
    stem: Literal["cifar", "cifar_pool", "imagenet"] = "cifar"
    """"cifar": 3x3, stride 1; "cifar_pool": and a max-pool, at a quarter of the cost; "imagenet": 7x7, stride 2, and a max-pool."""
    width: int = 64
    """Channels of the first stage."""
    momentum: float = 0.9
    """Of the running statistics of the batch norms."""
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, depth=STAGES, stem=STEMS)

    @nn.compact
    def __call__(self, images: Float[Array, "b H W c"], *, train: bool = False) -> Features:
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=INIT)
        norm = partial(_norm, momentum=self.momentum, train=train)
        x = images.astype(self.dtype)
        size, stride, pad = STEMS[self.stem]
        x = Conv(self.width, size, stride, pad, use_bias=False, kernel_init=INIT, name="stem")(x)
        x = nn.relu(norm("stem_norm")(x))
        if self.stem != "cifar":
            around: Any = ((1, 1), (1, 1))
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=around)
        block = _basic if self.depth == 18 else _bottleneck
        for stage, count in enumerate(STAGES[self.depth]):
            for i in range(count):
                stride = 2 if stage and not i else 1
                x = block(x, self.width * 2**stage, stride, conv, norm, f"stage{stage + 1}_block{i}")
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        return Features(tokens, jnp.ones(tokens.shape[:2], bool))


def _basic(x: Array, width: int, stride: int, conv: partial, norm: partial, name: str) -> Array:
    y = conv(width, (3, 3), strides=stride, padding=1, name=f"{name}_conv1")(x)
    y = nn.relu(norm(f"{name}_norm1")(y))
    y = norm(f"{name}_norm2")(conv(width, (3, 3), padding=1, name=f"{name}_conv2")(y))
    return nn.relu(y + _shortcut(x, y, stride, conv, norm, name))


def _bottleneck(x: Array, width: int, stride: int, conv: partial, norm: partial, name: str) -> Array:
    y = nn.relu(norm(f"{name}_norm1")(conv(width, (1, 1), name=f"{name}_conv1")(x)))
    y = nn.relu(norm(f"{name}_norm2")(conv(width, (3, 3), strides=stride, padding=1, name=f"{name}_conv2")(y)))
    y = norm(f"{name}_norm3")(conv(4 * width, (1, 1), name=f"{name}_conv3")(y))
    return nn.relu(y + _shortcut(x, y, stride, conv, norm, name))


def _shortcut(x: Array, y: Array, stride: int, conv: partial, norm: partial, name: str) -> Array:
    if x.shape == y.shape:
        return x
    return norm(f"{name}_shortcut_norm")(conv(y.shape[-1], (1, 1), strides=stride, name=f"{name}_shortcut")(x))


def _norm(name: str, *, momentum: float, train: bool) -> partial:
    return partial(BatchNorm(momentum, name=name), train=train)
