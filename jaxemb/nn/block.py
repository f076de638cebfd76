"""The transformer block, made of parts, and stacks of them: shared by encoders, predictors and decoders."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.errors import ScopeParamShapeError
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm, Norm
from jaxemb.nn.attention import Attention
from jaxemb.ops.allow import Allow
from jaxemb.ops.rows import by_rows
from jaxemb.ops.whole import whole_gradient
from jaxemb.posemb.base import Places, PosEmb, overrides

ORDERS = ("pre", "post", "sandwich", "parallel")
REMAT = {
    "full": None,  # of a layer, keep its input alone
    "dots": "dots_saveable",  # keep the results of matmuls
    "dots_no_batch": "dots_with_no_batch_dims_saveable",  # keep those without a batch axis: drops the attention logits
}


class Block(nn.Module):
    """Attention and a feed-forward part, each on a residual path:

        pre       x <- x + f(norm(x))                     ViT, Llama
        post      x <- norm(x + f(x))                     BERT
        sandwich  x <- x + norm_after(f(norm(x)))         Gemma 2
        parallel  x <- x + attention(norm(x)) + mlp(norm(x)), one norm for both

    Parameters: attention, mlp, norm1, norm2 (not in "parallel"), with "sandwich" norm1_after and norm2_after, with `layer_scale`
    scale1 and scale2 (d).
    """

    attention: Attention = field(default_factory=Attention)
    mlp: FeedForward = field(default_factory=FeedForward)
    norm: Norm = field(default_factory=LayerNorm)
    order: str = "pre"
    layer_scale: float | None = None
    """Start of a trained factor on each branch (1e-5 in CaiT); None: no factor."""
    drop_path: float = 0.0
    """Stochastic depth (Huang et al. 2016): chance to skip a branch, rising linearly from 0 in the first layer
    to this in the last."""
    first: Norm | None = None
    """In place of the attention's `norm`: `NoNorm()` in the first layer of ModernBERT. None: as `norm`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, order=ORDERS)
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"Block.drop_path must be in [0, 1), is {self.drop_path}")
        if self.layer_scale is not None and self.layer_scale < 0:
            raise ConfigError(f"Block.layer_scale must not be negative, is {self.layer_scale}")

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], share: Float[Array, ""] | None, shared: Any, allow: Allow, train: bool = False
    ) -> Float[Array, "b n d"]:
        """`share`: of `drop_path` that this layer gets, None in evaluation; `shared`: see `Attention`."""
        rate = None if share is None or not self.drop_path else share * self.drop_path

        def norm(x: Array, i: int, after: str = "") -> Array:
            part = self.first if i == 1 and self.first is not None else self.norm
            return part.copy(name=f"norm{i}{after}")(x)

        def add(x: Array, branch: Array, i: int) -> Array:
            if self.order == "sandwich":
                branch = norm(branch, i, "_after")
            x = by_rows(whole_gradient(x + self._weighed(branch, f"scale{i}", rate)))
            return norm(x, i) if self.order == "post" else x

        x = by_rows(x)
        if self.order == "parallel":
            y = norm(x, 1)
            return add(add(x, self.attention(y, shared, allow, train), 1), self.mlp(y, train), 2)
        for i, branch in ((1, lambda y: self.attention(y, shared, allow, train)), (2, lambda y: self.mlp(y, train))):
            x = add(x, branch(x if self.order == "post" else norm(x, i)), i)
        return x

    def _weighed(self, branch: Array, name: str, rate: Array | None) -> Array:
        if self.layer_scale is not None:
            scale = self.param(name, nn.initializers.constant(self.layer_scale), (branch.shape[-1],), jnp.float32)
            branch = branch * scale[None, None].astype(branch.dtype)
        if rate is not None:  # drops the branch for whole examples, and scales the others up to keep the mean
            keep = 1 - rate
            kept = jax.random.bernoulli(self.make_rng("dropout"), keep, (branch.shape[0], 1, 1))
            branch = jnp.where(kept, branch / keep.astype(branch.dtype), 0)
        return branch


