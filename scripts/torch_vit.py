"""The encoder of `jaxemb.nn.transformer` written in PyTorch, to the letter: what `bench.py` compares with.

Pre-norm blocks, one matmul for q, k and v, erf GELU, `scaled_dot_product_attention`, fixed sine-cosine positions, mean of the
tokens, linear head, AdamW that decays matrices alone. Modules carry the names of the JAX parameters, but for q, k and v, which
`load` joins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]


class Attention(nn.Module):
    """y = concat_h(softmax(q_h k_h^T / sqrt(e)) v_h) W."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))


class FeedForward(nn.Module):
    """x -> gelu(x U + a) D + c."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """x <- x + Attn(LN(x)); x <- x + MLP(LN(x)). `like` is a jaxemb Block."""

    def __init__(self, width: int, like: Any) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, like.norm.eps), nn.LayerNorm(width, like.norm.eps)
        self.attention = Attention(width, like.attention.heads)
        self.mlp = FeedForward(width, int(width * like.mlp.ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Stem(nn.Module):
    """b H W c to b n d: patches flattened as (row, column, channel), then one matmul."""

    def __init__(self, size: int, channels: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.proj = nn.Linear(size * size * channels, width)

    def forward(self, images: Tensor) -> Tensor:
        b, height, width, c = images.shape
        s = self.size
        cut = images.view(b, height // s, s, width // s, s, c).transpose(2, 3)
        return self.proj(cut.reshape(b, (height // s) * (width // s), s * s * c))


class Encoder(nn.Module):
    """b H W c to b d: the mean of the normed tokens. `like` is a jaxemb Transformer, `positions` (n, d) what it adds."""

    def __init__(self, like: Any, positions: np.ndarray, channels: int = 3) -> None:
        super().__init__()
        self.stem = Stem(like.stem.size, channels, like.width)
        self.register_buffer("positions", torch.tensor(positions), persistent=False)
        self.names = [f"block_{i}" for i in range(like.depth)]
        for name in self.names:
            self.add_module(name, Block(like.width, like.blocks[0]))
        self.norm = nn.LayerNorm(like.width, like.norm.eps)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = x + self.positions.to(x.dtype)  # under autocast the tokens stay in half precision from here on, as in jaxemb
        for name in self.names:
            x = getattr(self, name)(x)
        return self.norm(x).mean(1)


class Classifier(nn.Module):
    """b H W c to logits b v."""

    def __init__(self, like: Any, positions: np.ndarray, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(like, positions)
        self.head = nn.Linear(like.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images))


NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias"}


@torch.no_grad()
def load(module: nn.Module, params: Mapping[str, Any]) -> None:
    """Copies a tree of JAX parameters; every one of both sides must find its partner.

    A Linear keeps its matrix as (out, in), without an axis of heads; q, k and v are one.
    """
    state: dict[str, Tensor] = {}

    def walk(tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, x in tree.items():
            if name in ("k", "v"):
                continue  # with q
            if name == "q":
                kernels = [np.asarray(tree[part]["kernel"]) for part in "qkv"]
                walk({"kernel": np.concatenate([w.reshape(len(w), -1) for w in kernels], 1)}, (*path, "qkv"))
                walk({"bias": np.concatenate([np.ravel(tree[part]["bias"]) for part in "qkv"])}, (*path, "qkv"))
            elif isinstance(x, Mapping):
                walk(x, (*path, name))
            else:
                x = np.asarray(x)
                state[".".join((*path, NAMES[name]))] = torch.tensor(x.reshape(-1, x.shape[-1]).T if name == "kernel" else x)

    walk(params, ())
    module.load_state_dict(state, strict=True)


def adamw(module: nn.Module, lr: float, decay: float) -> torch.optim.AdamW:
    """Matrices decayed, vectors not. `fused` is the fastest of the three implementations, on CPU as well."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)
