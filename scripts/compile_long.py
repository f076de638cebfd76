"""Is memory linear in tokens on TPUs? Compiled for chips that are not here; needs libtpu (`pip install 'jaxemb[tpu-aot]'`).

    python scripts/compile_long.py --csv results/long_attention_tpu.csv
    python scripts/compile_long.py --kinds "" --positions all --tiny --tokens 8192,32768 --csv results/long_positions_tpu.csv

A text encoder of 12 layers of width 768 in bfloat16, scanned and recomputed, a row a device on a mesh that cuts two rows and the
heads in two: as `encode` runs it, to the mean of its tokens, and the gradient of `train`. `kinds` are ways to look, with rotary
positions: plain, ModernBERT's windows of 64 between global layers, padding, packed texts, causal, soft caps. `positions` are
members of posemb, in 2 layers with padding. Bytes are those of a chip: `temporaries`, what is needed beside arguments and results.
The exponent p says that they grew as tokens^p from the length before: 1 is linear, 2 is a table of all pairs. Some 100 MiB may
lie in the vector memory of a chip, where they count as none: of short texts p says little.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from bench import provenance
from bench_posemb import fitted

from jaxemb.aot.program import bytes_needed, uncached
from jaxemb.aot.topology import prepare, topology
from jaxemb.config import ConfigError
from jaxemb.discover import members
from jaxemb.layers import FeedForward, RMSNorm
from jaxemb.nn import Attention, Block, Tokens, Transformer
from jaxemb.nn.attention import DisentangledAttention
from jaxemb.ops.allow import Allow
from jaxemb.ops.paths import parameter_paths
from jaxemb.posemb import Rotary
from jaxemb.train.sharding import batch_sharding, make_mesh, on_mesh, replicated, shardings

MESH = {"data": 2, "model": 2}
TASKS = ("encode", "train")
COLUMNS: tuple[str, ...] = (
    "task",
    "kind",
    "positions",
    "tokens",
    "temporaries",
    "arguments",
    "exponent",
    "seconds",
    "topology",
    "jax",
    "commit",
    "command",
)


@dataclasses.dataclass(frozen=True)
class Size:
    width: int = 768
    depth: int = 12
    heads: int = 12
    vocabulary: int = 50_368


TINY = Size(32, 2, 2, 64)
NORM = RMSNorm()
GLOBAL, LOCAL, CAPPED = {}, {"window": 64}, {"softcap": 50.0}
KINDS: dict[str, tuple[tuple[dict[str, Any], ...], Callable[[Any], Allow]]] = {
    "plain": ((GLOBAL,), lambda ids: Allow()),
    "window": ((GLOBAL, LOCAL, LOCAL), lambda ids: Allow()),
    "padding": ((GLOBAL,), lambda ids: Allow(ids > 0)),
    "packed": ((GLOBAL,), lambda ids: Allow(ids > 0, ids // 64)),
    "packed window": ((GLOBAL, LOCAL, LOCAL), lambda ids: Allow(ids > 0, ids // 64)),
    "causal": ((GLOBAL,), lambda ids: Allow(causal=True)),
    "softcap": ((CAPPED,), lambda ids: Allow(ids > 0)),
}
"""By name: what the blocks of a period have, and who is seen, of ids."""


def encoder(size: Size, period: tuple[dict[str, Any], ...], pos: Any) -> Transformer:
    attention = DisentangledAttention if type(pos).__name__ == "Disentangled" else Attention
    depth = -(-size.depth // len(period)) * len(period)
    blocks = tuple(Block(attention(size.heads, **how), FeedForward(gated=True), NORM) for how in period)
    parts = {"stem": Tokens(size.vocabulary), "pos": pos, "norm": NORM, "blocks": blocks}
    return Transformer(width=size.width, depth=depth, dtype="bfloat16", scan=True, remat="full", **parts)


def compiled(task: str, model: Transformer, allow: Callable[[Any], Allow], tokens: int, mesh: Any) -> tuple[int, int]:
    """Bytes of temporaries and of arguments, on a chip."""
    rows = jax.ShapeDtypeStruct((2, tokens), jnp.int32, sharding=batch_sharding(mesh))
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: model.init(key, jnp.zeros((2, tokens), jnp.int32)))
    shapes, rest = shapes["params"], {name: x for name, x in shapes.items() if name not in ("params", "losses")}
    stacked = [path for path in parameter_paths(shapes) if path.startswith("blocks/")]
    where = shardings(shapes, ((".*", "fsdp+tensor"),), mesh, stacked)
    params = jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes, where)
    rest = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), rest)

    def encode(params: Any, rest: Any, ids: Any) -> Any:
        out = model.apply(
            {"params": params, **rest}, ids, allow=allow(ids), train=task == "train", rngs={"dropout": key, "pos": key}
        )
        return out.tokens.astype(jnp.float32).mean(1)  # pyright: ignore

    run = encode if task == "encode" else jax.grad(lambda *arrays: jnp.square(encode(*arrays)).sum())
    lowered = jax.jit(on_mesh(run, mesh)).lower(params, rest, rows)
    with uncached():
        memory: Any = lowered.compile().memory_analysis()
    return memory.temp_size_in_bytes, memory.argument_size_in_bytes


def cases(kinds: list[str], positions: list[str], size: Size) -> Iterator[tuple[str, Callable[[int], Transformer], Callable]]:
    """(kind, the encoder of as many tokens, who is seen)."""
    for kind in kinds:
        period, allow = KINDS[kind]
        yield kind, lambda tokens, period=period: encoder(size, period, Rotary(axes=1)), allow
    small = dataclasses.replace(size, depth=2)
    for member in members("posemb"):
        if member.name in positions or positions == ["all"]:
            make = lambda tokens, cls=member.cls: encoder(small, (GLOBAL,), fitted(cls, (tokens,), size is TINY))  # noqa: E731
            yield member.name, make, KINDS["padding"][1]


def growth(found: dict[int, int]) -> float:
    """p of bytes ~ tokens^p, between the two longest."""
    *_, (short, few), (long, many) = sorted(found.items())
    return math.log(many / few) / math.log(long / short) if few and many else math.nan


def measured(args: argparse.Namespace, size: Size) -> Iterator[dict[str, Any]]:
    slice_ = topology(args.topology)
    mesh = make_mesh(MESH, slice_.devices)
    for kind, make, allow in cases(args.kinds, args.positions, size):
        for task in args.tasks:
            found: dict[int, int] = {}
            for tokens in sorted(args.tokens):
                began = time.perf_counter()
                try:
                    temporaries, arguments = compiled(task, make(tokens), allow, tokens, mesh)
                except ConfigError as e:  # some members are for images alone
                    if kind in KINDS:
                        raise
                    print(f"{kind}: {e}", file=sys.stderr)
                    break
                except jax.errors.JaxRuntimeError as e:
                    if "RESOURCE_EXHAUSTED" not in str(e):
                        raise
                    temporaries, arguments = int(bytes_needed(str(e)) or 0), 0
                found[tokens] = temporaries
                seconds = round(time.perf_counter() - began, 1)
                named = ("", kind) if kind not in KINDS else (kind, "Rotary")
                p = round(growth(found), 3) if len(found) > 1 else ""
                print(f"{task:7} {kind:16} {tokens:6} tokens {temporaries / 2**20:9.1f} MiB {seconds:6.1f} s {p}", flush=True)
                row = (task, *named, tokens, temporaries, arguments, p, seconds, args.topology)
                yield dict(zip(COLUMNS, row, strict=False))


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--kinds", type=words, default=list(KINDS))
    parser.add_argument("--positions", type=words, default=[])
    parser.add_argument("--tasks", type=words, default=list(TASKS))
    parser.add_argument("--tokens", type=lambda text: [int(x) for x in text.split(",")], default=[2048, 4096, 8192, 16_384, 32_768])
    parser.add_argument("--tiny", action="store_true", help="a small encoder")
    parser.add_argument("--csv", type=Path, help="rows are appended here, as they come")
    args = parser.parse_args(argv)
    for name, valid in (("kinds", KINDS), ("tasks", TASKS), ("positions", ("all", *(x.name for x in members("posemb"))))):
        if unknown := set(getattr(args, name)) - set(valid):
            parser.error(f"--{name}: {', '.join(sorted(unknown))} is not one of {', '.join(valid)}")
    try:
        write(args)
    except ConfigError as e:
        parser.exit(2, f"error: {e}\n")


def write(args: argparse.Namespace) -> None:
    prepare([args.topology])
    about = provenance()
    known = {"jax": jax.__version__, "commit": about["commit"], "command": about["command"]}
    with contextlib.ExitStack() as files:
        table = None
        if args.csv:
            args.csv.parent.mkdir(parents=True, exist_ok=True)
            file = files.enter_context(args.csv.open("a", newline=""))
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if not file.tell():
                table.writeheader()
        for row in measured(args, TINY if args.tiny else Size()):
            if table:
                table.writerow(row | known)
                file.flush()  # a compile takes minutes: what is known stays known


if __name__ == "__main__":
    main()