class Period(nn.Module):
    """What a scan repeats: a few blocks, one after the other."""

    blocks: tuple[Block, ...]
    collect: bool

    @nn.compact
    def __call__(self, x: Array, shares: Array | None, shared: tuple, allow: Allow, train: bool) -> tuple[Array, tuple]:
        outputs = []
        for i, block in enumerate(self.blocks):
            x = block.copy(name=f"block_{i}")(x, None if shares is None else shares[i], shared[i], allow, train)
            outputs.append(x)
        return x, tuple(outputs) if self.collect else ()


class Layers(nn.Module):
    """Abstract: a stack of blocks and how it runs. Encoders, predictors and decoders are its final classes."""

    width: int = 64
    """Features of a token (d)."""
    depth: int = 4
    """Number of blocks (l)."""
    blocks: tuple[Block, ...] = field(default_factory=lambda: (Block(),))
    """A period that repeats until there are `depth` blocks: one for all, or e.g. (local, local, global)."""
    scan: bool = False
    """One compiled period run depth / len(blocks) times: compiles faster; parameters get a leading axis."""
    remat: str | None = None
    """What to keep of a layer for its gradient: None everything, "full" nothing, "dots", "dots_no_batch"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, remat=(None, *REMAT))
        for name in ("width", "depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{type(self).__name__}.{name} must be at least 1, is {getattr(self, name)}")
        if not self.blocks:
            raise ConfigError(f"{type(self).__name__}.blocks must name at least one block")
        if self.scan and self.depth % len(self.blocks):
            raise ConfigError(
                f"scan=True runs whole periods: depth={self.depth} is not a multiple of the {len(self.blocks)} blocks"
            )
        for block in self.blocks:
            block.attention.width_of_head(self.width)

    def run_blocks(
        self,
        x: Float[Array, "b n d"],
        places: Places,
        posemb: PosEmb,
        *,
        given: Places,
        allow: Allow,
        layers: tuple[int, ...] = (),
        prefix: int = 0,
    ) -> tuple[Array, tuple[Array, ...]]:
        """(output, outputs of the asked-for layers, of which -depth - 1 is `x` itself). `places` are those that `posemb` located,
        from the `given` ones; `prefix` tokens stand before those that they are of; `allow` is of all of them. To be called inside
        `nn.compact`."""
        wanted, train, period, states = tuple(self._place(i) for i in layers), places.train, len(self.blocks), [x]
        shared = self._prepared(x[:, prefix:], places, given, posemb, prefix)
        # Each block is a copy of its own: linen would share one, and its parameters, between all layers.
        blocks = [_with_pos(b, posemb) for b in self.blocks]
        shares = jnp.linspace(0.0, 1.0, self.depth) if train and any(b.drop_path for b in blocks) else None

        def run(block: Any, x: Array, shares: Array | None, shared: Any, allow: Allow) -> Any:
            return block(x, shares, shared, allow, train)

        if self.remat is not None or self.scan:  # a scan without checkpoint keeps stacked copies: 1.5x slower on CPU
            policy = REMAT[self.remat or "dots"]
            policy = getattr(jax.checkpoint_policies, policy) if policy else None
            run = nn.remat(run, policy=policy, prevent_cse=not self.scan)
        if self.scan:
            if overrides(posemb, "after_block"):
                raise ConfigError(f"scan=True runs all layers as one, and {type(posemb).__name__} works between them: scan=False")
            axes: Any = (nn.broadcast if shares is None else 0, nn.broadcast, nn.broadcast)
            stack = nn.scan(
                run,
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=axes,
                length=self.depth // period,
            )
            shares = None if shares is None else shares.reshape(-1, period)
            x, every = stack(Period(tuple(blocks), bool(wanted), name="blocks"), x, shares, tuple(shared), allow)
            return x, tuple(every[(i - 1) % period][(i - 1) // period] if i else states[0] for i in wanted)
        for i in range(self.depth):
            block = blocks[i % period].copy(name=f"block_{i}")
            x = run(block, x, None if shares is None else shares[i], shared[i % period], allow)
            if overrides(posemb, "after_block"):
                x = jnp.concatenate([x[:, :prefix], posemb.after_block(x[:, prefix:], i, places)], axis=1)
            states.append(x)  # what the next layer gets
        return x, tuple(states[i] for i in wanted)

    def _prepared(self, x: Array, places: Places, given: Places, posemb: PosEmb, prefix: int) -> list[Any]:
        """What the layers share, for each block of the period; computed once for blocks that are alike in this."""
        found, done = [], {}
        for i, block in enumerate(self.blocks):
            heads, width, own = block.attention.heads, block.attention.width_of_head(self.width), block.attention.pos
            kind = (heads, width, None if own is None else i)
            if kind not in done:
                scheme, at = posemb, places
                if own is not None:  # it locates tokens by itself, from what the encoder's scheme was given
                    scheme = own.copy(name=f"pos_{i}")
                    at = given.at(scheme.locate(given))
                    if overrides(own, "after_block") or scheme.add(x, at) is not x:
                        raise ConfigError(
                            f"blocks[{i}].attention.pos: {type(own).__name__} changes tokens before or between the layers, which "
                            "is for the positional embedding of the encoder; that of a block acts inside its attention alone"
                        )
                try:
                    done[kind] = scheme.prepare(at, heads=heads, width=width, prefix=prefix)
                except ScopeParamShapeError as e:
                    # Otherwise the parameters are those of another model.
                    if own is None and any(h != heads for h, _, alone in done if alone is None):
                        counts = sorted({b.attention.heads for b in self.blocks if b.attention.pos is None})
                        raise ConfigError(
                            f"{type(self).__name__}.blocks have heads={counts}, and {type(scheme).__name__} has parameters by head,"
                            " one set for all blocks: give these the same heads, or a positional embedding each in attention.pos"
                        ) from e
                    raise
            found.append(done[kind])
        return found

    def _place(self, layer: int) -> int:
        """The place of a layer's output among what the layers get and give: 0 is what the first one gets."""
        depth = self.depth
        if not -depth - 1 <= layer < depth:
            raise ConfigError(f"layer {layer} was asked for; with depth {depth}, valid are {-depth - 1} to {depth - 1}")
        return layer + 1 if layer >= 0 else layer + depth + 1


