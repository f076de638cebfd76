"""The transformer layers, shared by the encoder and by the predictors of masked prediction."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Num

from jaxemb.config import ConfigError, choices
from jaxemb.nn.dense import INITS, Dense, LayerNorm
from jaxemb.posemb.base import PosEmb, overrides, unbound

ACTIVATIONS = {
    "gelu": lambda x: nn.gelu(x, approximate=False),  # x Phi(x) by erf: what published checkpoints mean
    "gelu_tanh": lambda x: nn.gelu(x, approximate=True),  # makes a training step on CPU 1.25x shorter
}
REMAT = {
    "full": None,  # of a layer, keep its input alone
    "dots": "dots_saveable",  # keep the results of matmuls
    "dots_no_batch": "dots_with_no_batch_dims_saveable",  # keep those without a batch axis: drops the attention logits
}


class Block(nn.Module):
    """x <- x + Attn(LN(x)); x <- x + MLP(LN(x)): pre-norm, each branch with optional layer scale and stochastic depth.

    Parameters: norm1, qkv (d, 3d), out (d, d), norm2, mlp_up (d, 4d), mlp_down (4d, d); a positional embedding with parameters
    for each layer has them under `posemb`. Where "intermediates" may change, `attention` (b n h n) is left there.
    """

    posemb: PosEmb
    heads: int
    mlp_ratio: float
    dropout: float
    layer_scale: float | None
    qk_norm: bool
    causal: bool
    activation: str
    kernel_init: str
    eps: float
    dtype: str
    param_dtype: str
    train: bool
    collect: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        drop_path: Float[Array, ""] | None,
        shared: Any,
        mask: Bool[Array, "b n"] | None,
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b n d"] | None]:
        x = self._add(x, self._attend(self._norm("norm1")(x), shared, mask), "scale1", drop_path)
        hidden = self._dense(int(x.shape[-1] * self.mlp_ratio), "mlp_up")(self._norm("norm2")(x))
        hidden = self._dropout(ACTIVATIONS[self.activation](hidden))
        x = self._add(x, self._dropout(self._dense(x.shape[-1], "mlp_down")(hidden)), "scale2", drop_path)
        return x, x if self.collect else None

    def _attend(self, x: Array, shared: Any, mask: Array | None) -> Array:
        b, n, d = x.shape
        qkv = self._dense(3 * d, "qkv")(x).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if self.qk_norm:
            q, k = self._norm("q_norm")(q), self._norm("k_norm")(k)
        out = self.posemb.attend(q, k, v, shared, mask=mask, causal=self.causal)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "attention", self._weights(q, k, shared, mask))
        return self._dropout(self._dense(d, "out")(out.reshape(b, n, d)))

    def _weights(self, q: Array, k: Array, shared: Any, mask: Array | None) -> Float[Array, "b n h n"]:
        """What `attend` multiplies values by, in every scheme: it is given values that name their keys, e keys at a time."""
        b, n, h, e = q.shape
        names = jnp.pad(jnp.eye(n, dtype=q.dtype), ((0, 0), (0, -n % e))).reshape(n, -1, e)
        pieces = [jnp.broadcast_to(names[None, :, i, None], (b, n, h, e)) for i in range(names.shape[1])]
        found = [self.posemb.attend(q, k, v, shared, mask=mask, causal=self.causal) for v in pieces]
        return jnp.concatenate(found, axis=-1)[..., :n]

    def _add(self, x: Array, branch: Array, name: str, drop_path: Array | None) -> Array:
        if self.layer_scale is not None:
            init = nn.initializers.constant(self.layer_scale)
            scale = self.param(name, init, (x.shape[-1],), jnp.dtype(self.param_dtype))
            branch = branch * scale[None, None].astype(branch.dtype)
        if drop_path is not None:  # drops the branch for whole examples, and scales the others up to keep the mean
            keep = 1 - drop_path
            kept = jax.random.bernoulli(self.make_rng("dropout"), keep, (x.shape[0], 1, 1))
            branch = jnp.where(kept, branch / keep.astype(branch.dtype), 0)
        return x + branch

    def _norm(self, name: str) -> LayerNorm:
        return LayerNorm(self.eps, dtype=self.dtype, param_dtype=self.param_dtype, name=name)

    def _dense(self, features: int, name: str) -> Dense:
        return Dense(features, kernel_init=self.kernel_init, dtype=self.dtype, param_dtype=self.param_dtype, name=name)

    def _dropout(self, x: Array) -> Array:
        return nn.Dropout(self.dropout)(x, deterministic=False) if self.dropout and self.train else x


class Layers(nn.Module):
    """Abstract: the fields of a stack of blocks, and how it runs. The encoder and the predictors are its final classes."""

    width: int = 64
    """Features of a token (d)."""
    depth: int = 4
    """Number of blocks (l)."""
    heads: int = 4
    mlp_ratio: float = 4.0
    """Hidden features of the MLP, as a multiple of the width."""
    dropout: float = 0.0
    drop_path: float = 0.0
    """Stochastic depth: chance to skip a branch, rising linearly from 0 in the first layer to this in the last."""
    layer_scale: float | None = None
    """Start of a trained factor on each branch (1e-5 in CaiT); None: no factor."""
    qk_norm: bool = False
    """LayerNorm on queries and keys, a head at a time."""
    causal: bool = False
    """A token sees itself and those before it in the sequence."""
    activation: str = "gelu"
    kernel_init: str = "trunc_normal"
    eps: float = 1e-6
    """Of the LayerNorms."""
    scan: bool = False
    """One compiled layer run `depth` times: compiles faster; parameters get a leading depth axis."""
    remat: str | None = None
    """What to keep of a layer for its gradient: None everything, "full" nothing, "dots", "dots_no_batch"."""
    dtype: str = "float32"
    """Of the computation."""
    param_dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not divisible by heads {self.heads}")
        choices(self, activation=ACTIVATIONS, kernel_init=INITS, remat=(None, *REMAT))

    def run_blocks(
        self,
        x: Float[Array, "b n d"],
        *,
        pos: Num[Array, "#b m a"],
        posemb: PosEmb,
        mask: Bool[Array, "b n"] | None = None,
        layers: tuple[int, ...] = (),
        prefix: int = 0,
        grid: tuple[int, ...] | None = None,
        train: bool = False,
    ) -> tuple[Array, tuple[Array, ...]]:
        """(output, outputs of the asked-for layers). `prefix` tokens before those that `pos` is of have no position. To be called
        inside `nn.compact`."""
        wanted = tuple(self._index(i) for i in layers)
        shared = ("heads", "mlp_ratio", "dropout", "layer_scale", "qk_norm", "causal", "activation", "kernel_init", "eps", "dtype")
        settings = {name: getattr(self, name) for name in (*shared, "param_dtype")}
        settings |= {"train": train, "collect": bool(wanted)}
        rates = jnp.linspace(0.0, self.drop_path, self.depth) if self.drop_path and train else None
        shared = posemb.prepare(pos, heads=self.heads, width=self.width // self.heads, prefix=prefix, grid=grid, train=train)
        block = Block
        if self.remat is not None or self.scan:  # a scan without checkpoint keeps stacked copies: 1.5x slower on CPU
            policy = REMAT[self.remat or "dots"]
            policy = getattr(jax.checkpoint_policies, policy) if policy else None
            block = nn.remat(Block, policy=policy, prevent_cse=not self.scan)
        if self.scan:
            if overrides(posemb, "after_block"):
                raise ConfigError(f"scan=True runs all layers as one, and {type(posemb).__name__} works between them: scan=False")
            axes: Any = (0 if rates is not None else nn.broadcast, nn.broadcast, nn.broadcast)
            stack = nn.scan(
                block,
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=axes,
                length=self.depth,
            )
            x, every = stack(name="blocks", posemb=unbound(posemb), **settings)(x, rates, shared, mask)
            return x, () if every is None else tuple(every[i] for i in wanted)
        outputs = []
        for i in range(self.depth):
            # A copy of its own: linen would share one, and its parameters, between all blocks.
            layer = block(name=f"block_{i}", posemb=unbound(posemb), **settings)
            x, out = layer(x, None if rates is None else rates[i], shared, mask)
            outputs.append(out)
            if overrides(posemb, "after_block"):
                seen = None if mask is None else mask[:, prefix:]
                x = jnp.concatenate([x[:, :prefix], posemb.after_block(x[:, prefix:], i, pos, grid=grid, mask=seen)], axis=1)
        return x, tuple(outputs[i] for i in wanted)

    def _index(self, layer: int) -> int:
        if not -self.depth <= layer < self.depth:
            raise ConfigError(f"layer {layer} was asked for; with depth {self.depth}, valid are {-self.depth} to {self.depth - 1}")
        return layer % self.depth


def stack_blocks(params: dict) -> dict:
    """Parameters with `block_0`, `block_1`, ... as those of the same module with scan=True (`blocks`, leading depth axis)."""
    names = sorted((k for k in params if k.startswith("block_")), key=lambda k: int(k.removeprefix("block_")))
    rest = {k: v for k, v in params.items() if k not in names}
    return rest | {"blocks": jax.tree.map(lambda *x: jnp.stack(x), *(params[k] for k in names))}


def unstack_blocks(params: dict) -> dict:
    """The inverse of `stack_blocks`."""
    depth = jax.tree.leaves(params["blocks"])[0].shape[0]
    rest = {k: v for k, v in params.items() if k != "blocks"}
    return rest | {f"block_{i}": jax.tree.map(lambda x, i=i: x[i], params["blocks"]) for i in range(depth)}