def _with_pos(block: Block, posemb: PosEmb) -> Block:
    """The block, free of any module yet, with the encoder's positional embedding where it has none of its own."""
    attention = block.attention
    own = posemb if attention.pos is None else attention.pos
    return block.copy(parent=None, attention=attention.copy(parent=None, pos=own.copy(parent=None)))


def stack_blocks(params: dict, period: int = 1) -> dict:
    """Parameters with `block_0`, `block_1`, ... as those of the same module with scan=True: `blocks/block_j` holds every period-th
    block from j on, with a leading axis."""
    names = sorted((k for k in params if k.startswith("block_")), key=lambda k: int(k.removeprefix("block_")))
    rest = {k: v for k, v in params.items() if k not in names}
    every = {f"block_{j}": jax.tree.map(lambda *x: jnp.stack(x), *(params[k] for k in names[j::period])) for j in range(period)}
    return rest | {"blocks": every}


def unstack_blocks(params: dict) -> dict:
    """The inverse of `stack_blocks`."""
    stacked = params["blocks"]
    repeats = jax.tree.leaves(stacked)[0].shape[0]
    rest = {k: v for k, v in params.items() if k != "blocks"}
    for j in range(len(stacked)):
        for r in range(repeats):
            rest[f"block_{r * len(stacked) + j}"] = jax.tree.map(lambda x, r=r: x[r], stacked[f"block_{j}"])
    return rest
